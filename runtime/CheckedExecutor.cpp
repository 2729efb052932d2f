#include "runtime/CheckedExecutor.h"

#include "runtime/Engine.h"

#include <cstring>
#include <utility>

namespace lathe {

/// A GPU's blocks are many: attention is split for so many.
static constexpr int64_t kTakers = 16;

Result<std::unique_ptr<Executor>> CheckedExecutor::open(std::shared_ptr<const Artifact> artifact, CpuPool &workers,
                                                        const std::string &tier, const EngineOptions &options) {
  std::unique_ptr<CheckedExecutor> executor(new CheckedExecutor(std::move(artifact), workers, tier));
  if (auto loaded = executor->load(options.mapWeights); !loaded)
    return propagate(loaded);
  return executor;
}

int64_t CheckedExecutor::takers() const { return kTakers; }

Result<StepLoad> CheckedExecutor::prepare(Plan &plan, const MemoryLayout &layout, const StepRoom &room,
                                          const EngineOptions &options) {
  if (!options.kernel.empty())
    return fail(ExitCode::usage,
                "--kernel {}: expected the device cpu or cuda: cuda-host is for checking, not for timing",
                options.kernel);
  if (auto done = allocate(plan, layout, room); !done)
    return propagate(done);
  auto buffers = addresses();
  if (!buffers)
    return propagate(buffers);
  std::vector<BufferExtent> extents;
  for (size_t i = 0; i < buffers->size(); ++i) {
    const Buffer &buffer = plan.buffers[i];
    bool weight = buffer.kind == Buffer::Kind::weight;
    extents.push_back({(*buffers)[i], weight ? artifact->weight(buffer.tensor)->size() : layout.place(buffer).bytes});
  }
  if (int64_t drawn = plan.tokensBuffer(); drawn >= 0)
    tokens = static_cast<const int32_t *>(extents[drawn].data);
  std::memset(pool.data(), 0xff, pool.bytes()); // what was never appended must not look like a number
  auto made =
      HostLaunches::create(plan, *code, tier().substr(tier().find(':') + 1), std::move(extents), options.hostCheck);
  if (!made)
    return propagate(made);
  launches = std::move(*made);
  return loadOf(plan);
}

/// The next step may draw its tokens before these are looked at.
Result<void> CheckedExecutor::fetch(const LatheStep &step) {
  fetched.emplace_back(tokens, tokens + (tokens ? step.logitRows : 0));
  return {};
}

Result<StepResults> CheckedExecutor::collect() {
  if (std::exchange(collected, true))
    fetched.pop_front();
  auto results = HostSideExecutor::collect();
  results->tokens = fetched.front().data();
  return results;
}

} // namespace lathe
