//===- CheckedExecutor.h - a plan's steps on the CPU, as a GPU would take them -===//
#pragma once

#include "runtime/HostLaunches.h"
#include "runtime/HostSideExecutor.h"

namespace lathe {

/// The device "cuda-host".
class CheckedExecutor final : public HostSideExecutor {
public:
  /// With the code `tier` of the artifact, "cuda-host:sm_80".
  static Result<std::unique_ptr<Executor>> open(std::shared_ptr<const Artifact> artifact, CpuPool &workers,
                                                const std::string &tier, const EngineOptions &options);

  int64_t takers() const override;
  Result<StepLoad> prepare(Plan &plan, const MemoryLayout &layout, const StepRoom &room,
                           const EngineOptions &options) override;
  Result<void> run(LatheStep &step) override { return launches->run(step); }

private:
  using HostSideExecutor::HostSideExecutor;
  std::unique_ptr<HostLaunches> launches;
};

} // namespace lathe
