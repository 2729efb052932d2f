#include "runtime/CpuPool.h"

#include "runtime/CpuFeatures.h"

#include <algorithm>
#include <chrono>
#include <climits>
#include <cstring>
#include <immintrin.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace lathe {
namespace {

/// A barrier of a decode step is met within a few microseconds; a descheduled worker is gone for milliseconds.
constexpr int64_t kLongestSpin = 50'000, kShortestSpin = 20'000;
constexpr int64_t kMostWorkers = 4096;

int64_t nanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

} // namespace

Result<std::unique_ptr<CpuPool>> CpuPool::create(int64_t workers) {
  if (workers < 1 || workers > kMostWorkers)
    return fail(ExitCode::usage, "threads: expected 1 to {}, found {}", kMostWorkers, workers);
  std::unique_ptr<CpuPool> pool(new CpuPool);
  // Spinning on a core that the awaited worker needs only delays it.
  pool->longestSpin = workers <= affinityCount() ? kLongestSpin : 0;
  pool->team = std::vector<Worker>(workers);
  for (int64_t index = 0; index < workers; ++index) {
    Worker &worker = pool->team[index];
    worker.pool = pool.get();
    worker.index = index;
    worker.spinNanoseconds = pool->longestSpin;
  }
  auto entry = [](void *argument) -> void * {
    Worker &worker = *static_cast<Worker *>(argument);
    worker.pool->serve(worker);
    return nullptr;
  };
  for (int64_t index = 1; index < workers; ++index) {
    Worker &worker = pool->team[index];
    if (int error = pthread_create(&worker.thread, nullptr, entry, &worker)) {
      // Those that run wait at a barrier of the whole team; the missing ones count as arrived, so that they can be
      // ended.
      pool->arrived.fetch_add(static_cast<uint32_t>(workers - index));
      return fail(ExitCode::resource, "cannot start thread {} of {}: {}; lower --threads", index + 1, workers,
                  std::strerror(error));
    }
    worker.started = true;
  }
  return pool;
}

CpuPool::~CpuPool() {
  stopping = true;
  if (team.size() > 1)
    barrier(0);
  for (Worker &worker : team)
    if (worker.started)
      pthread_join(worker.thread, nullptr);
}

/// Sleeps only after spinning for a while; how long follows whether it paid off lately.
void CpuPool::waitWhile(std::atomic<uint32_t> &word, uint32_t value, Worker &worker) {
  int64_t spin = worker.spinNanoseconds;
  if (spin > 0) {
    int64_t end = nanoseconds() + spin;
    do {
      for (int i = 0; i < 32; ++i) {
        if (word.load(std::memory_order_acquire) != value) {
          worker.spinNanoseconds = std::min(longestSpin, spin + spin / 8 + 1);
          return;
        }
        _mm_pause();
      }
    } while (nanoseconds() < end);
    worker.spinNanoseconds = std::max(kShortestSpin, spin / 2);
  }
  sleepers.fetch_add(1);
  while (word.load() == value)
    syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
  sleepers.fetch_sub(1);
}

void CpuPool::wake(std::atomic<uint32_t> &word) {
  // A sleeper counts itself before it looks at the word, so either it sees the new value or it is counted here.
  if (sleepers.load() > 0)
    syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

void CpuPool::barrier(int64_t index) {
  if (team.size() == 1)
    return;
  uint32_t current = generation.load(std::memory_order_acquire);
  if (arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == team.size()) {
    arrived.store(0, std::memory_order_relaxed);
    generation.store(current + 1);
    wake(generation);
    return;
  }
  waitWhile(generation, current, team[index]);
}

void CpuPool::runErased(Erased newProgram, const void *newContext) {
  program = newProgram;
  context = newContext;
  barrier(0);
  program(context, 0);
  barrier(0);
}

void CpuPool::serve(Worker &worker) {
  while (true) {
    barrier(worker.index);
    if (stopping)
      return;
    program(context, worker.index);
    barrier(worker.index);
  }
}

} // namespace lathe
