//===- TuneCandidates.h - what tuning tries, and when a schedule has won --===//
#pragma once

#include "compiler/Schedules.h"

#include <cstdint>
#include <vector>

namespace lathe {

/// Schedules worth a measurement against `base`, the likeliest first, with its key: other rows and columns of the
/// register tile, or other numbers of its tiles in a block.
std::vector<ScheduleEntry> tileCandidates(const ScheduleEntry &base);
std::vector<ScheduleEntry> blockCandidates(const ScheduleEntry &base);

/// Seconds of a launch under two schedules, taken in turn, so that a drift of the machine hits both.
struct TuneTimes {
  struct Setting {
    int64_t rows = 0;
    std::vector<double> base, candidate; ///< [pair]
  };
  std::vector<Setting> settings;

  /// The median seconds of each setting.
  std::vector<double> medians(bool candidate) const;
  /// What a kernel measured against itself shows: how far from 1 a ratio may be by chance; at least 1 %.
  double spread() const;
};

struct TuneVerdict {
  double ratio = 1; ///< candidate to base: geometric mean over the settings of the median over the pairs
  bool wins =
      false; ///< by more than the spread, in three of four pairs, and at no number of rows slower by more than it
};
TuneVerdict judge(const TuneTimes &times, double spread);

} // namespace lathe
