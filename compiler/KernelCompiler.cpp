#include "compiler/KernelCompiler.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <thread>

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
  std::atomic<size_t> next = 0;
  auto work = [&] {
    for (size_t at; (at = next.fetch_add(1)) < missing.size();) {
      size_t i = missing[at];
      auto code = nvrtc.compile(kernels[i], headers, architecture);
      if (!code) {
        errors[i] = std::move(code.error());
        continue;
      }
      if (cache)
        cache->store(keys[i], *code);
      result.code[i] = std::move(*code);
    }
  };
  if (threads == 0)
    threads = std::max(1u, std::thread::hardware_concurrency());
  std::vector<std::jthread> others;
  for (int64_t thread = 1; thread < std::min(threads, static_cast<int64_t>(missing.size())); ++thread)
    others.emplace_back(work);
  work();
  others.clear();
  for (std::optional<Error> &error : errors)
    if (error)
      return std::unexpected(std::move(*error));
  if (cache && !missing.empty())
    cache->trim();
  return result;
}

} // namespace lathe
