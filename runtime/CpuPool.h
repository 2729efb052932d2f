//===- CpuPool.h - workers that run one program together ------------------===//
#pragma once

#include "runtime/support/Error.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <pthread.h>
#include <vector>

namespace lathe {

/// A fixed team of threads; worker 0 is the thread that calls `run` or `lead`, so a team of one starts no thread. One
/// thread at a time may call them.
///
/// Waiting spins briefly, then sleeps: a worker that lost its core to a neighbour gets it back, and a spinning one does
/// not keep it from the worker that is waited for.
class CpuPool {
public:
  static Result<std::unique_ptr<CpuPool>> create(int64_t workers);
  ~CpuPool();
  CpuPool(const CpuPool &) = delete;
  CpuPool &operator=(const CpuPool &) = delete;

  int64_t workers() const { return static_cast<int64_t>(team.size()); }

  /// Calls `program(worker)` on every worker and returns when all have returned.
  template <typename Program> void run(const Program &program) { post(call<Program>, &program, true); }
  /// Calls `program(0)` here and returns when that does. Other workers call it too when they get a core: perhaps late,
  /// perhaps not at all, perhaps still when this has returned. `program` must outlive the pool and know by itself
  /// whether there is anything left to do.
  template <typename Program> void lead(const Program &program) { post(call<Program>, &program, false); }

  /// Inside a program of `run`: returns when all workers are here; what any wrote before is seen by all after.
  void barrier(int64_t worker);

  /// Waits until `ready()`, which reads atomics with sequential consistency; whoever changes them (with sequential
  /// consistency) calls `notify` afterwards.
  template <typename Ready> void wait(int64_t worker, const Ready &ready) {
    waitErased([](const void *context) { return (*static_cast<const Ready *>(context))(); }, &ready, team[worker]);
  }
  void notify() {
    // A sleeper counts itself before it looks for the last time, so either it sees the change or it is counted here.
    if (sleepers.load() > 0)
      wakeSleepers();
  }

private:
  using Erased = void (*)(const void *context, int64_t worker);
  struct alignas(128) Worker { // two cache lines: prefetchers fetch pairs
    CpuPool *pool = nullptr;
    int64_t index = 0;
    pthread_t thread = {};
    bool started = false;
    int64_t spinNanoseconds = 0; ///< what waiting spins before it sleeps; follows what paid off
  };

  CpuPool() = default;
  template <typename Program> static void call(const void *context, int64_t worker) {
    (*static_cast<const Program *>(context))(worker);
  }
  void post(Erased program, const void *context, bool all);
  void serve(Worker &worker);
  void waitErased(bool (*ready)(const void *), const void *context, Worker &worker);
  void wakeSleepers();

  std::vector<Worker> team;
  int64_t longestSpin = 0;
  // The job. Workers read it while `posted` stays the same; it is written under an odd number (a sequence lock).
  std::atomic<Erased> program{nullptr};
  std::atomic<const void *> context{nullptr};
  std::atomic<bool> all{false}, stopping{false};
  alignas(128) std::atomic<uint64_t> posted{0};
  alignas(128) std::atomic<uint32_t> arrived{0};
  alignas(128) std::atomic<uint32_t> generation{0}; ///< of the barrier
  alignas(128) std::atomic<uint32_t> sleepers{0};
  alignas(128) std::atomic<uint32_t> wakes{0}; ///< what sleepers sleep on
};

} // namespace lathe
