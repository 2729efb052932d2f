//===- lathe-reduce.cpp - the smallest file of IR that still shows a bug ----===//
//
// mlir-reduce with our dialects and passes: `--reduction-tree` with a script that exits with 1 while a file is
// interesting, and with 0 otherwise. Every candidate is verified, so what remains is a file that lathe-opt reads.
//
//===----------------------------------------------------------------------===//
#include "tools/lathe-opt/Registration.h"

#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Tools/mlir-reduce/MlirReduceMain.h"
#include "llvm/Support/raw_ostream.h"

#include <string>

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  lathe::registerDialects(registry);
  lathe::registerPasses();
  mlir::MLIRContext context(registry);
  // Candidates that do not verify are refused one after another: what the verifier says of them would only frighten. It
  // is the reason where nothing came out: the input itself is wrong, or (a warning) the script does not want it.
  std::string said;
  context.getDiagEngine().registerHandler([&](mlir::Diagnostic &diagnostic) {
    llvm::raw_string_ostream(said) << diagnostic.getLocation() << ": " << diagnostic << "\n";
    return mlir::success();
  });
  bool failed = mlir::failed(mlir::mlirReduceMain(argc, argv, context));
  if (failed)
    llvm::errs() << said;
  return failed;
}
