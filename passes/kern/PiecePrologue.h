//===- PiecePrologue.h - what happens to many rows before the product -----===//
#pragma once

#include "passes/kern/RowPrologue.h"

namespace lathe::kern {

/// GPU: the chain before a linear where a block takes many rows, of which shared memory holds a piece of columns at a
/// time, in one of several stages (kern.gemm_piece). A group of 16 threads has a row: what a norm needs to know of all
/// of it is measured first and kept; then the chain is applied to the columns of a piece while it is stored.
class PiecePrologue : public RowPrologue {
public:
  using RowPrologue::RowPrologue;

  /// Allocates the stages and what is kept of rows.
  mlir::LogicalResult prepare(lm::LinearOp linear);
  /// The input of kern.gemm_piece.
  mlir::Value stages() const { return scratch.front(); }
  /// The first norm that rows have to be measured for; null: none.
  mlir::Operation *measures() { return kept.empty() ? nullptr : kept.front().norm.getOperation(); }
  /// Keeps what norms need of row `unit` in slot `slot`. The row's group.
  mlir::LogicalResult measureRow(mlir::Value unit, mlir::Value slot);
  /// Stores the columns of piece number `piece` of that row to a stage; `left` columns of the row begin there. The
  /// row's group.
  mlir::LogicalResult fill(mlir::Value unit, mlir::Value slot, mlir::Value stage, mlir::Value piece, int64_t left);

private:
  struct Kept {
    lm::NormOp norm;
    mlir::Value mean, inverse; ///< [rows][16]; each lane has its own
  };

  mlir::FailureOr<mlir::Value> sumRow(int64_t width, Term term) override;

  llvm::SmallVector<Kept> kept;
  bool selects = false;
  int64_t depth = 0;
};

} // namespace lathe::kern
