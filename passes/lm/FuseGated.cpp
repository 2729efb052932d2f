//===- FuseGated.cpp - lm-fuse-gated ---------------------------------------===//
//
//   %gu = lm.linear %n, %w                            %h = lm.fused "gate_up_gated" {
//   %g, %u = lm.split %gu interleave 16                 %gu = lm.linear %n, %w
//   %h = lm.gated silu %g, %u                           %g, %u = lm.split %gu interleave 16
//                                                       %h = lm.gated silu %g, %u
//                                                       lm.yield %h
//                                                     }
//
//===----------------------------------------------------------------------===//
#include "passes/lm/FusionUtils.h"
#include "passes/lm/LmPasses.h"

#define DEBUG_TYPE "lm-fuse-gated"

namespace lathe::lm {
#define GEN_PASS_DEF_LMFUSEGATED
#include "passes/lm/LmPasses.h.inc"
} // namespace lathe::lm

using namespace mlir;
using namespace lathe::lm;

namespace {
struct FuseGated : lathe::lm::impl::LmFuseGatedBase<FuseGated> {
  using LmFuseGatedBase::LmFuseGatedBase;

  void runOnOperation() override {
    report = {.remarks = remarks};
    for (GatedOp gated : opsIn<GatedOp>(getOperation())) {
      if (regionOf(gated))
        continue;
      auto split = gated.getGate().getDefiningOp<SplitOp>();
      auto linear = split ? split.getInput().getDefiningOp<LinearOp>() : LinearOp();
      if (Refusal reason = refuseGated(gated, split, linear)) {
        report.refuse(gated, "not fused: " + *reason);
        continue;
      }
      FusedOp region = regionAround(linear, report);
      region = absorbConsumer(region, split);
      absorbConsumer(region, gated);
      report.absorbed += 2;
    }
    report.summarize(getOperation(), getArgument());
  }

  static Refusal refuseGated(GatedOp gated, SplitOp split, LinearOp linear) {
    if (!linear || gated.getUp().getDefiningOp() != split.getOperation())
      return "gate and up do not come from one linear";
    if (!split.getInterleave())
      return "gate and up are not interleaved, a tile of columns does not hold both";
    if (!linear->hasOneUse() || llvm::any_of(split->getUsers(), [&](Operation *user) { return user != gated; }))
      return "gate or up is used elsewhere";
    return std::nullopt;
  }

  FusionReport report;
};
} // namespace
