//===- KernelArguments.h - the buffers of a kernel ------------------------===//
//
// convert-lm-to-kern decides once, for each outlined lm function, which bare buffers its kernel takes;
// the kernel's body (KernelBuilder) and the launches in the host program are both made from this list.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "dialects/kern/KernDialect.h"
#include "dialects/lm/LmDialect.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace lathe::kern {

struct Argument {
  enum class Kind { activation, weight, keys, values, partials, output };
  Kind kind;
  mlir::MemRefType type;
  /// The lm function's argument (activation, weight, keys, values) or result number (output). Rope tables
  /// and partials have none.
  int64_t number = -1;
  // What a weight is made of, as kern.weight says it.
  Part part = Part::values;
  PackAttr pack;
  CodingAttr coding;
  int64_t k = 0;
  lm::RopeAttr rope;
};

/// What one outlined lm function is: its ops by role and its buffers.
struct KernelSignature {
  mlir::func::FuncOp function; ///< the lm function
  lm::FusedOp fused;
  mlir::Operation *anchor = nullptr;
  bool device = false; ///< for a GPU
  Unit unit = Unit::rows;
  int64_t tiles = 1;
  int64_t panelsPerTile = 0;               ///< linears
  llvm::SmallVector<int64_t> segmentTiles; ///< linears: tiles of each result of the split (or the one result)
  PackAttr pack;                           ///< linears
  int64_t tileBytes = 0, unitFlops = 0;
  llvm::SmallVector<Argument> arguments;

  /// The ops of the region.
  mlir::Block &body() const {
    lm::FusedOp op = fused;
    return op.getBody().front();
  }
  mlir::func::ReturnOp returned() const {
    mlir::func::FuncOp op = function;
    return llvm::cast<mlir::func::ReturnOp>(op.getBody().front().getTerminator());
  }
  mlir::Value fusedResult(int64_t i) const {
    lm::FusedOp op = fused;
    return op.getResult(i);
  }

  /// The position of the first argument that satisfies, -1 when none does.
  int64_t find(Argument::Kind kind, int64_t number, Part part = Part::values) const;
};

/// Context is the number of positions that rope tables cover; `device`: for a GPU.
mlir::FailureOr<KernelSignature> signatureOf(mlir::func::FuncOp function, int64_t context, bool device);

/// How a weight of this type is stored in panels; null for floats.
CodingAttr codingOf(mlir::RankedTensorType weight);

/// Whether a GPU has a product with a weight of this type: f32, bf16, or codes of 8 bits in groups of a multiple of 32
/// without minima.
bool isDeviceWeight(mlir::RankedTensorType weight);

/// Bytes of shared memory that the rows of a GPU's block may take: what every architecture has, less the sums' share.
inline constexpr int64_t deviceRowsBudget = 48 << 10;
/// What a linear's input is in shared memory: bf16, for weights of f32 floats.
mlir::Type deviceRowElement(lm::LinearOp linear);
/// Bytes of a row there, with the zeros behind it up to a whole block of k.
int64_t deviceRowBytes(lm::LinearOp linear);
/// Whether a GPU multiplies a linear's input where it is, in global memory: activations as they are whose `rows` rows
/// shared memory has no room for.
bool readsGlobalRows(lm::LinearOp linear, int64_t rows);

/// Columns of a head's keys and values in a page: a GPU's products take 64 bytes of bf16 at a time.
inline int64_t paddedHead(int64_t dim, bool device) { return roundUp(dim, device ? 2 * lanes : lanes); }

/// The argument of the lm function that a value inside its lm.fused is, or null.
mlir::BlockArgument argumentOf(mlir::Value value);

inline int64_t widthOf(mlir::Value value) {
  return llvm::cast<mlir::RankedTensorType>(value.getType()).getShape().back();
}

} // namespace lathe::kern
