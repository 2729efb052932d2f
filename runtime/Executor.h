//===- Executor.h - what runs a plan's steps --------------------------------===//
//
// An engine has one of three: CpuExecutor (vectorised code on the machine's cores), CheckedExecutor (kernels of the
// CUDA target, thread by thread on the CPU) and CudaExecutor (a GPU). It owns weights, activations, the KV pool and the
// code. It is opened, asked how much memory there is, and prepared for a plan once; then it runs steps.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Abi.h"
#include "runtime/CudaPlan.h"
#include "runtime/KvStore.h"
#include "runtime/MemoryLayout.h"
#include "runtime/Plan.h"
#include "runtime/StepTrace.h"

#include <cstdint>
#include <span>
#include <string>

namespace lathe {

struct EngineOptions;

/// The most that a step may take.
struct StepRoom {
  CudaUnits most;
  int64_t pageStride = 1; ///< pages of one sequence
};

/// What a step runs.
struct StepLoad {
  int64_t launches = 0;
  uint64_t weightBytes = 0; ///< that they read
};
/// That of a plan's launches.
StepLoad loadOf(const Plan &plan);

/// What every byte of activations and pages is where a kernel is measured alone: small numbers, in f32 and in bf16.
constexpr unsigned char kSmallNumbers = 0x3c;

/// What the host gets of a step, by logit rows: the tokens of those that are drawn (isDrawn), the logits of the others.
struct StepResults {
  const float *logits = nullptr;
  const int32_t *tokens = nullptr;
};

class Executor {
public:
  virtual ~Executor() = default;

  /// The artifact's name of the code that runs: "avx512vnni", "cuda:sm_90a".
  virtual const std::string &tier() const = 0;
  /// Workers, or multiprocessors, among which attention items are shared out.
  virtual int64_t takers() const = 0;
  /// Bytes that a KV pool may take beside what the layout has already.
  virtual Result<uint64_t> spareBytes(const MemoryLayout &layout) const = 0;

  /// Allocates all that steps need and resolves the plan to addresses. With `options.kernel` a step is that kernel's
  /// launches alone. Plan and layout must outlive this.
  virtual Result<StepLoad> prepare(Plan &plan, const MemoryLayout &layout, const StepRoom &room,
                                   const EngineOptions &options) = 0;
  /// Copies pages of the KV pool before the next step.
  virtual Result<void> copyPages(std::span<const PageCopy> copies) = 0;
  /// Starts a step of at least one row, whose arrays may change as soon as this returns.
  virtual Result<void> run(LatheStep &step) = 0;
  /// Whether steps draw tokens where logits are (LatheStep::draws), and take those that the step before drew.
  virtual bool draws() const { return false; }
  /// Has the results of the step that was just started brought to the host. Those of two steps may be on their way,
  /// logits of one.
  virtual Result<void> fetch(const LatheStep &step) = 0;
  /// The oldest results that were fetched and not collected, once that step has ended; valid until the next call.
  virtual Result<StepResults> collect() = 0;
  /// Returns when all steps have ended.
  virtual Result<void> wait() { return {}; }
  /// Bytes a second that its memory is read with, as measured now.
  virtual Result<double> readBandwidth() = 0;
  /// See Engine::setTrace.
  virtual void setTrace(StepTrace *) {}
};

} // namespace lathe
