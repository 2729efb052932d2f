//===- lathe-lsp-server.cpp - stage files in an editor ----------------------===//
//
// A language server (MLIR's, with our dialects) on stdin and stdout: diagnostics while typing, hover, definition,
// references, symbols. An editor starts it for files *.mlir.
//
//===----------------------------------------------------------------------===//
#include "tools/lathe-opt/Registration.h"

#include "mlir/Tools/mlir-lsp-server/MlirLspServerMain.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  lathe::registerDialects(registry);
  return mlir::failed(mlir::MlirLspServerMain(argc, argv, registry));
}
