//===- LaunchTable.h - one step as a program for all workers --------------===//
//
// A plan whose buffers, kernels and memory have been resolved to addresses. Each worker walks the table and takes
// pieces of every launch, one by one, as LaunchCut.h says.
//
// A barrier waits for the work of the launches before it, not for workers: one that lost its core to a neighbour holds
// up nobody unless it has a piece in hand, and finds its place in the table when it comes back. Who comes early takes
// its piece of the next launch and has the weights of it brought into L2 meanwhile. A launch without a
// barrier starts as soon as a worker finds nothing left of the one before: the compiler may leave a barrier out only
// where two launches are independent under any partition.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/CpuPool.h"
#include "runtime/LaunchCut.h"
#include "runtime/StepTrace.h"

#include <cstdint>
#include <memory>
#include <vector>

namespace lathe {

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
