//===- FuseRope.cpp - lm-fuse-rope -----------------------------------------===//
//
// What happens to each head between the linears and the attention: an epilogue sees whole heads.
//
//   %qkv = lm.linear %n, %w                           %q1, %kv1 = lm.fused "qkv_rope_append" {
//   %q, %k, %v = lm.split %qkv                          %qkv = lm.linear %n, %w
//   %q1 = lm.rope %q                                    %q, %k, %v = lm.split %qkv
//   %k1 = lm.rope %k                                    %q1 = lm.rope %q
//   %kv1 = lm.kv_append %k1, %v into %kv                %k1 = lm.rope %k
//                                                       %kv1 = lm.kv_append %k1, %v into %kv
//                                                       lm.yield %q1, %kv1
//                                                     }
//
//===----------------------------------------------------------------------===//
#include "passes/lm/FusionUtils.h"
#include "passes/lm/LmPasses.h"

#define DEBUG_TYPE "lm-fuse-rope"

namespace lathe::lm {
#define GEN_PASS_DEF_LMFUSEROPE
#include "passes/lm/LmPasses.h.inc"
} // namespace lathe::lm

using namespace mlir;
using namespace lathe::lm;

/// Ops between the linears and the attention.
static bool isHeadOp(Operation *op) {
  if (auto split = dyn_cast<SplitOp>(op))
    return !split.getInterleave();
  if (isa<NormOp>(op))
    return llvm::any_of(op->getUsers(), llvm::IsaPred<RopeOp, KvAppendOp, AttentionOp>);
  return isa<RopeOp, KvAppendOp>(op);
}

namespace {
struct FuseRope : lathe::lm::impl::LmFuseRopeBase<FuseRope> {
  using LmFuseRopeBase::LmFuseRopeBase;

  void runOnOperation() override {
    report = {.remarks = remarks};
    for (LinearOp linear : opsIn<LinearOp>(getOperation())) {
      SmallPtrSet<Operation *, 4> left;
      while (Operation *op = nextConsumer(linear, left)) {
        FusedOp region = regionAround(linear, report);
        if (Refusal reason = refuseConsumer(region, op)) {
          left.insert(op);
          report.refuse(op, "not fused: " + *reason);
          continue;
        }
        absorbConsumer(region, op);
        ++report.absorbed;
      }
    }
    report.summarize(getOperation(), getArgument());
  }

  static Operation *nextConsumer(LinearOp linear, const SmallPtrSetImpl<Operation *> &left) {
    for (Operation *op : consumersOf(linear))
      if (isHeadOp(op) && !left.contains(op))
        return op;
    return nullptr;
  }

  FusionReport report;
};
} // namespace
