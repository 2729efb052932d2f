//===- ByteCodes.h - numbers as int8 codes and one scale ------------------===//
#pragma once

#include "passes/kern/Emitter.h"

namespace lathe::kern {

/// What makes numbers of at most `absmax` codes of at most `most`: scale = absmax / most, and its inverse. Where most /
/// absmax might overflow both are 0.
struct ByteScale {
  mlir::Value scale, inverse; ///< f32

  ByteScale(Emitter &e, mlir::Value absmax, float most);

  /// round(x * inverse), half to even, of 16 floats: still floats.
  mlir::Value code(Emitter &e, mlir::Value x) const;
};

/// x ≈ code * scale for all lanes of some vectors of 16 floats: scale = absmax / most, code = round(x * most / absmax),
/// half to even. Vectors so small that most / absmax might overflow are all 0, scale and codes.
struct ByteCodes {
  llvm::SmallVector<mlir::Value> codes; ///< vector<16xi32>, of absolute values up to `most`
  mlir::Value scale;                    ///< f32

  ByteCodes(Emitter &e, llvm::ArrayRef<mlir::Value> vectors, float most);

  /// The codes of one vector, as vector<16xi8>.
  mlir::Value bytes(Emitter &e, int64_t vector) const;
  /// The sum of all codes, i32.
  mlir::Value sum(Emitter &e) const;
};

/// 64 bytes of a memref of bytes from an element on.
mlir::Value loadQuads(Emitter &e, mlir::Value memref, mlir::ValueRange indices);
/// An i32 as 16 times the same four bytes.
mlir::Value spreadQuad(Emitter &e, mlir::Value quad);

} // namespace lathe::kern
