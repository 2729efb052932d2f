#include "compiler/KernelCompiler.h"

#include "compiler/Parallel.h"

#include <algorithm>
#include <optional>

namespace lathe {

Result<CompiledKernels> compileKernels(const Nvrtc &nvrtc, std::span<const KernelSource> kernels,
                                       std::span<const KernelHeader> headers, const std::string &architecture,
                                       KernelCache *cache, int64_t threads) {
  if (auto known = nvrtc.checkArchitecture(architecture); !known)
    return propagate(known);
  std::vector<std::string> options = nvrtc.options(architecture), keys(kernels.size());
  CompiledKernels result;
  result.code.resize(kernels.size());
  std::vector<size_t> missing;
  for (size_t i = 0; i < kernels.size(); ++i) {
    std::optional<DeviceCode> found;
    if (cache) {
      keys[i] = KernelCache::key(kernels[i], headers, options, nvrtc.version());
      found = cache->find(keys[i]);
    }
    if (found)
      result.code[i] = std::move(*found), ++result.found;
    else
      missing.push_back(i);
  }
  // The longest texts first: one of them alone at the end would hold up all.
  std::ranges::stable_sort(missing, std::ranges::greater(), [&](size_t i) { return kernels[i].text.size(); });
  std::vector<std::optional<Error>> errors(kernels.size());
  auto compiled = inParallel(
      static_cast<int64_t>(missing.size()),
      [&](int64_t at) -> Result<void> {
        size_t i = missing[static_cast<size_t>(at)];
        auto code = nvrtc.compile(kernels[i], headers, architecture);
        if (!code) {
          errors[i] = std::move(code.error());
          return {};
        }
        if (cache)
          cache->store(keys[i], *code);
        result.code[i] = std::move(*code);
        return {};
      },
      threads);
  if (!compiled)
    return propagate(compiled);
  for (std::optional<Error> &error : errors)
    if (error)
      return std::unexpected(std::move(*error));
  if (cache && !missing.empty())
    cache->trim();
  return result;
}

} // namespace lathe
