//===- CheckedExecutor.h - a plan's steps on the CPU, as a GPU would take them -===//
#pragma once

#include "runtime/HostLaunches.h"
#include "runtime/HostSideExecutor.h"

#include <deque>

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
  bool draws() const override { return plan->tokensBuffer() >= 0; }
  Result<void> fetch(const LatheStep &step) override;
  Result<StepResults> collect() override;

private:
  using HostSideExecutor::HostSideExecutor;
  std::unique_ptr<HostLaunches> launches;
  const int32_t *tokens = nullptr;          ///< that the last step drew; null: none does
  std::deque<std::vector<int32_t>> fetched; ///< of steps that ran; the first is kept until the next is collected
  bool collected = false;                   ///< the first
};

} // namespace lathe
