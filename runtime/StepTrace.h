//===- StepTrace.h - where the time of steps goes ------------------------===//
//
// Ticks of the time-stamp counter, per worker and launch, summed over the steps run while a trace was set.
//
//===----------------------------------------------------------------------===//
#pragma once

#include <cstdint>
#include <vector>
#include <x86intrin.h>

namespace lathe {

class StepTrace {
public:
  struct Ticks {
    uint64_t busy = 0;  ///< in the launch's pieces, what taking them costs included
    uint64_t waits = 0; ///< at the barrier before the launch; the last entry: at the end of the step
  };

  StepTrace(int64_t launches, int64_t workers)
      : stride(roundToLine(launches + 1)), ticks(static_cast<size_t>(stride * workers)), workers_(workers) {}

  static uint64_t now() { return __rdtsc(); }
  Ticks *row(int64_t worker) { return ticks.data() + worker * stride; }
  const Ticks &at(int64_t worker, int64_t launch) const { return ticks[static_cast<size_t>(worker * stride + launch)]; }
  int64_t workers() const { return workers_; }

  uint64_t total = 0; ///< from the first to the last launch of each step, on worker 0
  uint64_t steps = 0;

private:
  static int64_t roundToLine(int64_t count) { return (count + 15) / 16 * 16; } // workers write apart

  int64_t stride;
  std::vector<Ticks> ticks;
  int64_t workers_;
};

} // namespace lathe
