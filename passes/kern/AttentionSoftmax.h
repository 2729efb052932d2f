//===- AttentionSoftmax.h - the online softmax of a block of queries ------===//
//
// A block's queries are all rows of the block and all query heads of one KV head, one list. A chunk of positions gives
// each query (m, l, o): the largest score, the sum of weights and the weighted values; the query's state (M, L, O)
// takes them in by one formula, at once or, where the block is split into items, when the last of them joins the
// partial results in order. CPU and GPU share all of it; how the products are made and shared out is theirs.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "passes/kern/AttentionProducts.h"

#include <functional>

namespace lathe::kern {

class AttentionSoftmax : public AttentionScope {
public:
  explicit AttentionSoftmax(KernelContext &k) : AttentionScope(k) {}

  /// A query's running or partial softmax: the largest score, the sum of weights, and where the weighted values are.
  struct State {
    mlir::Value largest, sum;
    std::function<mlir::Value(const Emitter::Column &)> output;
  };

protected:
  /// Finds the buffers; an error where the kernel is more than attention.
  mlir::LogicalResult prepare();
  /// Scratch for the states of so many queries.
  void allocate(int64_t most);
  /// Reads what an item says of its block.
  void begin(mlir::Value number);
  /// The item's chunks that the block sees: the chunk's number, and where its partial results go.
  void chunks(mlir::Value number, llvm::function_ref<void(mlir::Value, mlir::Value)> body);
  /// First page and number of pages of a chunk that some row of the block sees; what is left out has weight 0 in every
  /// row.
  std::pair<mlir::Value, mlir::Value> pagesOf(mlir::Value index);

  /// Masks the scores and turns them into weights; gives the largest score and the sum of weights of each query.
  llvm::SmallVector<mlir::Value> softmax(int64_t rows, mlir::Value first, mlir::Value firstPage, mlir::Value pages,
                                         llvm::SmallVector<mlir::Value> &sums);
  void startState(mlir::Value q);
  /// A query's state takes in one more chunk. The one place that says how, so that split and whole blocks agree.
  void takeIn(mlir::Value q, const State &part);
  void storePartial(mlir::Value record, mlir::Value q, const State &part);
  void finish(mlir::Value q);
  /// Whether this item of a split block is the last to end: it has to take in the partial results of all.
  mlir::Value arrive(mlir::Value number);
  /// The chunks that some row of the block sees.
  std::pair<mlir::Value, mlir::Value> chunksSeen();
  /// Takes a query's partial results of chunks [begin, end) in.
  void join(mlir::Value q, mlir::Value record, mlir::Value begin, mlir::Value end);

  /// Where query `first + r` has its scores: a GPU keeps those of all queries, a CPU those of a register tile.
  mlir::Value scoreRow(mlir::Value first, int64_t r) { return e.device ? first : e.index(r); }
  /// And in which column: a GPU's begin at the chunk's first position, a CPU's at that of the first page.
  mlir::Value scoreColumn(mlir::Value column) { return e.device ? e.add(column, scoresBegin) : column; }
  mlir::Value queryRow(mlir::Value q) { return e.add(firstRow, mlir::arith::DivUIOp::create(e.b, q, e.index(group))); }
  mlir::Value queryColumn(mlir::Value q) {
    mlir::Value head = e.add(e.mul(kvHead, e.index(group)), mlir::arith::RemUIOp::create(e.b, q, e.index(group)));
    return e.mul(head, e.index(dim));
  }
  /// Where a query's partial result of a chunk begins: [dim padded] output, then the largest score, then the sum.
  llvm::SmallVector<mlir::Value> partial(mlir::Value record, mlir::Value q, const Emitter::Column &column) {
    mlir::Value row = e.add(record, mlir::arith::DivUIOp::create(e.b, q, e.index(group)));
    mlir::Value head = e.add(e.mul(kvHead, e.index(group)), mlir::arith::RemUIOp::create(e.b, q, e.index(group)));
    return {row, e.add(e.mul(head, e.index(paddedDim + lanes)), e.at(column))};
  }

  mlir::Value query, out, partials;
  mlir::Value outputs, maxima, sums;     ///< scratch, one row a query
  mlir::Value firstRow, rowCount, count; ///< of the block
  mlir::Value scoresBegin;               ///< GPU: column of the first page's scores
  mlir::Value valueScales;               ///< GPU, int8 pages: scratch, of the chunk's positions; weights take them in
  mlir::Value firstPageSeen;             ///< of the block's first row
};

} // namespace lathe::kern
