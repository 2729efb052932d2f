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

/// How the linears compute.
enum class Quantization { f32, int8 };

struct FuseOptions : mlir::PassPipelineOptions<FuseOptions> {
  Option<Quantization> quant{*this, "quant", llvm::cl::desc("how the linears compute"),
                             llvm::cl::init(Quantization::f32),
                             llvm::cl::values(clEnumValN(Quantization::f32, "f32", "in float"),
                                              clEnumValN(Quantization::int8, "int8", "weights and inputs in 8 bits"))};
  Option<int64_t> group{*this, "group", llvm::cl::desc("elements that share a scale (int8)"), llvm::cl::init(64)};
  Option<bool> remarks{*this, "remarks", llvm::cl::desc("say why something was not fused"), llvm::cl::init(false)};
};

/// Stage 00 to stage 10: the step becomes a list of calls of private functions marked `lm.kernel`, each of one
/// `lm.fused` region; only weights and stacks of weights stay beside them.
void addFusePipeline(mlir::OpPassManager &passes, const FuseOptions &options);

/// The passes and `lm-fuse-pipeline`, for command lines.
void registerLmPassesAndPipelines();

} // namespace lathe::lm
