//===- BenchProfile.h - a step's time by kernel ---------------------------===//
#pragma once

#include "runtime/Plan.h"
#include "runtime/StepTrace.h"

#include <string>
#include <vector>

namespace lathe {

/// What all launches of one kernel took of an average step; microseconds, means over the workers.
struct KernelTime {
  std::string kernel;
  int64_t launches = 0;
  double busy = 0;  ///< in the kernel
  double waits = 0; ///< at the barriers before it
  double bytes = 0; ///< of weights that its launches read, once a pass over the rows
};

/// Where an average step of a trace went. `seconds` is what the traced steps took together by the clock.
struct BenchProfile {
  double step = 0;         ///< microseconds
  double barriers = 0;     ///< share of the workers' time spent waiting for each other, in a median step
  double meanBarriers = 0; ///< over all steps: what one worker lost to others on the machine, the rest waited for
  std::vector<KernelTime> kernels;

  BenchProfile() = default;
  BenchProfile(const Plan &plan, StepTrace &trace, double seconds);
  /// A Markdown table, slowest kernel first.
  std::string table(const std::string &title) const;
};

} // namespace lathe
