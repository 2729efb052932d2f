//===- CudaExecutor.h - a plan's steps on a GPU -------------------------------===//
//
// What the engine has on a GPU: the code of its architecture, weights, activations, the KV pool, and a step's graph for
// each bucket of rows (runtime/CudaGraph.h). All memory is allocated when it is loaded.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Artifact.h"
#include "runtime/CudaGraph.h"
#include "runtime/KvStore.h"
#include "runtime/MemoryLayout.h"

#include <memory>
#include <span>
#include <string>
#include <vector>

namespace lathe {

/// Of the architectures ("sm_90a", "compute_80") the one whose code suits a device best: made for it, else the newest
/// that runs there, else PTX, which the driver compiles. Empty where none runs.
std::string chooseArchitecture(std::span<const std::string> architectures, int deviceCapability);

class CudaExecutor {
public:
  /// Opens the GPU and loads the code and the weights of the artifact. ExitCode::mismatch: no driver, no such GPU, or
  /// no code that runs on it.
  static Result<std::unique_ptr<CudaExecutor>> open(std::shared_ptr<const Artifact> artifact, int ordinal);
  ~CudaExecutor();

  const CudaDevice &device() const;
  const std::string &architecture() const;
  /// Bytes of the GPU's memory that nobody has.
  Result<uint64_t> freeBytes() const;

  /// Verifies a plan for steps of at most so many units (runtime/CudaPlan.h).
  Result<void> verify(const Plan &plan, const CudaUnits &most) const;
  /// Allocates what the steps of a plan that was verified need. The plan must outlive this.
  Result<void> prepare(const Plan &plan, const MemoryLayout &layout, const CudaUnits &most, int64_t pageStride);
  /// Small numbers everywhere but in the weights: for measuring.
  Result<void> fill(unsigned char value);
  /// Copies pages of the KV pool before the next step.
  Result<void> copyPages(std::span<const PageCopy> copies);
  /// Starts a step, whose arrays may change as soon as this returns.
  Result<void> run(const LatheStep &step);
  /// The logits of the last step, once it has ended; valid until the next call.
  Result<const float *> logits(int64_t rows);
  /// Returns when all steps have ended.
  Result<void> wait();
  /// Bytes a second of reading device memory, as copies within it show: each byte is read once and written once.
  Result<double> probeBandwidth();

private:
  struct Impl;
  explicit CudaExecutor(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl;
};

} // namespace lathe
