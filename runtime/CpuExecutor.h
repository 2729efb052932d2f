//===- CpuExecutor.h - a plan's steps on the machine's cores --------------===//
#pragma once

#include "runtime/HostSideExecutor.h"
#include "runtime/LaunchTable.h"
#include "runtime/MatrixLibrary.h"

namespace lathe {

class CpuExecutor final : public HostSideExecutor {
public:
  /// With the code of `options.tier`, or of the best one that machine and artifact share.
  static Result<std::unique_ptr<Executor>> open(std::shared_ptr<const Artifact> artifact, CpuPool &workers,
                                                const EngineOptions &options);

  int64_t takers() const override { return workers.workers(); }
  Result<StepLoad> prepare(Plan &plan, const MemoryLayout &layout, const StepRoom &room,
                           const EngineOptions &options) override;
  Result<void> run(LatheStep &step) override;
  void setTrace(StepTrace *trace) override;

private:
  using HostSideExecutor::HostSideExecutor;
  struct Resolved {
    std::vector<ResolvedLaunch> launches;
    int64_t scratchBytes = 0; ///< the most that a kernel wants of one worker
  };
  Result<Resolved> resolve();

  const MatrixLibrary *library = nullptr;
  Arena ringCopies;
  std::unique_ptr<LaunchTable> table;
};

} // namespace lathe
