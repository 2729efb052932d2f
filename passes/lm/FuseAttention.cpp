//===- FuseAttention.cpp - lm-fuse-attention -------------------------------===//
//
//   %a = lm.attention %q over %kv at %batch           %a = lm.fused "attention" {
//                                                       %a = lm.attention %q over %kv at %batch
//                                                       lm.yield %a
//                                                     }
//
//===----------------------------------------------------------------------===//
#include "passes/lm/FusionUtils.h"
#include "passes/lm/LmPasses.h"

#define DEBUG_TYPE "lm-fuse-attention"

namespace lathe::lm {
#define GEN_PASS_DEF_LMFUSEATTENTION
#include "passes/lm/LmPasses.h.inc"
} // namespace lathe::lm

using namespace mlir;
using namespace lathe::lm;

namespace {
struct FuseAttention : lathe::lm::impl::LmFuseAttentionBase<FuseAttention> {
  using LmFuseAttentionBase::LmFuseAttentionBase;

  void runOnOperation() override {
    report = {.remarks = remarks};
    for (AttentionOp attention : opsIn<AttentionOp>(getOperation()))
      regionAround(attention, report);
    report.summarize(getOperation(), getArgument());
  }

  FusionReport report;
};
} // namespace
