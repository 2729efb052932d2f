//===- Pipeline.cpp - stage 00 to stage 10 ---------------------------------===//
#include "passes/lm/LmPasses.h"

#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;
using namespace lathe::lm;

void lathe::lm::addFusePipeline(OpPassManager &passes, const FuseOptions &options) {
  bool remarks = options.remarks;
  OpPassManager &step = passes.nest<func::FuncOp>();
  if (options.quant != "f32")
    step.addPass(createLmQuantize(
        {.scheme = options.quant, .group = options.group, .floatInputs = options.floatInputs, .remarks = remarks}));
  step.addPass(createLmMergeLinears({.remarks = remarks}));
  step.addPass(createLmFuseGated({.remarks = remarks}));
  step.addPass(createLmFuseRope({.remarks = remarks}));
  step.addPass(createLmFuseAttention({.remarks = remarks}));
  step.addPass(createLmFuseNorm({.remarks = remarks}));
  step.addPass(createLmFuseResidual({.remarks = remarks}));
  step.addPass(createLmFormKernels({.remarks = remarks}));
  passes.addPass(createLmOutlineKernels({.remarks = remarks}));
  passes.addPass(createCanonicalizerPass());
  passes.addPass(createCSEPass());
}

void lathe::lm::registerLmPassesAndPipelines() {
  registerLmPasses();
  PassPipelineRegistration<FuseOptions>("lm-fuse-pipeline", "the model to its kernels (stage 00 to stage 10)",
                                        addFusePipeline);
}
