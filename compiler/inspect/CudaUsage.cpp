//===- CudaUsage.cpp - what a kernel needs of a multiprocessor ----------------===//
#include "compiler/inspect/CudaUsage.h"

#include <algorithm>

namespace lathe {
namespace {

/// What a multiprocessor has (CUDA C++ Programming Guide, "Technical Specifications per Compute Capability").
struct Multiprocessor {
  int64_t threads, sharedBytes;
  static constexpr int64_t registers = 65536, reservedBytes = 1024; ///< of shared memory, for each block

  explicit Multiprocessor(const std::string &architecture) {
    int number = std::atoi(architecture.c_str() + 3);
    bool small = number == 86 || number == 89 || number >= 120;
    threads = small ? 1536 : 2048;
    sharedBytes = (small ? 100 : number < 90 ? 164 : 228) << 10;
  }
  /// Blocks at a time, by what runs out first.
  std::pair<int64_t, const char *> blocks(int64_t blockThreads, int64_t blockRegisters, int64_t blockShared) const {
    std::pair<int64_t, const char *> limits[] = {
        {threads / blockThreads, "threads"},
        {registers / (blockThreads * std::max<int64_t>(8, (blockRegisters + 7) / 8 * 8)), "registers"},
        {sharedBytes / (blockShared + reservedBytes), "shared memory"}};
    return *std::ranges::min_element(limits);
  }
};

int64_t number(const nlohmann::json &usage, const char *key) {
  auto found = usage.find(key);
  return found != usage.end() && found->is_number_integer() ? found->get<int64_t>() : 0;
}

} // namespace

Result<nlohmann::json> parseUsages(std::string_view usageJson) {
  nlohmann::json usages = nlohmann::json::parse(usageJson, nullptr, false);
  if (!usages.is_object())
    return fail(ExitCode::badInput, "kernels/usage.json: expected an object of architectures");
  return usages;
}

Result<std::vector<std::string>> cudaUsages(std::string_view usageJson, const Kernel &kernel) {
  auto usages = parseUsages(usageJson);
  if (!usages)
    return propagate(usages);
  std::vector<std::string> lines;
  for (const auto &[architecture, kernels] : usages->items()) {
    auto variant = kernel.variants.find(architecture);
    auto usage = kernels.is_object() ? kernels.find(kernel.symbol) : kernels.end();
    if (usage == kernels.end() || variant == kernel.variants.end() || variant->second.forms.empty())
      continue;
    const KernelForm &form = variant->second.forms.front();
    int64_t registers = number(*usage, "registers");
    auto [blocks, limit] = Multiprocessor(architecture).blocks(form.threads, registers, form.sharedBytes);
    lines.push_back(fmt::format("{:<8} {} registers, {} bytes of spills, {} bytes of shared memory; {} blocks of {} "
                                "threads a multiprocessor, limited by {}",
                                architecture, registers, number(*usage, "spill_stores") + number(*usage, "spill_loads"),
                                form.sharedBytes, blocks, form.threads, limit));
  }
  return lines;
}

} // namespace lathe
