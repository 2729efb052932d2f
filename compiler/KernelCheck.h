//===- KernelCheck.h - edited kernels against those that were printed -----===//
#pragma once

#include "compiler/CudaPrinter.h"
#include "runtime/Plan.h"

#include "mlir/IR/BuiltinOps.h"

namespace lathe {

/// Runs both texts of each kernel on the CPU, on the same seeded inputs: batches of several lengths, pages in any
/// order. `printed` and `edited` are the same kernels in the same order; of those whose texts are equal nothing is run.
/// Where a result is not what the printed kernel gives (it may round otherwise), or the executor finds a defect,
/// ExitCode::checkFailed names the kernel and the first element that differs.
Result<void> checkEditedKernels(mlir::ModuleOp cuda, const Plan &plan, const std::string &architecture,
                                const std::vector<CudaText> &printed, const std::vector<CudaText> &edited);

} // namespace lathe
