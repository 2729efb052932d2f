//===- RowEpilogue.h - what happens to a row of a product -----------------===//
#pragma once

#include "passes/kern/KernelBuilder.h"

namespace lathe::kern {

/// The epilogue of one row of one tile. Columns of the tile are static; values that an op over heads has made stand in
/// the tile itself.
class RowEpilogue {
public:
  RowEpilogue(KernelContext &k, mlir::Value tile, mlir::Value row, mlir::Value slot, mlir::Value tileIndex)
      : k(k), e(k.e), tile(tile), row(row), slot(slot), tileIndex(tileIndex) {}

  mlir::LogicalResult run();

private:
  using Column = Emitter::Column;

  /// A vector of the segment's columns of a value.
  mlir::FailureOr<mlir::Value> chunk(mlir::Value value, const Column &column);
  mlir::LogicalResult runSegment(int64_t segment, int64_t firstTile);
  mlir::LogicalResult normHead(lm::NormOp norm);
  /// A GPU's group walks the head twice instead of keeping it in registers.
  mlir::LogicalResult normHeadInTile(lm::NormOp norm);
  mlir::LogicalResult ropeHead(lm::RopeOp rope);
  /// A GPU's group where each lane has both halves of its pairs: one loop, and nobody waits.
  mlir::LogicalResult ropeHalves(lm::RopeOp rope);
  mlir::LogicalResult storeRow(mlir::Value value, mlir::Value destination);
  mlir::LogicalResult append(lm::KvAppendOp op);
  bool belongs(mlir::Value value, int64_t segment) const {
    auto it = segmentOf.find(value);
    return it != segmentOf.end() && it->second == segment;
  }
  int64_t headWidth() const { return k.signature.pack.getDim(); }
  bool heads() const { return k.signature.pack.getOrder() == Order::heads; }
  bool interleaved() const { return k.signature.pack.getOrder() == Order::interleaved; }
  /// Columns of the value that one tile makes.
  int64_t tileColumns() const { return heads() ? headWidth() : interleaved() ? lanes : panelWidth; }
  mlir::Value columnOf(const Column &column);
  mlir::Value tileAt(const Column &column) { return e.load(tile, {slot, e.at(column)}); }

  KernelContext &k;
  Emitter &e;
  mlir::Value tile, row, slot, tileIndex;
  mlir::Value inTile;    ///< the value that stands in the tile now, biases added; null: the product
  mlir::Value localTile; ///< tile's number within the segment
  int64_t current = 0;   ///< segment
  llvm::DenseMap<mlir::Value, int64_t> segmentOf;
};

} // namespace lathe::kern
