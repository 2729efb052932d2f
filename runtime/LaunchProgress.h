//===- LaunchProgress.h - which pieces of a launch are taken, and done ------===//
//
// Workers take pieces without locks. Every word carries the step's number beside its count, so that a worker that comes
// too late for a step can neither take a piece of the next one nor count as done what is not.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/LaunchCut.h"

#include <atomic>
#include <cstdint>
#include <vector>

namespace lathe {

/// A piece that is one worker's.
struct Piece {
  static constexpr int64_t kWhole = -1;
  enum class State { taken, nothingLeft, stepOver } state = State::nothingLeft;
  int64_t range = kWhole; ///< kWhole: not of a range
  int64_t number = 0;     ///< of the range's pieces, or of the wholes

  bool taken() const { return state == State::taken; }
};

/// What workers share of the launches of a table.
class LaunchProgress {
public:
  LaunchProgress(size_t launches, int64_t workers) : shared(launches), cursors(launches * workers), workers(workers) {}

  /// Opens a launch for a step; no worker is in it any more but those that were too late for the one before.
  void open(size_t launch, uint64_t step, const LaunchCut &cut, int64_t wholes);
  /// A piece that nobody else gets: of the worker's own range, a whole, or what others have left of theirs. The last
  /// piece of a range is left to its worker once that has come: it reads on where it is, and another would have to wait
  /// for lines that the worker's core has asked for already. Until a piece is counted as done the step cannot end.
  Piece claim(size_t launch, uint64_t step, int64_t worker);
  /// Counts claimed pieces, at least one, as done; true when these were the last.
  bool finish(size_t launch, int64_t pieces);
  enum class Done { no, yes, stepOver };
  Done done(size_t launch, uint64_t step) const;

private:
  /// The number of the step above, a count below; steps do not come round again.
  static constexpr int kCountBits = 24;
  static uint64_t word(uint64_t step, int64_t count) { return step << kCountBits | static_cast<uint64_t>(count); }
  static uint64_t stepOf(uint64_t word) { return word >> kCountBits; }
  static int64_t countOf(uint64_t word) { return static_cast<int64_t>(word & ((1 << kCountBits) - 1)); }
  /// In a cursor's count: the range's worker has taken a piece of it.
  static constexpr int64_t kOwnerCame = 1 << (kCountBits - 1);

  struct Shared {
    // Written between steps only, but for nextWhole.
    alignas(128) std::atomic<uint64_t> ranges{0};
    std::atomic<uint64_t> rangePieces{0}, wholes{0}, all{0}, nextWhole{0};
    alignas(128) std::atomic<uint64_t> done{0};
  };
  struct Cursor {
    alignas(128) std::atomic<uint64_t> next{0};
  };

  Piece claimOfRange(size_t launch, uint64_t step, int64_t range, int64_t pieces, bool own);
  Piece claimWhole(size_t launch, uint64_t step);

  std::vector<Shared> shared;  ///< one a launch
  std::vector<Cursor> cursors; ///< of ranges, [launch, range]; one of a step before counts as 0
  int64_t workers;
};

} // namespace lathe
