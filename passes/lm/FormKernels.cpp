//===- FormKernels.cpp - lm-form-kernels -----------------------------------===//
//
// What is left gets regions of its own: an anchor one by itself; an op without anchor joins the last region without
// anchor when it reads a value of it, or reads what the region reads. Weights and stacks of weights are no work.
//
//   %x = lm.embed %table at %batch                    %x = lm.fused "embed" { … }
//   %n = lm.norm rms %x, %g                           %y = lm.fused "norm_add" { %n = … ; %y = … }
//   %y = arith.addf %n, %x
//
//===----------------------------------------------------------------------===//
#include "passes/lm/FusionUtils.h"
#include "passes/lm/LmPasses.h"

#define DEBUG_TYPE "lm-form-kernels"

namespace lathe::lm {
#define GEN_PASS_DEF_LMFORMKERNELS
#include "passes/lm/LmPasses.h.inc"
} // namespace lathe::lm

using namespace mlir;
using namespace lathe::lm;

namespace {
struct FormKernels : lathe::lm::impl::LmFormKernelsBase<FormKernels> {
  using LmFormKernelsBase::LmFormKernelsBase;

  void runOnOperation() override {
    report = {.remarks = remarks};
    Block *step = stepOf(getOperation());
    if (!step)
      return;
    Operation *leftovers = nullptr; // an op in the last region without anchor
    for (Operation *op : leftoversOf(*step)) {
      if (roleOf(op)->anchor) {
        regionAround(op, report);
      } else if (leftovers && joins(op, regionOf(leftovers))) {
        absorbConsumer(regionOf(leftovers), op);
        ++report.absorbed;
      } else {
        regionAround(op, report);
        leftovers = op;
      }
    }
    report.summarize(getOperation(), getArgument());
  }

  SmallVector<Operation *> leftoversOf(Block &block) {
    SmallVector<Operation *> found;
    for (Operation &op : block.without_terminator()) {
      if (isa<FusedOp, WeightOp, StackOp>(op) || op.hasTrait<OpTrait::ConstantLike>())
        continue;
      if (roleOf(&op))
        found.push_back(&op);
      else
        report.refuse(&op, "no kernel formed: " + op.getName().getStringRef() + " cannot be fused");
    }
    return found;
  }

  /// Rows that were selected are fewer: they begin a region.
  bool joins(Operation *op, FusedOp region) {
    if (isa<SelectRowsOp>(op))
      return false;
    SetVector<Value> captured = inputsOf(region);
    bool selects = llvm::any_of(region.getBody().front(), llvm::IsaPred<SelectRowsOp>);
    bool reads = llvm::any_of(op->getOperands(), [&](Value operand) {
      if (operand.getDefiningOp() == region)
        return true;
      // Results of one op belong together, as query and key do.
      return !selects && operand.getDefiningOp() && !isa<WeightOp, StackOp>(operand.getDefiningOp()) &&
             llvm::any_of(captured, [&](Value value) { return value.getDefiningOp() == operand.getDefiningOp(); });
    });
    if (!reads)
      return false;
    if (Refusal reason = refuseConsumer(region, op)) {
      report.refuse(op, "not grouped: " + *reason);
      return false;
    }
    return true;
  }

  FusionReport report;
};
} // namespace
