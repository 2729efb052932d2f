#include "tools/lathe-opt/Registration.h"

#include "dialects/lm/LmDialect.h"
#include "passes/kern/KernPasses.h"
#include "passes/lm/LmPasses.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Transforms/Passes.h"

namespace lathe {

void registerDialects(mlir::DialectRegistry &registry) {
  registry.insert<lm::LmDialect, kern::KernDialect, mlir::arith::ArithDialect, mlir::func::FuncDialect,
                  mlir::math::MathDialect, mlir::memref::MemRefDialect, mlir::scf::SCFDialect,
                  mlir::vector::VectorDialect, mlir::LLVM::LLVMDialect>();
}

void registerPasses() {
  mlir::registerCanonicalizerPass();
  mlir::registerCSEPass();
  lm::registerLmPassesAndPipelines();
  kern::registerLatheKernPasses();
}

} // namespace lathe
