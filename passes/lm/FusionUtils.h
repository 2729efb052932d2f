//===- FusionUtils.h - growing lm.fused regions ----------------------------===//
//
// A region grows by one op at a time. Ops keep their identity when they move in, so a pass may hold on to an anchor and
// ask for its region; a FusedOp is replaced each time and must not be kept. Every op of `lm` is pure and a step is one
// block, so an op may move wherever its operands are; results of a region are what is used outside of it, in order.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "dialects/lm/LmDialect.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/SetVector.h"

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

/// What a pass did to a function. The reasons of refusals and the sums become remarks when `remarks` is set.
struct FusionReport {
  bool remarks = false;
  int64_t formed = 0, absorbed = 0, refused = 0;

  void say(mlir::Operation *op, const llvm::Twine &text) const {
    if (remarks)
      mlir::emitRemark(op->getLoc()) << text; // without the op itself, which may be a whole step
  }
  void refuse(mlir::Operation *op, const llvm::Twine &reason) {
    ++refused;
    say(op, reason);
  }
  void summarize(mlir::func::FuncOp function, llvm::StringRef pass) const {
    if (!function->hasAttr(kernelAttribute))
      say(function, pass + ": " + llvm::Twine(formed) + " formed, " + llvm::Twine(absorbed) + " absorbed, " +
                        llvm::Twine(refused) + " refused");
  }
};

/// The role of an op: FusableOpInterface, and arith on tensors is elementwise. None for an op that cannot be fused.
std::optional<FusionRole> roleOf(mlir::Operation *op);

/// A region of `op` alone.
FusedOp formRegion(mlir::Operation *op);

/// The region of `op`, formed (and counted) when there is none yet.
FusedOp regionAround(mlir::Operation *op, FusionReport &report);

/// May `op` become a prologue of every linear that reads it?
Refusal refuseProducer(mlir::Operation *op);
/// `op` becomes the first prologue: moved when only the region reads it, else cloned. Gives the op in the region.
mlir::Operation *absorbProducer(FusedOp region, mlir::Operation *op);

/// May `op`, which stands behind the region in its block, become its last epilogue?
Refusal refuseConsumer(FusedOp region, mlir::Operation *op);
/// `op` becomes the last epilogue. The region moves down to where all operands of `op` are, together with what reads
/// it.
FusedOp absorbConsumer(FusedOp region, mlir::Operation *op);

/// Why `reader`, an op of another region, is not in `region`, whose result it reads.
std::string whyApart(FusedOp region, mlir::Operation *reader);

/// Readers of the values that leave the op or region, in block order, each once.
llvm::SmallVector<mlir::Operation *> consumersOf(mlir::Operation *op);

/// What a value that leaves a region is inside; the value itself when no region makes it.
mlir::Value insideOf(mlir::Value value);

/// A word for the linear, for names: its NameLoc, else what its weight is called in the model.
std::string wordOf(LinearOp linear);

/// The op's operands, and for a region what it captures.
llvm::SetVector<mlir::Value> inputsOf(mlir::Operation *op);

/// The block of a step function; null for a kernel that is outlined already, and for functions of no or several blocks.
mlir::Block *stepOf(mlir::func::FuncOp function);

/// The ops of a type in a step and in its regions, in order.
template <typename OpTy> llvm::SmallVector<OpTy> opsIn(mlir::func::FuncOp function) {
  llvm::SmallVector<OpTy> found;
  if (mlir::Block *step = stepOf(function))
    for (mlir::Operation &op : *step) {
      if (auto typed = mlir::dyn_cast<OpTy>(op))
        found.push_back(typed);
      else if (auto region = mlir::dyn_cast<FusedOp>(op))
        llvm::append_range(found, region.getOps<OpTy>());
    }
  return found;
}

} // namespace lathe::lm
