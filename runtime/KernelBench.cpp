#include "runtime/KernelBench.h"

#include "runtime/CpuFeatures.h"
#include "runtime/Sampler.h"

#include <algorithm>
#include <chrono>

namespace lathe {

/// Twice what the caches hold: they may keep a part of a ring that only just does not fit.
static uint64_t coldBytes() {
  return std::min<uint64_t>({2 * lastLevelCacheBytes(), uint64_t(1) << 30, availableMemory() / 4});
}

Result<std::unique_ptr<KernelBench>> KernelBench::load(std::shared_ptr<const Artifact> artifact,
                                                       const std::string &kernel, const KernelBenchOptions &options) {
  EngineOptions engine;
  engine.device = options.device;
  engine.tier = options.tier;
  engine.threads = options.threads;
  engine.kvTokens = options.depth + options.rows;
  engine.maxRows = options.rows;
  engine.maxLogitRows = 1;
  engine.reusePrefixes = false;
  engine.kernel = kernel;
  engine.ringBytes = options.ringBytes ? options.ringBytes : coldBytes();
  if (auto text = artifact->member("plan.json")) // Engine::load says what is wrong with it
    if (auto plan = parsePlan({reinterpret_cast<const char *>(text->data()), text->size()})) {
      auto entry = std::ranges::find(plan->kernels, kernel, &Kernel::symbol);
      if (entry != plan->kernels.end() && entry->unit == Unit::logitRows)
        engine.maxLogitRows = options.rows;
      if (entry != plan->kernels.end() && options.depth + options.rows > plan->context)
        return fail(ExitCode::badInput, "{} rows behind {} positions: the context has {}; lower -m or -d", options.rows,
                    options.depth, plan->context);
    }
  auto loaded = Engine::load(std::move(artifact), engine);
  if (!loaded)
    return propagate(loaded);
  std::unique_ptr<KernelBench> bench(new KernelBench);
  bench->machine = std::move(*loaded);
  const Plan &plan = bench->machine->plan();
  bench->entry = &*std::ranges::find(plan.kernels, kernel, &Kernel::symbol);
  bench->depth = options.depth;
  for (int64_t i = 0; i < options.depth + options.rows; ++i)
    bench->tokens.push_back(static_cast<int32_t>(i * 7919 % plan.vocab));
  return bench;
}

Result<double> KernelBench::pass(int64_t rows) {
  KvStore &kv = machine->kv();
  KvStore::Sequence sequence = kv.open();
  std::span<const int32_t> all(tokens);
  bool room = machine->reserve(sequence, depth);
  if (room && depth)
    kv.append(sequence, all.first(depth));
  room = room && machine->reserve(sequence, rows);
  SequenceRows step{sequence, all.subspan(depth, rows), entry->unit == Unit::logitRows ? rows : 0};
  if (machine->draws())
    step.draw = drawOf({.temperature = 1, .topK = 40, .topP = 0.95}, 0);
  auto begin = std::chrono::steady_clock::now();
  Result<void> done = room ? machine->advance({&step, 1}) : fail(ExitCode::internal, "the KV pool is too small");
  if (auto ended = machine->wait(); done)
    done = ended;
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  kv.close(sequence);
  if (!done)
    return propagate(done);
  return seconds / double(machine->launches());
}

double KernelBench::bytes(int64_t rows) const {
  const Plan &plan = machine->plan();
  if (attends())
    return double(plan.pageBytes()) / double(plan.pageTokens) * double(depth + rows);
  return double(entry->tiles) * double(entry->bytesPerTile);
}

double KernelBench::multiplyAdds(int64_t rows) const {
  double positions = double(rows) * double(depth) + double(rows) * double(rows + 1) / 2;
  return double(entry->flopsPerUnit) / 2 * (attends() ? positions : double(rows));
}

} // namespace lathe
