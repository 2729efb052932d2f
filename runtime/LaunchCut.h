//===- LaunchCut.h - how a launch is cut among workers ----------------------===//
//
// Kernels allow any partition of units x tiles with the same bits, so this is a matter of speed alone:
//
//   rows, logitRows  While there are at least two full blocks of units a worker: whole blocks with all tiles, so that a
//                    row's prologue is computed once. The rest is laid out block by block, tile by tile, on one line.
//                    Each worker has a range of the line, so that the weights it reads lie one behind the other, in
//                    pieces that get ever smaller: who got less of the memory's bandwidth leaves the last ones to
//                    others (a decode step is nothing but this).
//   items            Attention items differ in length: (item, tile) pairs, the last first, since later blocks of a
//                    prompt see more positions.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Abi.h"
#include "runtime/Plan.h"

#include <cstdint>
#include <vector>

namespace lathe {

/// A launch with everything resolved.
struct ResolvedLaunch {
  KernelFn kernel = nullptr;
  std::vector<void *> buffers;
  Unit unit = Unit::rows;
  int64_t tiles = 1;
  int64_t unitBlock = 1;
  bool barrier = true;
  int64_t streamed = -1; ///< the buffer that is read tile by tile, `tileBytes` each: weights; -1: none
  int64_t tileBytes = 0;
};

/// How one launch is cut for a number of units and workers; see above.
struct LaunchCut {
  static constexpr int64_t kMostPairs = 1 << 20;
  int64_t blocks = 0;                   ///< full blocks, or attention items
  int64_t tilesAtOnce = 1;              ///< Unit::items: 1, or all where there are too many pairs
  int64_t restBegin = 0, restUnits = 0; ///< units behind the full blocks
  int64_t restBlocks = 0;               ///< that these are, of nearly equal size
  int64_t ranges = 0, rangePieces = 0;  ///< of the rest's line, one a worker at most, and the pieces of each

  static LaunchCut make(const ResolvedLaunch &launch, int64_t units, int64_t workers);
  /// Full blocks, or (item, tile) pairs, or items: whatever is taken one by one beside the ranges.
  int64_t wholes(const ResolvedLaunch &launch) const;
  /// Where a piece of a range begins on the line; that of piece `rangePieces` is where the range ends. Some may be
  /// empty.
  int64_t boundary(const ResolvedLaunch &launch, int64_t range, int64_t piece) const;
};

} // namespace lathe
