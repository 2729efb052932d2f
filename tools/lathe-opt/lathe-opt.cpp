//===- lathe-opt.cpp - runs passes over IR files, for tests and for people --===//
#include "dialects/lm/LmDialect.h"
#include "passes/kern/KernPasses.h"
#include "passes/lm/LmPasses.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "mlir/Transforms/Passes.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  registry.insert<lathe::lm::LmDialect, lathe::kern::KernDialect, mlir::arith::ArithDialect, mlir::func::FuncDialect,
                  mlir::math::MathDialect, mlir::memref::MemRefDialect, mlir::scf::SCFDialect,
                  mlir::vector::VectorDialect, mlir::LLVM::LLVMDialect>();
  mlir::registerCanonicalizerPass();
  mlir::registerCSEPass();
  lathe::lm::registerLmPassesAndPipelines();
  lathe::kern::registerLatheKernPasses();
  return mlir::asMainReturnCode(mlir::MlirOptMain(argc, argv, "lathe-opt\n", registry));
}
