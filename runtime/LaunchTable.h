//===- LaunchTable.h - one step as a program for all workers --------------===//
//
// A plan whose buffers, kernels and memory have been resolved to addresses. Each worker walks the table and takes
// pieces of every launch, one by one; kernels allow any partition of units x tiles, so how the work is cut is this
// file's decision alone:
//
//   rows, logitRows  While there are at least two full blocks of units a worker: whole blocks with all tiles, so that a
//                    row's prologue is computed once. What is left is laid out block by block, tile by tile, and cut
//                    into contiguous ranges: a large one for each worker, then smaller ones, so that one that got less
//                    of the memory's bandwidth holds the others up for little (a decode step is nothing but this). A
//                    range of the units that the worker has just had finds their prologue in scratch.
//   items            Attention items differ in length: (item, tile) pairs, the last first, since later blocks of a
//                    prompt see more positions.
//
// A barrier waits for the work of the launches before it, not for workers: one that lost its core to a neighbour holds
// up nobody unless it has a piece in hand, and finds its place in the table when it comes back. Who comes early takes
// its piece of the next launch and has the weights of it brought into L2 meanwhile. A launch without a
// barrier starts as soon as a worker finds nothing left of the one before: the compiler may leave a barrier out only
// where two launches are independent under any partition.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Abi.h"
#include "runtime/CpuPool.h"
#include "runtime/Plan.h"
#include "runtime/StepTrace.h"

#include <atomic>
#include <cstdint>
#include <memory>
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

/// How one launch is cut for a number of units and workers; see above. Pieces are numbered: first those of the rest,
/// then full blocks (Unit::items: then (item, tile) pairs, or items where there are too many pairs).
struct LaunchCut {
  static constexpr int64_t kMostPieces = (1 << 20) - 1;
  int64_t restBegin = 0, restUnits = 0;   ///< units behind the full blocks
  int64_t restBlocks = 0, restPieces = 0; ///< the rest in blocks of nearly equal size, and in contiguous ranges
  int64_t restWorkers = 0;                ///< ranges of one round
  int64_t laterTiles = 0;                 ///< what the first round leaves; each further one takes half of the rest,
  int64_t laterRounds = 0;                ///< then the last tiles are pieces of their own
  int64_t blocks = 0;                     ///< full blocks, or attention items
  int64_t tilesAtOnce = 1;                ///< Unit::items: 1, or all

  static LaunchCut make(const ResolvedLaunch &launch, int64_t units, int64_t workers);
  int64_t pieces(const ResolvedLaunch &launch) const;
  /// Where a range of the rest begins on the line of its blocks' tiles.
  int64_t restBoundary(const ResolvedLaunch &launch, int64_t piece) const;
};

class LaunchTable {
public:
  /// `scratchBytes` is the most that any kernel wants of one worker.
  static Result<std::unique_ptr<LaunchTable>> create(std::vector<ResolvedLaunch> launches, int64_t workers,
                                                     int64_t scratchBytes);
  ~LaunchTable();
  LaunchTable(const LaunchTable &) = delete;
  LaunchTable &operator=(const LaunchTable &) = delete;

  /// Runs all launches over a step, always on the same pool, of the number of workers given to `create` (with fewer,
  /// those that are there do all). A late worker may still look into the table afterwards, so the pool must be
  /// destroyed first, or have run a program on all workers since.
  void run(CpuPool &pool, const LatheStep &step);

  /// Ticks of the steps from now on go there; null stops. Only between steps, with all workers idle (`CpuPool::run` of
  /// anything before), since a late one may still write.
  void setTrace(StepTrace *trace);

private:
  struct Impl;
  explicit LaunchTable(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl;
};

} // namespace lathe
