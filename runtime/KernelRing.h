//===- KernelRing.h - one kernel over and over on cold weights ------------===//
//
// In a step each launch reads weights that no cache holds any more. A kernel that is measured on its own must find them
// as cold: its launches, then the same launches on copies of their weights, go round in a ring too large for the
// caches.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Arena.h"
#include "runtime/Artifact.h"
#include "runtime/LaunchTable.h"
#include "runtime/Plan.h"

#include <string>
#include <vector>

namespace lathe {

/// Indices into plan.launches. An unknown name is ExitCode::usage and lists those there are.
Result<std::vector<size_t>> launchesOf(const Plan &plan, const std::string &kernel);

struct KernelRing {
  std::vector<ResolvedLaunch> launches; ///< each after a barrier
  uint64_t bytes = 0;                   ///< of weights that a pass over the launches reads
  Arena copies;                         ///< must outlive the launches

  /// The launches of `kernel` among `all` (one for each of `plan.launches`), copied until they read `least` bytes of
  /// weights (or 4096 launches are reached; a kernel that reads none, such as attention, is not copied). What all its
  /// launches share, such as a rope table, stays shared. Errors are those of launchesOf.
  static Result<KernelRing> make(const Plan &plan, const Artifact &artifact, const std::string &kernel,
                                 const std::vector<ResolvedLaunch> &all, uint64_t least);
};

} // namespace lathe
