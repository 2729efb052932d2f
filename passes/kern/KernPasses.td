//===- KernPasses.td - from fused lm to kernels to LLVM --------------------===//
#ifndef LATHE_KERN_PASSES
#define LATHE_KERN_PASSES

include "mlir/Pass/PassBase.td"

def KernSelectSchedule : Pass<"kern-select-schedule", "mlir::ModuleOp"> {
  let summary = "gives every outlined lm function its schedule for each target tier";
  let description = [{
    A pure function of the body, its shapes, the tier and the table of schedules (configs/targets/cpu.toml, built in): rows and columns so that the register
    tile fits the tier's registers, unit_block so that a block's scratch stays in L2. Written as the list `kern.schedules` on the function, each with the
    entry of the table it comes from; later passes obey it.
  }];
  let dependentDialects = ["::lathe::kern::KernDialect"];
  let options = [ListOption<"tiers", "tiers", "std::string", "ISA tiers, best first">,
                 Option<"table", "table", "std::string", "", "a table of schedules (TOML) whose entries go before the built-in ones">];
}

def ConvertLmToKern : Pass<"convert-lm-to-kern", "mlir::ModuleOp"> {
  let summary = "outlined lm functions become kernels, one module a tier; the step becomes the host program of launches";
  let dependentDialects = ["::lathe::kern::KernDialect", "mlir::arith::ArithDialect", "mlir::math::MathDialect", "mlir::scf::SCFDialect",
                           "mlir::vector::VectorDialect", "mlir::memref::MemRefDialect", "mlir::func::FuncDialect"];
  let options = [Option<"context", "context", "int64_t", "4096", "positions that rope tables cover">];
}

def KernPlanMemory : Pass<"kern-plan-memory", "mlir::ModuleOp"> {
  let summary = "gives each kern.buffer a slot; buffers whose lives do not overlap share one";
  let dependentDialects = ["::lathe::kern::KernDialect"];
  let statistics = [Statistic<"buffers", "buffers", "buffers planned">, Statistic<"slots", "slots", "slots they share">];
}

def KernOverlapLaunches : Pass<"kern-overlap-launches", "mlir::ModuleOp"> {
  let summary = "kernels of a GPU ask for their weights, then wait for the launches before, and let the next one start";
  let description = [{
    Puts kern.prefetch of what a block multiplies by, kern.dependency_wait and kern.dependency_trigger at the start of each kernel of @cuda. The next launch may start once all blocks of this one run:
    by then they hold their places on the multiprocessors, and what is left of them is the next one's time to bring its weights.
  }];
  let dependentDialects = ["::lathe::kern::KernDialect"];
}

def ConvertKernToVector : Pass<"convert-kern-to-vector", "mlir::ModuleOp"> {
  let summary = "kern ops of one tier's module become vector, math, scf and LLVM pointer operations";
  let description = [{
    Dots become loops over k with accumulators in registers and the tier's byte dot product, reductions become fixed trees, buffers bare
    pointers with static strides, exp a polynomial.
  }];
  let dependentDialects = ["mlir::arith::ArithDialect", "mlir::math::MathDialect", "mlir::scf::SCFDialect", "mlir::vector::VectorDialect",
                           "mlir::LLVM::LLVMDialect", "mlir::func::FuncDialect", "mlir::memref::MemRefDialect"];
}

#endif // LATHE_KERN_PASSES
