//===- FuseResidual.cpp - lm-fuse-residual ---------------------------------===//
//
//   %o = lm.linear %a, %w                             %x1 = lm.fused "o_residual" {
//   %x1 = arith.addf %x, %o                             %o = lm.linear %a, %w
//                                                       %x1 = arith.addf %x, %o
//                                                       lm.yield %x1
//                                                     }
//
//===----------------------------------------------------------------------===//
#include "passes/lm/FusionUtils.h"
#include "passes/lm/LmPasses.h"

#define DEBUG_TYPE "lm-fuse-residual"

namespace lathe::lm {
#define GEN_PASS_DEF_LMFUSERESIDUAL
#include "passes/lm/LmPasses.h.inc"
} // namespace lathe::lm

using namespace mlir;
using namespace lathe::lm;

/// Is it the linear's result, or that with something added to it?
static bool isWholeResult(LinearOp linear, Value value) {
  auto isInside = [&](Value operand) {
    Operation *op = operand.getDefiningOp();
    return op && regionOf(op) && regionOf(op) == regionOf(linear);
  };
  while (auto add = value.getDefiningOp<arith::AddFOp>()) {
    if (isInside(add.getLhs()) == isInside(add.getRhs()))
      return false;
    value = isInside(add.getLhs()) ? add.getLhs() : add.getRhs();
  }
  return value == linear.getResult();
}

namespace {
struct FuseResidual : lathe::lm::impl::LmFuseResidualBase<FuseResidual> {
  using LmFuseResidualBase::LmFuseResidualBase;

  void runOnOperation() override {
    report = {.remarks = remarks};
    for (LinearOp linear : opsIn<LinearOp>(getOperation()))
      while (absorbNext(linear)) {
      }
    report.summarize(getOperation(), getArgument());
  }

  bool absorbNext(LinearOp linear) {
    SmallVector<Operation *> consumers = consumersOf(linear);
    for (Operation *op : consumers) {
      auto add = dyn_cast<arith::AddFOp>(op);
      if (!add || isResidualStream(linear, consumers.size()))
        continue;
      if (Refusal reason = refuseAdd(linear, add, consumers.size())) {
        report.refuse(add, "not fused: " + *reason);
        continue;
      }
      // The region's only reader: the other operand cannot depend on the region.
      absorbConsumer(regionAround(linear, report), add);
      ++report.absorbed;
      return true;
    }
    return false;
  }

  /// After its add the value is x itself, which the next norm reads and the next residual add takes.
  static bool isResidualStream(LinearOp linear, size_t consumers) {
    return consumers > 1 && regionOf(linear) && !regionOf(linear).getOps<arith::AddFOp>().empty();
  }

  static Refusal refuseAdd(LinearOp linear, arith::AddFOp add, size_t consumers) {
    Operation *source = regionOf(linear) ? regionOf(linear).getOperation() : linear.getOperation();
    if (add.getLhs().getDefiningOp() == source && add.getRhs().getDefiningOp() == source)
      return "both operands come from one linear";
    Value own = add.getLhs().getDefiningOp() == source ? add.getLhs() : add.getRhs();
    if (!isWholeResult(linear, insideOf(own)))
      return "the operand is not the linear's whole result";
    if (consumers > 1 || source->getNumResults() > 1)
      return "the linear's result is used elsewhere";
    return std::nullopt;
  }

  FusionReport report;
};
} // namespace
