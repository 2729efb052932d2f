//===- Memory.h - buffers as bare pointers --------------------------------===//
#pragma once

#include "passes/kern/Emitter.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

namespace lathe::kern {

/// Addresses elements of buffers whose dimensions are static but for the first, and moves vectors and scalars by
/// LLVM loads and stores that assume no more alignment than the element's.
class Memory {
public:
  Memory(mlir::OpBuilder &b, mlir::Location loc) : b(loc, b.getContext()) {
    this->b.setInsertionPoint(b.getInsertionBlock(), b.getInsertionPoint());
  }

  mlir::ImplicitLocOpBuilder b;

  mlir::Value index(int64_t value) { return mlir::arith::ConstantIndexOp::create(b, value); }
  /// The address of an element of a memref whose base is `base`.
  mlir::Value address(mlir::Value base, mlir::MemRefType type, mlir::ValueRange indices);
  mlir::Value offset(mlir::Value base, mlir::Value bytes);
  mlir::Value load(mlir::Type type, mlir::Value address);
  /// The lanes of `mask`; the others are `otherwise`.
  mlir::Value load(mlir::Type type, mlir::Value address, mlir::Value mask, mlir::Value otherwise);
  void store(mlir::Value value, mlir::Value address);
};

} // namespace lathe::kern
