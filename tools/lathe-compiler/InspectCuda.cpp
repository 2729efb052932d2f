//===- InspectCuda.cpp - kernels of the CUDA target, for lathe inspect --------===//
#include "compiler/CudaCodegen.h"
#include "runtime/Plan.h"
#include "tools/lathe-compiler/Inspect.h"

#include <nlohmann/json.hpp>

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

std::string_view textOf(const Artifact &artifact, const std::string &name) {
  auto bytes = artifact.member(name);
  return bytes ? std::string_view(reinterpret_cast<const char *>(bytes->data()), bytes->size()) : std::string_view();
}

/// What ptxas said, by architecture and kernel.
Result<nlohmann::json> usagesOf(const Artifact &artifact) {
  nlohmann::json usages = nlohmann::json::parse(textOf(artifact, "kernels/usage.json"), nullptr, false);
  if (!usages.is_object())
    return fail(ExitCode::badInput, "kernels/usage.json: expected an object of architectures");
  return usages;
}

int64_t number(const nlohmann::json &usage, const char *key) {
  auto found = usage.find(key);
  return found != usage.end() && found->is_number_integer() ? found->get<int64_t>() : 0;
}

/// A line for each architecture that the kernel was compiled for.
void printUsages(const nlohmann::json &usages, const Kernel &kernel) {
  for (const auto &[architecture, kernels] : usages.items()) {
    auto variant = kernel.variants.find(architecture);
    auto usage = kernels.is_object() ? kernels.find(kernel.symbol) : kernels.end();
    if (usage == kernels.end() || variant == kernel.variants.end() || variant->second.forms.empty())
      continue;
    const KernelForm &form = variant->second.forms.front();
    int64_t registers = number(*usage, "registers");
    auto [blocks, limit] = Multiprocessor(architecture).blocks(form.threads, registers, form.sharedBytes);
    fmt::print("{:<8} {} registers, {} bytes of spills, {} bytes of shared memory; {} blocks of {} threads a "
               "multiprocessor, limited by {}\n",
               architecture, registers, number(*usage, "spill_stores") + number(*usage, "spill_loads"),
               form.sharedBytes, blocks, form.threads, limit);
  }
}

} // namespace

Result<void> inspectCudaKernels(const Artifact &artifact, const Plan &plan, bool json) {
  auto usages = usagesOf(artifact);
  if (!usages)
    return propagate(usages);
  if (json) {
    nlohmann::json all = nlohmann::json::array();
    for (const Kernel &kernel : plan.kernels) {
      nlohmann::json of;
      for (const auto &[architecture, kernels] : usages->items())
        if (kernels.is_object() && kernels.contains(kernel.symbol))
          of[architecture] = kernels[kernel.symbol];
      all.push_back({{"name", kernel.symbol},
                     {"tiles", kernel.tiles},
                     {"weight_bytes", kernel.tiles * kernel.bytesPerTile},
                     {"flops_per_unit", kernel.flopsPerUnit},
                     {"fused", kernel.provenance},
                     {"architectures", of}});
    }
    fmt::print("{}\n", all.dump(2));
    return {};
  }
  for (const Kernel &kernel : plan.kernels) {
    fmt::print("{}: {}; {} tiles, {} weight bytes\n", kernel.symbol, kernel.provenance, kernel.tiles,
               kernel.tiles * kernel.bytesPerTile);
    printUsages(*usages, kernel);
  }
  return {};
}

Result<void> inspectCudaKernel(const Artifact &artifact, const Plan &plan, const std::string &name) {
  std::string names;
  for (const Kernel &kernel : plan.kernels) {
    names += (names.empty() ? "" : ", ") + kernel.symbol;
    if (kernel.symbol != name)
      continue;
    auto usages = usagesOf(artifact);
    if (!usages)
      return propagate(usages);
    printUsages(*usages, kernel);
    CudaText text{.name = name, .text = std::string(textOf(artifact, "kernels/" + name + ".cu"))};
    if (text.text.empty())
      return fail(ExitCode::badInput, "kernels/{}.cu is missing", name);
    fmt::print("\n{}", text.text);
    // PTX is not kept: NVRTC makes it where it is there.
    std::string warning;
    auto ptx = compileForDevice({text}, "compute_80", warning);
    if (ptx)
      fmt::print("\n// PTX\n{}", ptx->front().image);
    else
      fmt::print(stderr, "no PTX: {}\n", ptx.error().message);
    return {};
  }
  return fail(ExitCode::usage, "no kernel '{}'; there are: {}", name, names);
}

} // namespace lathe
