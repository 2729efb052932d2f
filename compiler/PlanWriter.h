//===- PlanWriter.h - the host program as a launch table ------------------===//
#pragma once

#include "compiler/CpuCodegen.h"
#include "dialects/kern/KernDialect.h"
#include "runtime/Plan.h"

namespace lathe {

/// The packed weights that a stage-20 module's launches read, each once, in order of first use.
std::vector<kern::WeightOp> packedWeights(mlir::ModuleOp module);

/// The plan of a stage-20 module. `code` gives each tier's scratch; `vocab` and `context` are the model's.
Result<Plan> writePlan(mlir::ModuleOp module, const std::map<std::string, NativeCode> &code, int64_t vocab,
                       int64_t context);

} // namespace lathe
