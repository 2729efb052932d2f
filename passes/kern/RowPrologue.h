//===- RowPrologue.h - what happens to a row before the product -----------===//
#pragma once

#include "passes/kern/KernelBuilder.h"

namespace lathe::kern {

/// 1 / sqrt(mean + eps), every lane the same.
mlir::Value inverseRoot(Emitter &e, mlir::Value meanOfSquares, double eps);

/// The chain of select_rows, norm, gated, addf and quantize before a linear, once per row into scratch. On a GPU all
/// threads of a block work on one row after another, and a row ends in zeros up to a whole block of k.
class RowPrologue {
public:
  explicit RowPrologue(KernelContext &context) : k(context), e(context.e) {}
  virtual ~RowPrologue() = default;

  /// Looks at the chain that ends in the linear's input and allocates what it needs.
  mlir::LogicalResult prepare(lm::LinearOp linear);
  /// False when the product reads the activations where they are.
  bool computes() const { return computed; }
  /// The input arrays of kern.dot.
  const llvm::SmallVector<mlir::Value> &arrays() const { return scratch; }
  /// Emits the chain for one unit into the scratch row `slot`.
  mlir::LogicalResult row(mlir::Value unit, mlir::Value slot);
  /// Products in AMX tiles read whole tiles of rows: those from `slot` on get scales of zero.
  void pad(mlir::Value slot);

protected:
  struct Statistics {
    mlir::Value mean, inverse;
  };
  /// A vector of a row from `column` on, and how many of its lanes are the row's; the rest is 0.
  using Term = llvm::function_ref<mlir::FailureOr<mlir::Value>(mlir::Value, int64_t)>;

  /// The norms before the product, first to last; whether rows are selected.
  llvm::SmallVector<lm::NormOp> norms(bool &selects);
  mlir::FailureOr<mlir::Value> chunk(mlir::Value value, mlir::Value column, int64_t valid);
  mlir::LogicalResult measure(lm::NormOp norm);
  /// The sum of a row's terms.
  virtual mlir::FailureOr<mlir::Value> sumRow(int64_t width, Term term);
  /// The group of input codes from column `first` on; `columns` of them are the row's.
  mlir::LogicalResult quantizeGroup(lm::QuantizeOp quantize, mlir::Value slot, mlir::Value number, int64_t columns);
  /// The sums over the row that a weight's minima are multiplied by.
  void sumGroups(int64_t width, int64_t inputGroup, mlir::Value slot);
  mlir::LogicalResult quantizeRow(lm::QuantizeOp quantize, mlir::Value slot);
  /// GPU: `count` columns of scratch from `column` on, of which `valid` are the row's and the rest zeros.
  mlir::LogicalResult fill(mlir::Value column, int64_t valid, int64_t count, mlir::Value slot);
  /// Calls `body(column, valid lanes)` for all vectors of the row and sums what it returns.
  mlir::FailureOr<mlir::Value> sumChunks(int64_t width, Term body);

  KernelContext &k;
  Emitter &e;
  mlir::Value input;
  CodingAttr coding; ///< of the linear's weight, which decides what is summed up
  bool computed = false;
  bool rounded = false; ///< to bf16, which the tier multiplies bf16 weights by
  int64_t zeros = 0;    ///< GPU: columns of a row with its zeros
  int64_t padding = 0;  ///< rows of scratch behind those of a call
  llvm::SmallVector<mlir::Value> scratch;
  mlir::Value sourceRow; ///< the row that activations are read from
  llvm::DenseMap<mlir::Operation *, Statistics> statistics;
};

} // namespace lathe::kern
