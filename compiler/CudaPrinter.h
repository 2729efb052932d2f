//===- CudaPrinter.h - kernels of the CUDA target as text -----------------===//
//
// One function an op, and no decision: what a kernel does is in its IR, what stays the same for all models is in the
// device library (runtime/device/). The text is the same for every architecture and for execution on the host.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/support/Error.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

#include <string>

namespace lathe {

/// A kernel as CUDA C++.
struct CudaText {
  std::string name;        ///< of the function, and of the file without its suffix
  std::string text;        ///< the whole file
  int64_t sharedBytes = 0; ///< of the struct that a block shares
};

/// The text of a kernel of the module @cuda. An op that it does not know is an error that names it.
Result<CudaText> printCuda(mlir::func::FuncOp kernel);

} // namespace lathe
