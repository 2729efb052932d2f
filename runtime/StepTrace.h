//===- StepTrace.h - where the time of steps goes ------------------------===//
//
// Ticks of the time-stamp counter, per worker and launch, summed over the steps run while a trace was set; and how much
// of each step was waiting, since a step in which a worker lost its core for milliseconds outweighs a hundred others.
//
//===----------------------------------------------------------------------===//
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <vector>
#include <x86intrin.h>

namespace lathe {

class StepTrace {
public:
  struct Ticks {
    uint64_t busy = 0;  ///< in the launch's pieces, what taking them costs included, and asking for their weights early
    uint64_t waits = 0; ///< at the barrier before the launch with nothing to do; the last entry: at the end of the step
  };

  StepTrace(int64_t launches, int64_t workers)
      : stride(roundToLine(launches + 1)), ticks(static_cast<size_t>(stride * workers)), waited(workers),
        workers_(workers) {}

  static uint64_t now() { return __rdtsc(); }
  Ticks *row(int64_t worker) { return ticks.data() + worker * stride; }
  const Ticks &at(int64_t worker, int64_t launch) const { return ticks[static_cast<size_t>(worker * stride + launch)]; }
  int64_t workers() const { return workers_; }

  void addWait(int64_t worker, uint64_t duration) {
    waited[worker].ticks.fetch_add(duration, std::memory_order_relaxed);
  }
  /// By worker 0. What another adds a moment later counts for the next step.
  void endStep(uint64_t duration) {
    uint64_t sum = 0;
    for (const Waited &worker : waited)
      sum += worker.ticks.load(std::memory_order_relaxed);
    shares.push_back(double(sum - waitedBefore) / double(std::max<uint64_t>(1, duration) * uint64_t(workers_)));
    waitedBefore = sum;
    total += duration;
    ++steps;
  }
  /// The share of the workers' time that a median step waits.
  double medianWaiting() const {
    std::vector<double> sorted = shares;
    auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
    std::ranges::nth_element(sorted, middle);
    return sorted.empty() ? 0 : *middle;
  }

  uint64_t total = 0; ///< from the first to the last launch of each step, on worker 0
  uint64_t steps = 0;

private:
  struct alignas(128) Waited {
    std::atomic<uint64_t> ticks{0};
  };
  static int64_t roundToLine(int64_t count) { return (count + 15) / 16 * 16; } // workers write apart

  int64_t stride;
  std::vector<Ticks> ticks;
  std::vector<Waited> waited; ///< of each worker, in all
  uint64_t waitedBefore = 0;
  std::vector<double> shares; ///< of each step
  int64_t workers_;
};

} // namespace lathe
