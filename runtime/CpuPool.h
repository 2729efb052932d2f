//===- CpuPool.h - workers that run one program together ------------------===//
#pragma once

#include "runtime/support/Error.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <pthread.h>
#include <vector>

namespace lathe {

/// A fixed team of threads. `run` has every worker execute the same program (SPMD); worker 0 is the calling thread, so
/// a pool of one starts no thread. One thread at a time may call `run`.
class CpuPool {
public:
  static Result<std::unique_ptr<CpuPool>> create(int64_t workers);
  ~CpuPool();
  CpuPool(const CpuPool &) = delete;
  CpuPool &operator=(const CpuPool &) = delete;

  int64_t workers() const { return static_cast<int64_t>(team.size()); }

  /// Calls `program(worker)` on every worker and returns when all have.
  template <typename Program> void run(const Program &program) {
    runErased([](const void *context, int64_t worker) { (*static_cast<const Program *>(context))(worker); }, &program);
  }
  /// Inside a program: returns when all workers are here; what any wrote before is seen by all after. Waiting spins
  /// briefly, then sleeps, so that workers that lost their core to a neighbour get it back.
  void barrier(int64_t worker);

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
  void runErased(Erased program, const void *context);
  void serve(Worker &worker);
  void waitWhile(std::atomic<uint32_t> &word, uint32_t value, Worker &worker);
  void wake(std::atomic<uint32_t> &word);

  std::vector<Worker> team;
  int64_t longestSpin = 0;
  Erased program = nullptr;
  const void *context = nullptr;
  bool stopping = false;
  alignas(128) std::atomic<uint32_t> generation{0}; ///< of the barrier; also starts and ends a run
  alignas(128) std::atomic<uint32_t> arrived{0};
  alignas(128) std::atomic<uint32_t> sleepers{0};
};

} // namespace lathe
