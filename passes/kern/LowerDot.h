//===- LowerDot.h - register tiles of a matrix product --------------------===//
#pragma once

#include "passes/kern/Memory.h"

namespace lathe::kern {

/// How a tier multiplies bytes: Σ of 4 products of an unsigned weight byte and a signed activation byte, added to i32.
enum class ByteDot {
  vnni512, ///< one vpdpbusd on 64 bytes
  sign256, ///< AVX2: |w| and a with w's sign through maddubs; exact, since |w| <= 128 and |a| <= 127
};

/// Replaces a kern.dot by loops over k, one variant for each number of rows. `gfni`: the bits of codes may be moved by
/// vgf2p8affineqb. `base` gives the pointer behind a memref.
void lowerDot(DotOp dot, ByteDot byteDot, bool gfni, int64_t columns,
              llvm::function_ref<mlir::Value(mlir::Value)> base);

/// Replaces a kern.byte_dot by the tier's instructions.
void lowerByteDot(ByteDotOp dot, ByteDot byteDot);

} // namespace lathe::kern
