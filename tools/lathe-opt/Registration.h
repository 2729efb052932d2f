//===- Registration.h - what a file of IR may hold -------------------------===//
//
// For the tools that read stage files: lathe-opt, lathe-lsp-server and lathe-reduce know the same dialects and passes.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "mlir/IR/DialectRegistry.h"

namespace lathe {

/// The dialects of every stage.
void registerDialects(mlir::DialectRegistry &registry);
/// The passes and pipelines of lm and kern, canonicalize and cse.
void registerPasses();

} // namespace lathe
