#include "runtime/CpuExecutor.h"

#include "runtime/CpuFeatures.h"
#include "runtime/Engine.h"
#include "runtime/KernelRing.h"

#include <algorithm>

namespace lathe {

Result<std::unique_ptr<Executor>> CpuExecutor::open(std::shared_ptr<const Artifact> artifact, CpuPool &workers,
                                                    const EngineOptions &options) {
  auto chosen = chooseTier(artifact->manifest().tiers, options.tier);
  if (!chosen)
    return propagate(chosen);
  std::unique_ptr<CpuExecutor> executor(new CpuExecutor(std::move(artifact), workers, *chosen));
  if (auto loaded = executor->load(options.mapWeights); !loaded)
    return propagate(loaded);
  return executor;
}

Result<CpuExecutor::Resolved> CpuExecutor::resolve() {
  auto buffers = addresses();
  if (!buffers)
    return propagate(buffers);
  Resolved resolved;
  std::vector<KernelFn> functions;
  for (const Kernel &kernel : plan->kernels) {
    auto function = code->kernel(kernel.symbol);
    if (!function)
      return propagate(function);
    auto variant = kernel.variants.find(tier());
    if (variant == kernel.variants.end())
      return fail(ExitCode::badInput, "plan.json: kernel {} has no variant for {}", kernel.symbol, tier());
    if (const auto &use = variant->second.library) {
      auto checked = MatrixLibrary::loadFor(*use, variant->second.unitBlock);
      if (!checked)
        return fail(checked.error().code, "kernel {}: {}", kernel.symbol, checked.error().message);
      library = *checked;
    }
    functions.push_back(*function);
    resolved.scratchBytes = std::max(resolved.scratchBytes, variant->second.scratchBytes);
  }
  for (const Launch &launch : plan->launches) {
    const Kernel &kernel = plan->kernels[launch.kernel];
    ResolvedLaunch to{
        functions[launch.kernel], {}, kernel.unit, kernel.tiles, kernel.variants.at(tier()).unitBlock, launch.barrier};
    for (int64_t argument : launch.args) {
      const Buffer &buffer = plan->buffers[argument];
      // The largest of the weights that are split by tiles; an embedding's table is not.
      if (buffer.kind == Buffer::Kind::weight)
        if (auto bytes = artifact->weight(buffer.tensor);
            bytes && static_cast<int64_t>(bytes->size()) <= kernel.tiles * kernel.bytesPerTile)
          if (auto tile = static_cast<int64_t>(bytes->size()) / kernel.tiles; tile > to.tileBytes)
            to.streamed = static_cast<int64_t>(to.buffers.size()), to.tileBytes = tile;
      to.buffers.push_back((*buffers)[argument]);
    }
    resolved.launches.push_back(std::move(to));
  }
  return resolved;
}

Result<StepLoad> CpuExecutor::prepare(Plan &plan, const MemoryLayout &layout, const StepRoom &room,
                                      const EngineOptions &options) {
  if (auto done = allocate(plan, layout, room); !done)
    return propagate(done);
  auto resolved = resolve();
  if (!resolved)
    return propagate(resolved);
  StepLoad load = loadOf(plan);
  if (!options.kernel.empty()) {
    auto ring = KernelRing::make(plan, *artifact, options.kernel, resolved->launches, options.ringBytes);
    if (!ring)
      return propagate(ring);
    resolved->launches = std::move(ring->launches), ringCopies = std::move(ring->copies);
    load = {static_cast<int64_t>(resolved->launches.size()), ring->bytes};
    fill(kSmallNumbers); // untouched memory is one page of zeros, which a cache would hold
  }
  auto made = LaunchTable::create(std::move(resolved->launches), workers.workers(), resolved->scratchBytes);
  if (!made)
    return propagate(made);
  table = std::move(*made);
  return load;
}

Result<void> CpuExecutor::run(LatheStep &step) {
  step.library = library;
  table->run(workers, step);
  if (library && library->failed())
    return fail(ExitCode::resource, "oneDNN could not multiply (status {}): is there too little memory?",
                library->failed());
  return {};
}

void CpuExecutor::setTrace(StepTrace *trace) {
  workers.run([](int64_t) {}); // no worker is in the table any more
  table->setTrace(trace);
}

} // namespace lathe
