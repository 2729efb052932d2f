//===- ExpandExp.h - exp as a polynomial -----------------------------------===//
#pragma once

#include "mlir/IR/PatternMatch.h"

namespace lathe::kern {

/// Replaces math.exp of f32 (scalars and vectors) by multiply-adds and integer operations: the same bits on every
/// machine, within 2 units in the last place. exp(0) is 1 exactly; below -87 the result is 0, above 88 that of 88.
void populateExpandExpPattern(mlir::RewritePatternSet &patterns);

} // namespace lathe::kern
