#include "compiler/TuneCandidates.h"

#include <algorithm>
#include <cmath>

namespace lathe {
namespace {

/// A whole number of register tiles that stays within what a table may say.
ScheduleEntry withTile(const ScheduleEntry &base, int64_t rows, int64_t columns, int64_t tiles) {
  ScheduleEntry entry = base;
  int64_t most = std::max<int64_t>(rows, ScheduleTable::mostUnitBlock(base.key.k));
  entry.rows = rows, entry.columns = columns;
  entry.unitBlock = std::min(rows * tiles, most / rows * rows);
  if (entry.libraryRows > entry.unitBlock)
    entry.library = "", entry.libraryRows = 0;
  return entry;
}

bool sameSchedule(const ScheduleEntry &a, const ScheduleEntry &b) {
  return a.rows == b.rows && a.columns == b.columns && a.unitBlock == b.unitBlock && a.amxRows == b.amxRows &&
         a.library == b.library && a.libraryRows == b.libraryRows;
}

void addNew(std::vector<ScheduleEntry> &list, const ScheduleEntry &base, ScheduleEntry entry) {
  if (!sameSchedule(entry, base) &&
      std::ranges::none_of(list, [&](const ScheduleEntry &other) { return sameSchedule(entry, other); }))
    list.push_back(std::move(entry));
}

double quantile(std::vector<double> values, double q) {
  std::ranges::sort(values);
  double at = q * double(values.size() - 1);
  size_t below = static_cast<size_t>(at);
  double above = values[std::min(below + 1, values.size() - 1)];
  return values[below] + (above - values[below]) * (at - double(below));
}

/// What a launch takes when little else runs: a busy neighbour can only make it longer, and by much.
double quietSeconds(const std::vector<double> &seconds) { return quantile(seconds, 0.25); }

double ratio(const TuneTimes::Setting &setting) { return quietSeconds(setting.candidate) / quietSeconds(setting.base); }

double medianOfPairs(const TuneTimes::Setting &setting) {
  std::vector<double> ratios;
  for (size_t i = 0; i < setting.base.size(); ++i)
    ratios.push_back(setting.candidate[i] / setting.base[i]);
  return quantile(ratios, 0.5);
}

} // namespace

std::vector<ScheduleEntry> tileCandidates(const ScheduleEntry &base) {
  std::vector<ScheduleEntry> list;
  int64_t tiles = std::max<int64_t>(1, base.unitBlock / base.rows);
  // Fewer columns leave registers for more rows, so the same product of the two is tried first.
  for (int64_t columns : {base.columns, 48 - base.columns})
    for (int64_t rows : {8, 4, 12, 3, 16, 6, 2, 10, 5, 1})
      addNew(list, base, withTile(base, rows, columns, tiles));
  return list;
}

std::vector<ScheduleEntry> blockCandidates(const ScheduleEntry &base) {
  std::vector<ScheduleEntry> list;
  int64_t tiles = std::max<int64_t>(1, base.unitBlock / base.rows);
  for (int64_t count : {tiles * 2, tiles / 2, tiles * 4, tiles / 4})
    if (count > 0)
      addNew(list, base, withTile(base, base.rows, base.columns, count));
  for (int64_t least : {3, 9})
    if (base.amxRows != 0) {
      ScheduleEntry entry = withTile(base, base.rows, base.columns, tiles);
      entry.amxRows = least;
      addNew(list, base, entry);
    }
  return list;
}

std::vector<ScheduleEntry> libraryCandidates(const ScheduleEntry &base) {
  std::vector<ScheduleEntry> list;
  if (!libraryReads(base.key.quant))
    return list;
  // A library's call costs more than a register tile, so it wants many rows.
  int64_t tiles = std::max<int64_t>(1, base.unitBlock / base.rows);
  for (int64_t count : {tiles, tiles * 2, tiles * 4})
    for (int64_t rows : {16, 48}) {
      ScheduleEntry entry = withTile(base, base.rows, base.columns, count);
      entry.library = "onednn", entry.libraryRows = rows, entry.amxRows = 0;
      if (rows <= entry.unitBlock)
        addNew(list, base, std::move(entry));
    }
  return list;
}

std::vector<double> TuneTimes::seconds(bool candidate) const {
  std::vector<double> result;
  for (const Setting &setting : settings)
    result.push_back(quietSeconds(candidate ? setting.candidate : setting.base));
  return result;
}

double TuneTimes::spread() const {
  double spread = 0;
  for (const Setting &setting : settings)
    spread += std::abs(std::log(ratio(setting))) / double(settings.size());
  return std::max(0.01, std::exp(spread) - 1);
}

TuneVerdict judge(const TuneTimes &times, double spread) {
  double quiet = 0, pairs = 0;
  bool slower = times.settings.empty();
  for (const TuneTimes::Setting &setting : times.settings) {
    quiet += std::log(ratio(setting)) / double(times.settings.size());
    pairs += std::log(medianOfPairs(setting)) / double(times.settings.size());
    slower |= ratio(setting) > 1 + spread;
  }
  TuneVerdict verdict{.ratio = std::exp(quiet)};
  verdict.wins = !slower && pairs < 0 && verdict.ratio < 1 - spread;
  return verdict;
}

} // namespace lathe
