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

/// Kernels of a decode step take a few to some tens of microseconds; a descheduled worker is gone for milliseconds.
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
    if (int error = pthread_create(&worker.thread, nullptr, entry, &worker))
      return fail(ExitCode::resource, "cannot start thread {} of {}: {}; lower --threads", index + 1, workers,
                  std::strerror(error));
    worker.started = true;
  }
  return pool;
}

CpuPool::~CpuPool() {
  stopping = true;
  posted.fetch_add(2);
  notify();
  for (Worker &worker : team)
    if (worker.started)
      pthread_join(worker.thread, nullptr);
}

/// Sleeps only after spinning for a while; how long follows whether it paid off lately.
void CpuPool::waitErased(bool (*ready)(const void *), const void *context, Worker &worker) {
  if (ready(context))
    return;
  int64_t spin = worker.spinNanoseconds;
  if (spin > 0) {
    int64_t end = nanoseconds() + spin;
    do {
      for (int i = 0; i < 16; ++i) {
        _mm_pause();
        if (ready(context)) {
          worker.spinNanoseconds = std::min(longestSpin, spin + spin / 8 + 1);
          return;
        }
      }
    } while (nanoseconds() < end);
    worker.spinNanoseconds = std::max(kShortestSpin, spin / 2);
  }
  sleepers.fetch_add(1);
  while (true) {
    uint32_t seen = wakes.load();
    if (ready(context))
      break;
    syscall(SYS_futex, &wakes, FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
  }
  sleepers.fetch_sub(1);
}

void CpuPool::wakeSleepers() {
  wakes.fetch_add(1);
  syscall(SYS_futex, &wakes, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

void CpuPool::barrier(int64_t index) {
  if (team.size() == 1)
    return;
  uint32_t current = generation.load();
  if (arrived.fetch_add(1) + 1 == team.size()) {
    arrived.store(0);
    generation.store(current + 1);
    notify();
    return;
  }
  wait(index, [&] { return generation.load() != current; });
}

void CpuPool::post(Erased newProgram, const void *newContext, bool newAll) {
  if (team.size() > 1) {
    posted.fetch_add(1);
    program = newProgram;
    context = newContext;
    all = newAll;
    posted.fetch_add(1);
    notify();
  }
  newProgram(newContext, 0);
  if (newAll)
    barrier(0);
}

void CpuPool::serve(Worker &worker) {
  uint64_t done = 0;
  while (true) {
    uint64_t job;
    wait(worker.index, [&] { return (job = posted.load()) != done && job % 2 == 0; });
    if (stopping)
      return;
    Erased wanted = program;
    const void *argument = context;
    bool joins = all;
    if (posted.load() != job)
      continue; // another job was posted in between; one of `run` waits for us, so it is never missed
    done = job;
    wanted(argument, worker.index);
    if (joins)
      barrier(worker.index);
  }
}

} // namespace lathe
