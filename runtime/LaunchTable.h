//===- LaunchTable.h - one step as a program for all workers --------------===//
//
// A plan whose buffers, kernels and memory have been resolved to addresses. Each worker walks the table and takes its
// share of every launch; kernels allow any partition of units x tiles, so how the work is cut is this file's
// decision alone:
//
//   rows, logitRows  While there are at least two full blocks of units a worker: whole blocks with all tiles, taken one
//   by one, so
//                    that a row's prologue is computed once. What is left is laid out block by block, tile by tile, and
//                    cut into one contiguous range a worker (a decode step is nothing but this: the tiles of one block,
//                    evenly).
//   blocks           Attention items differ in length: (block, tile) pairs, taken one by one, the last first, since
//   later
//                    blocks of a prompt see more positions.
//
// A launch without a barrier starts on a worker as soon as that worker is done with the one before: the compiler
// may leave a barrier out only where two launches are independent under any partition.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Abi.h"
#include "runtime/CpuPool.h"
#include "runtime/Plan.h"

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
};

/// How one launch is cut for a number of units and workers; see above.
struct LaunchCut {
  int64_t fullBlocks = 0; ///< of unitBlock units with all tiles, or (Unit::blocks) items of one block and one tile
  int64_t restBegin = 0;  ///< first unit behind the full blocks
  int64_t restUnits = 0;
  int64_t restBlocks = 0; ///< the rest in blocks of equal size (the first ones may have one unit more)

  static LaunchCut make(const ResolvedLaunch &launch, int64_t units, int64_t workers);
};

class LaunchTable {
public:
  /// `scratchBytes` is the most that any kernel wants of one worker.
  static Result<std::unique_ptr<LaunchTable>> create(std::vector<ResolvedLaunch> launches, int64_t workers,
                                                     int64_t scratchBytes);
  ~LaunchTable();
  LaunchTable(const LaunchTable &) = delete;
  LaunchTable &operator=(const LaunchTable &) = delete;

  /// Runs all launches over a step. `pool` has the number of workers given to `create`.
  void run(CpuPool &pool, const LatheStep &step);

private:
  struct Cursor;
  struct Impl;
  explicit LaunchTable(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl;
};

} // namespace lathe
