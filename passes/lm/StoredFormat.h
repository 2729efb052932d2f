//===- StoredFormat.h - what a model's file stores, as types --------------===//
#pragma once

#include "dialects/lm/LmDialect.h"

namespace lathe::lm {

/// Bits and encoding of a tensor whose element in its file is called so ("Q4_1"); a null encoding when it is not known.
/// Formats: ggml's ggml-quants.h.
std::pair<int64_t, QuantAttr> storedFormat(mlir::MLIRContext *context, llvm::StringRef element);

/// The float type of a tensor whose element in its file is called so ("BF16", "F16"); null for any other.
mlir::FloatType storedFloat(mlir::MLIRContext *context, llvm::StringRef element);

/// An encoding that holds kept weights of several encodings exactly: signed 8-bit codes with f32 scales (and minima) in
/// the smallest of the groups. Null when one is not kept.
QuantAttr commonFormat(llvm::ArrayRef<mlir::RankedTensorType> types);

} // namespace lathe::lm
