//===- PlanWriter.h - the host program as a launch table ------------------===//
#pragma once

#include "compiler/CpuCodegen.h"
#include "dialects/kern/KernDialect.h"
#include "runtime/Plan.h"

namespace lathe {

/// The packed weights that a stage-20 module's launches read, each once, in order of first use.
std::vector<kern::WeightOp> packedWeights(mlir::ModuleOp module);

/// What was made of a module's kernels.
struct PlanCode {
  std::map<std::string, NativeCode> tiers; ///< of CPUs
  std::vector<std::string> architectures;  ///< of CUDA
  std::map<std::string, int64_t> shared;   ///< CUDA: shared memory of a block, by kernel
};

/// The plan of a stage-20 module; `vocab` and `context` are the model's.
Result<Plan> writePlan(mlir::ModuleOp module, const PlanCode &code, int64_t vocab, int64_t context);

} // namespace lathe
