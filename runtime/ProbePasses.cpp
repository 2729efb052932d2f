#include "runtime/ProbePasses.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <sched.h>

namespace lathe {
namespace {

/// While it lives, the thread that made it runs on one CPU only: the `worker`-th of those it may run on, counted round.
class Pin {
public:
  explicit Pin(int64_t worker) {
    known = pthread_getaffinity_np(pthread_self(), sizeof before, &before) == 0; // not with more than 1024 CPUs
    int64_t skipped = known ? worker % CPU_COUNT(&before) : -1;
    for (int cpu = 0; known && cpu < CPU_SETSIZE; ++cpu)
      if (CPU_ISSET(cpu, &before) && skipped-- == 0) {
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        pthread_setaffinity_np(pthread_self(), sizeof one, &one);
      }
  }
  ~Pin() {
    if (known)
      pthread_setaffinity_np(pthread_self(), sizeof before, &before);
  }
  Pin(const Pin &) = delete;
  Pin &operator=(const Pin &) = delete;

private:
  cpu_set_t before;
  bool known = false;
};

using Clock = std::chrono::steady_clock;

struct alignas(128) Span {
  Clock::time_point begin, end;
};

} // namespace

double fastestPass(CpuPool &pool, int passes, const std::function<void(int64_t worker, int pass)> &program) {
  std::vector<Span> spans(pool.workers());
  double best = std::numeric_limits<double>::infinity();
  // All passes in one run: a worker that wakes on another's CPU gets to its own only when that one pauses.
  pool.run([&](int64_t worker) {
    Pin pin(worker);
    for (int pass = 0; pass < passes; ++pass) {
      pool.barrier(worker);
      spans[worker].begin = Clock::now();
      program(worker, pass);
      spans[worker].end = Clock::now();
      pool.barrier(worker);
      if (worker != 0)
        continue;
      auto begin = std::ranges::min(spans, {}, &Span::begin).begin;
      auto end = std::ranges::max(spans, {}, &Span::end).end;
      best = std::min(best, std::chrono::duration<double>(end - begin).count());
    }
  });
  return best;
}

} // namespace lathe
