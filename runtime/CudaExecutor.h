//===- CudaExecutor.h - a plan's steps on a GPU -------------------------------===//
//
// What the engine has on a GPU: the code of its architecture, weights, activations, the KV pool, and a step's graph for
// each bucket of rows (runtime/CudaGraph.h). All memory is allocated when it is loaded.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Artifact.h"
#include "runtime/CudaGraph.h"
#include "runtime/Executor.h"

#include <memory>
#include <span>
#include <string>
#include <vector>

namespace lathe {

/// Of the architectures ("sm_90a", "compute_80") the one whose code suits a device best: made for it, else the newest
/// that runs there, else PTX, which the driver compiles. Empty where none runs.
std::string chooseArchitecture(std::span<const std::string> architectures, int deviceCapability);

class CudaExecutor final : public Executor {
public:
  /// Opens GPU `ordinal` and loads the code and the weights of the artifact. ExitCode::mismatch: no driver, no such
  /// GPU, or no code that runs on it.
  static Result<std::unique_ptr<Executor>> open(std::shared_ptr<const Artifact> artifact, int ordinal);
  ~CudaExecutor() override;

  const std::string &tier() const override;
  int64_t takers() const override;
  Result<uint64_t> spareBytes(const MemoryLayout &layout) const override;
  /// Verifies the plan first (runtime/CudaPlan.h). Of `options.kernel` it keeps the launches alone, many times over.
  Result<StepLoad> prepare(Plan &plan, const MemoryLayout &layout, const StepRoom &room,
                           const EngineOptions &options) override;
  Result<void> copyPages(std::span<const PageCopy> copies) override;
  Result<void> run(LatheStep &step) override;
  bool draws() const override;
  Result<void> fetch(const LatheStep &step) override;
  Result<StepResults> collect() override;
  Result<void> wait() override;
  /// As the kernel of runtime/CudaProbe.h finds it.
  Result<double> readBandwidth() override;

private:
  struct Impl;
  explicit CudaExecutor(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl;
};

} // namespace lathe
