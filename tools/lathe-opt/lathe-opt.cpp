//===- lathe-opt.cpp - runs passes over IR files, for tests and for people --===//
#include "tools/lathe-opt/Registration.h"

#include "mlir/Tools/mlir-opt/MlirOptMain.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  lathe::registerDialects(registry);
  lathe::registerPasses();
  return mlir::asMainReturnCode(mlir::MlirOptMain(argc, argv, "lathe-opt\n", registry));
}
