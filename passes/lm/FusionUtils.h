//===- FusionUtils.h - growing lm.fused regions ----------------------------===//
//
// A region grows by one op at a time. Ops keep their identity when they move in, so a pass may hold on to an anchor and
// ask for its region; a FusedOp is replaced each time and must not be kept. Every op of `lm` is pure and a step is one
// block, so an op may move wherever its operands are; results of a region are what is used outside of it, in order.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "dialects/lm/LmDialect.h"

#include "mlir/Pass/Pass.h"

#include <optional>
#include <string>

namespace lathe::lm {

/// Marks the functions that are kernels.
constexpr llvm::StringLiteral kernelAttribute = "lm.kernel";

/// Why an op may not join a region; none when it may.
using Refusal = std::optional<std::string>;

/// The region an op is in, null when it is in none.
inline FusedOp regionOf(mlir::Operation *op) { return op->getParentOfType<FusedOp>(); }

/// The anchor of a region, null when it has none.
mlir::Operation *anchorOf(FusedOp region);

/// The role of an op: FusableOpInterface, and arith on tensors is elementwise. None for an op that cannot be fused.
std::optional<FusionRole> roleOf(mlir::Operation *op);

/// A region of `op` alone.
FusedOp formRegion(mlir::Operation *op);

/// The region of `op`, formed when there is none yet; `formed` is counted then.
FusedOp regionAround(mlir::Operation *op, mlir::Pass::Statistic &formed);

/// May `op` become a prologue of every linear that reads it?
Refusal refuseProducer(mlir::Operation *op);
/// `op` becomes the first prologue: moved when only the region reads it, else cloned. Gives the op in the region.
mlir::Operation *absorbProducer(FusedOp region, mlir::Operation *op);

/// May `op`, which stands behind the region in its block, become its last epilogue?
Refusal refuseConsumer(FusedOp region, mlir::Operation *op);
/// `op` becomes the last epilogue. The region moves down to where all operands of `op` are, together with what reads
/// it.
FusedOp absorbConsumer(FusedOp region, mlir::Operation *op);

/// Readers of the values that leave the op or region, in block order, each once.
llvm::SmallVector<mlir::Operation *> consumersOf(mlir::Operation *op);

/// What a value that leaves a region is inside; the value itself when no region makes it.
mlir::Value insideOf(mlir::Value value);

/// A word for the linear, for names: its NameLoc, else what its weight is called in the model.
std::string wordOf(LinearOp linear);

/// The op's operands, and for a region what it captures.
llvm::SetVector<mlir::Value> inputsOf(mlir::Operation *op);

/// All ops of a type in a step function, in regions or not, in order; none in a kernel that is outlined already.
template <typename OpTy> llvm::SmallVector<OpTy> opsIn(mlir::Operation *function) {
  llvm::SmallVector<OpTy> found;
  if (!function->hasAttr(kernelAttribute))
    function->walk([&](OpTy op) { found.push_back(op); });
  return found;
}

/// Counts a refusal and, if asked to, says why at the op.
inline void refuse(mlir::Operation *op, const llvm::Twine &reason, mlir::Pass::Statistic &refused, bool remarks) {
  ++refused;
  if (remarks)
    op->emitRemark() << reason;
}

} // namespace lathe::lm
