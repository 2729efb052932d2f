//===- FuseNorm.cpp - lm-fuse-norm -----------------------------------------===//
//
// A prologue is computed once per row block and consumer; where several linears read it, each gets a copy.
//
//   %n = lm.norm rms %x, %g                           %y = lm.fused "norm_up" {
//   %c = lm.quantize %n                                 %n = lm.norm rms %x, %g
//   %y = lm.linear %c, %w                               %c = lm.quantize %n
//                                                       %y = lm.linear %c, %w
//                                                       lm.yield %y
//                                                     }
//
//===----------------------------------------------------------------------===//
#include "passes/lm/FusionUtils.h"
#include "passes/lm/LmPasses.h"

#define DEBUG_TYPE "lm-fuse-norm"

namespace lathe::lm {
#define GEN_PASS_DEF_LMFUSENORM
#include "passes/lm/LmPasses.h.inc"
} // namespace lathe::lm

using namespace mlir;
using namespace lathe::lm;

namespace {
struct FuseNorm : lathe::lm::impl::LmFuseNormBase<FuseNorm> {
  using LmFuseNormBase::LmFuseNormBase;

  void runOnOperation() override {
    report = {.remarks = remarks};
    for (LinearOp linear : opsIn<LinearOp>(getOperation())) {
      Operation *reader = linear;
      while (Operation *op = reader->getOperand(0).getDefiningOp()) {
        if (!isa<NormOp, QuantizeOp, SelectRowsOp>(op) || regionOf(op))
          break;
        if (Refusal reason = refuseProducer(op)) {
          report.refuse(op, "not fused: " + *reason);
          break;
        }
        reader = absorbProducer(regionAround(linear, report), op);
        ++report.absorbed;
      }
    }
    report.summarize(getOperation(), getArgument());
  }

  FusionReport report;
};
} // namespace
