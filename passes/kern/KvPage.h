//===- KvPage.h - the place of one row's keys and values ------------------===//
#pragma once

#include "passes/kern/KernelBuilder.h"

namespace lathe::kern {

/// Where one row's keys and values go: its page and its place in it. The layout is that of kern.kv.
class KvPage {
public:
  KvPage(KernelContext &context, lm::KvAppendOp op, mlir::Value row);
  /// All `width` columns of a head, 16 a vector; lanes of the last one behind them may hold anything.
  void append(llvm::ArrayRef<mlir::Value> vectors, bool isKey, mlir::Value head, int64_t width);
  /// A GPU: a head's columns, of which `load` gives 16. Pages also hold the lanes behind the head: zeros, which
  /// products take in.
  void appendOnDevice(llvm::function_ref<mlir::Value(const Emitter::Column &)> load, bool isKey, mlir::Value head,
                      int64_t width);

private:
  void appendFloats(llvm::ArrayRef<mlir::Value> vectors, bool isKey, mlir::Value head, int64_t width);
  void appendCodes(llvm::function_ref<mlir::Value(const Emitter::Column &)> load, bool isKey, mlir::Value head,
                   int64_t width);
  void appendBytes(llvm::ArrayRef<mlir::Value> vectors, bool isKey, mlir::Value head, int64_t width);

  Emitter &e;
  mlir::Value keys, values, position, page, place;
};

} // namespace lathe::kern
