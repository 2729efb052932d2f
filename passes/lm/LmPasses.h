//===- LmPasses.h - from the model (stage 00) to its kernels (stage 10) ----===//
#pragma once

#include "dialects/lm/LmDialect.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassOptions.h"

namespace lathe::lm {

#define GEN_PASS_DECL
#include "passes/lm/LmPasses.h.inc"
#define GEN_PASS_REGISTRATION
#include "passes/lm/LmPasses.h.inc"

struct FuseOptions : mlir::PassPipelineOptions<FuseOptions> {
  Option<std::string> quant{*this, "quant", llvm::cl::desc("f32, or the scheme of lm-quantize"), llvm::cl::init("f32")};
  Option<int64_t> group{*this, "group", llvm::cl::desc("elements of a weight that share a scale"), llvm::cl::init(64)};
  Option<bool> floatInputs{*this, "float-inputs", llvm::cl::desc("inputs of quantised weights stay f32"),
                           llvm::cl::init(false)};
  Option<bool> remarks{*this, "remarks", llvm::cl::desc("say why something was not fused"), llvm::cl::init(false)};
};

/// Stage 00 to stage 10: the step becomes a list of calls of private functions marked `lm.kernel`, each of one
/// `lm.fused` region; only weights and stacks of weights stay beside them.
void addFusePipeline(mlir::OpPassManager &passes, const FuseOptions &options);

/// The passes and `lm-fuse-pipeline`, for command lines.
void registerLmPassesAndPipelines();

} // namespace lathe::lm
