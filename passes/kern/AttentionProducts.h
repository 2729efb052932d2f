//===- AttentionProducts.h - the two products of attention ----------------===//
//
// AttentionKernel.cpp decides what is computed when: items, chunks, masks, the softmax and its state. The products of a
// register tile of queries with a chunk's keys and of its weights with the values depend on the element of the pages.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "passes/kern/KernelBuilder.h"

#include <memory>

namespace lathe::kern {

/// What the kernel and its products share.
struct AttentionScope {
  KernelContext &k;
  Emitter &e;
  lm::AttentionOp op;
  lm::KvType kv;
  int64_t dim, paddedDim, page, chunkPages;
  int64_t group;                       ///< query heads of a KV head
  int64_t tileRows = 1, smallRows = 1; ///< queries of a register tile, and of the tiles behind the last whole one
  int64_t accumulators = 1;            ///< vectors that a register tile may keep
  mlir::Value zero, keys, values;
  mlir::Value queries; ///< scratch [query][paddedDim], scaled; columns behind the head's are 0
  mlir::Value scores;  ///< scratch [query of the tile][position of the chunk, from the first page seen on]
  mlir::Value sequence, kvHead, lastPosition; ///< of the block

  explicit AttentionScope(KernelContext &k)
      : k(k), e(k.e), op(llvm::cast<lm::AttentionOp>(k.signature.anchor)), kv(op.getKv().getType()), dim(kv.getDim()),
        paddedDim(paddedHead(dim, e.device)), page(kv.getPage()), chunkPages(chunkTokens / page),
        group(widthOf(op.getQuery()) / (kv.getHeads() * dim)), zero(e.index(0)) {}

  mlir::Value physicalPage(mlir::Value logical) {
    return GatherPagesOp::create(e.b, e.b.getIndexType(), sequence, logical);
  }
  mlir::Value divide(mlir::Value x, int64_t by) { return mlir::arith::DivUIOp::create(e.b, x, e.index(by)); }
  mlir::Value remainder(mlir::Value x, int64_t by) { return mlir::arith::RemUIOp::create(e.b, x, e.index(by)); }
  /// A page one chunk on, or the last.
  mlir::Value nextChunk(mlir::Value logical) {
    return physicalPage(e.minIndex(e.add(logical, e.index(chunkPages)), divide(lastPosition, page)));
  }
  /// Tiles of few queries wait for memory: they ask for what comes next.
  bool decodes(int64_t rows) const { return rows == smallRows; }
};

/// Both products work on the queries [first, first + rows) and the pages [firstPage, firstPage + pages) of one chunk.
class AttentionProducts {
public:
  virtual ~AttentionProducts() = default;
  /// Scratch for that many queries, once a kernel.
  virtual void allocate(int64_t queries) = 0;
  /// The query stands in `queries`.
  virtual void prepare(mlir::Value query) = 0;
  /// Query by keys, into `scores`. Slots behind the last position may hold anything, so may their scores.
  virtual void scorePages(int64_t rows, mlir::Value first, mlir::Value firstPage, mlir::Value pages) = 0;
  /// Weights, which stand in `scores` (0 for what a query does not see), by values: [rows][paddedDim / 16].
  virtual llvm::SmallVector<mlir::Value> weighValues(int64_t rows, mlir::Value firstPage, mlir::Value pages) = 0;
};

/// [rows][paddedDim / 16] of a product that makes `columns` vectors from column j0 on at a time, [rows][columns]: as
/// many as the accumulators allow, each vector of a row taking `registers` of them.
llvm::SmallVector<mlir::Value>
byColumns(const AttentionScope &scope, int64_t rows, int64_t registers,
          llvm::function_ref<llvm::SmallVector<mlir::Value>(int64_t j0, int64_t columns)> product);

std::unique_ptr<AttentionProducts> floatProducts(AttentionScope &scope);
std::unique_ptr<AttentionProducts> byteProducts(AttentionScope &scope);

} // namespace lathe::kern
