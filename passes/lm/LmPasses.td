//===- LmPasses.td - from the model to its kernels ------------------------===//
//
// One sentence of contract a pass; the file of each shows its IR before and after. All but the last look at the ops of
// a step function only, never into kernels that are outlined already.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_LM_PASSES
#define LATHE_LM_PASSES

include "mlir/Pass/PassBase.td"

class Lm_Pass<string flag, string unit> : Pass<flag, unit> {
  let dependentDialects = ["::lathe::lm::LmDialect", "::mlir::arith::ArithDialect"];
}

// A pass that gives the reason for everything it leaves as it is.
class Lm_FusionPass<string flag> : Lm_Pass<flag, "::mlir::func::FuncOp"> {
  let options = [Option<"remarks", "remarks", "bool", "false", "say why something was refused">];
  let statistics = [
    Statistic<"formed", "formed", "regions begun">,
    Statistic<"absorbed", "absorbed", "ops taken into a region">,
    Statistic<"refused", "refused", "ops or values left out, each with a remark">,
  ];
}

def LmQuantize : Lm_FusionPass<"lm-quantize"> {
  let summary = "Every linear gets 8-bit weights and 8-bit inputs in groups, and the embedding an 8-bit table.";
  let options = [
    Option<"group", "group", "int64_t", "64", "elements that share a scale, along the row">,
    Option<"remarks", "remarks", "bool", "false", "say why something was refused">,
  ];
  let statistics = [
    Statistic<"weights", "weights", "weights quantised">,
    Statistic<"inputs", "inputs", "activations quantised">,
    Statistic<"refused", "refused", "linears and tables left in float">,
  ];
}

def LmMergeLinears : Lm_FusionPass<"lm-merge-linears"> {
  let summary = "Linears of one input that meet in one attention or one gated op become one linear of stacked weights.";
  let statistics = [
    Statistic<"formed", "formed", "merged linears">,
    Statistic<"absorbed", "absorbed", "linears merged">,
    Statistic<"refused", "refused", "groups of linears left apart">,
  ];
}

def LmFuseGated : Lm_FusionPass<"lm-fuse-gated"> {
  let summary = "A gated op becomes an epilogue of the merged linear that makes its gate and up.";
}

def LmFuseRope : Lm_FusionPass<"lm-fuse-rope"> {
  let summary = "What happens to each head between the linears and the attention (norm, rope, kv_append) becomes an epilogue of the linear.";
}

def LmFuseAttention : Lm_FusionPass<"lm-fuse-attention"> {
  let summary = "Each attention gets a region of its own.";
}

def LmFuseNorm : Lm_FusionPass<"lm-fuse-norm"> {
  let summary = "Norm, quantize and select_rows become prologues of every linear that reads them, cloned where there are several.";
}

def LmFuseResidual : Lm_FusionPass<"lm-fuse-residual"> {
  let summary = "Adding a linear's whole result to a value from outside becomes an epilogue of the linear.";
}

def LmFormKernels : Lm_FusionPass<"lm-form-kernels"> {
  let summary = "Every op that does work and is in no region yet gets one, leftovers that belong together a common one.";
}

def LmOutlineKernels : Lm_Pass<"lm-outline-kernels", "::mlir::ModuleOp"> {
  let summary = "Each region becomes a private function, equal bodies one and the same, and the step a list of calls.";
  let description = [{
    Arguments: the batch, activations, KV values, then weights, each in order of use. Two bodies are equal when they differ in locations, the region's name
    and the values captured at most.
  }];
  let dependentDialects = ["::lathe::lm::LmDialect", "::mlir::func::FuncDialect"];
  let statistics = [
    Statistic<"formed", "formed", "kernels">,
    Statistic<"merged", "merged", "regions that share the kernel of an equal one">,
  ];
}

#endif // LATHE_LM_PASSES
