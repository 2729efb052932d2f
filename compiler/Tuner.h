//===- Tuner.h - measures schedules and writes a table of the best --------===//
//
// For each linear kernel of a model, under the best ISA tier of this machine: candidates are compiled (one layer,
// random weights, all kernels of a round at once), timed by KernelBench in turn with the default, and one that wins by
// more than the spread, twice, gets an entry. compiler/TuneCandidates.h says what is tried and what winning means.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Schedules.h"

#include <functional>
#include <string>
#include <vector>

namespace lathe {

struct TuneOptions {
  std::string model; ///< whatever importModel reads, or an artifact
  std::string output =
      "schedules.toml";       ///< the table; replaced when a kernel has got a better schedule, and at the end
  std::string kernel;         ///< only this one; "": every linear
  std::string tier;           ///< "": the best of this machine
  std::string quant = "int8"; ///< of a model; an artifact's own wins
  int64_t group = 32;
  int64_t threads = 0; ///< 0: as many as run without disturbing each other
  double seconds = 60; ///< what all of it may take, about
};

struct TunedKernel {
  std::string name;                             ///< of the first kernel of this shape
  ScheduleEntry base, best;                     ///< equal where nothing won
  std::vector<int64_t> rows;                    ///< that were measured
  std::vector<double> baseSeconds, bestSeconds; ///< of a launch, for each of `rows`, measured in turn; empty: never
  double spread = 0;                            ///< of the kernel against itself; 0: the time was up before
  double ratio = 1;                             ///< best to base
  int64_t tried = 0;                            ///< candidates that were measured to the end
  bool improved() const { return ratio < 1; }
};

/// What a tuner says while it works.
struct TuneReports {
  std::function<void(const std::string &line)> line;
  /// Often: what goes on, and how much of the time that all of it may take has gone by, in milliseconds.
  std::function<void(const std::string &what, int64_t done, int64_t total)> progress;
};

Result<std::vector<TunedKernel>> tuneModel(const TuneOptions &options, const TuneReports &reports);

} // namespace lathe
