//===- TuneCandidates.h - what tuning tries, and when a schedule has won --===//
#pragma once

#include "compiler/Schedules.h"

#include <cstdint>
#include <vector>

namespace lathe {

/// Schedules worth a measurement against `base`, the likeliest first, with its key: other rows and columns of the
/// register tile, other numbers of its tiles in a block, or a library for calls of many rows.
std::vector<ScheduleEntry> tileCandidates(const ScheduleEntry &base);
std::vector<ScheduleEntry> blockCandidates(const ScheduleEntry &base);
std::vector<ScheduleEntry> libraryCandidates(const ScheduleEntry &base);

/// Seconds of a launch under two schedules, taken in turn, so that a drift of the machine hits both.
struct TuneTimes {
  struct Setting {
    int64_t rows = 0;
    std::vector<double> base, candidate; ///< [pair]
  };
  std::vector<Setting> settings;

  /// Of each setting, the first quartile: what a launch takes when little else runs on the machine.
  std::vector<double> seconds(bool candidate) const;
  /// What a kernel measured against itself shows: how far from 1 a ratio may be by chance, the geometric mean over the
  /// settings; at least 1 %.
  double spread() const;
};

struct TuneVerdict {
  double ratio = 1;  ///< candidate to base: geometric mean over the settings of what `seconds` gives
  bool wins = false; ///< by more than the spread, in most pairs, and at no number of rows slower by more than it
};
TuneVerdict judge(const TuneTimes &times, double spread);

} // namespace lathe
