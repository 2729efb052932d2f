//===- LmPasses.td - from the model to its kernels ------------------------===//
//
// One sentence of contract a pass; the file of each shows its IR before and after. All but the last look at the ops of
// a step function only, never into kernels that are outlined already.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_LM_PASSES
#define LATHE_LM_PASSES

include "mlir/Pass/PassBase.td"

// Every pass can say what it formed, absorbed and refused, and why: as remarks, since a release build of LLVM has no
// pass statistics.
class Lm_Pass<string flag, string unit = "::mlir::func::FuncOp"> : Pass<flag, unit> {
  let dependentDialects = ["::lathe::lm::LmDialect"];
  Option remarksOption = Option<"remarks", "remarks", "bool", "false", "say what was done, and why not more">;
  let options = [remarksOption];
}

def LmQuantize : Lm_Pass<"lm-quantize"> {
  let summary = "Linears get quantised weights and 8-bit inputs in groups (where the target multiplies by codes), or weights in shorter floats, and the embedding a table stored so.";
  let options = [
    Option<"scheme", "scheme", "std::string", "\"int8\"",
           "int8; int4: 4 bits, tables and the head 8; bf16: inputs stay f32; keep: the blocks, bf16 and f16 that the model's file has, other weights stay f32">,
    Option<"group", "group", "int64_t", "64", "elements of a weight that share a scale, along the row (int8, int4)">,
    Option<"inputGroup", "input-group", "int64_t", "32", "elements of an input that share a scale">,
    Option<"floatInputs", "float-inputs", "bool", "false", "inputs stay f32: the target multiplies codes by floats">,
    remarksOption,
  ];
}

def LmMergeLinears : Lm_Pass<"lm-merge-linears"> {
  let summary = "Linears of one input that meet in one attention or one gated op become one linear of stacked weights; a missing bias among theirs is zeros.";
  let dependentDialects = ["::lathe::lm::LmDialect", "::mlir::arith::ArithDialect"];
}

def LmFuseGated : Lm_Pass<"lm-fuse-gated"> {
  let summary = "A gated op becomes an epilogue of the merged linear that makes its gate and up.";
}

def LmFuseRope : Lm_Pass<"lm-fuse-rope"> {
  let summary = "What happens to each head between the linears and the attention (norm, rope, kv_append) becomes an epilogue of the linear.";
}

def LmFuseAttention : Lm_Pass<"lm-fuse-attention"> {
  let summary = "Each attention gets a region of its own.";
}

def LmFuseNorm : Lm_Pass<"lm-fuse-norm"> {
  let summary = "Norm, quantize and select_rows become prologues of every linear that reads them, cloned where there are several.";
}

def LmFuseResidual : Lm_Pass<"lm-fuse-residual"> {
  let summary = "Adding a linear's whole result to a value from outside becomes an epilogue of the linear.";
}

def LmFormKernels : Lm_Pass<"lm-form-kernels"> {
  let summary = "Every op that does work and is in no region yet gets one, leftovers that belong together a common one.";
}

def LmOutlineKernels : Lm_Pass<"lm-outline-kernels", "::mlir::ModuleOp"> {
  let summary = "Each region becomes a private function, equal bodies one and the same, and the step a list of calls.";
  let description = [{
    Arguments: the batch, activations, KV values, then weights, each in order of use. Two bodies are equal when they differ in locations, the region's name
    and the values captured at most.
  }];
  let dependentDialects = ["::lathe::lm::LmDialect", "::mlir::func::FuncDialect"];
}

#endif // LATHE_LM_PASSES
