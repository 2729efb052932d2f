//===- AttentionKernel.cpp - softmax(q kᵀ) v over pages ----------------------===//
//
//   for the items (rows of a block, chunks of positions) and KV heads of this call:
//     the queries of all rows of the block and all query heads of the KV head are one list
//     for each chunk:
//       for each register tile of queries:
//         scores of the chunk's positions, page by page; mask; maximum m, p = exp(s - m), l = Σ p, o = p v
//         block of one item:  (M, L, O) of the query takes in (m, l, o)
//         split block:        (m, l, o) is stored as a partial result
//     block of one item:      O / L
//     split block, last item: the same over the partial results, chunk by chunk
//
// A chunk stands at an absolute position and is taken in by the same operations in both cases, so a row's result has
// the same bits in prefill, decode and any batch, and however the work is cut. Formula: Milakov and Gimelshein, "Online
// normalizer calculation for softmax"; splitting: Dao et al., "Flash-Decoding for long-context inference".
//
//===----------------------------------------------------------------------===//
#include "passes/kern/AttentionSoftmax.h"

#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::kern;

namespace {

class AttentionBuilder : AttentionSoftmax {
public:
  explicit AttentionBuilder(KernelContext &k)
      : AttentionSoftmax(k), products(kv.getElement().isInteger(8) ? byteProducts(*this) : floatProducts(*this)) {}

  LogicalResult run();

private:
  void item(Value number);
  void chunk(Value index, Value split, Value record);
  void queryTile(int64_t rows, Value first, Value index, Value split, Value record);

  std::unique_ptr<AttentionProducts> products;
};

} // namespace

LogicalResult AttentionBuilder::run() {
  if (failed(prepare()))
    return failure();
  // Tiles of whole groups of query heads, so that one row (decode) leaves no register empty.
  tileRows = k.schedule.getRows();
  smallRows = tileRows % group == 0 ? group : tileRows;
  accumulators = k.schedule.getColumns() == panelWidth ? 24 : 6;

  int64_t most = roundUp(k.schedule.getUnitBlock() * group, tileRows);
  queries = e.scratch({most, paddedDim}, e.f32());
  allocate(most);
  scores = e.scratch({tileRows, chunkTokens}, e.f32());
  products->allocate(most);
  Type i = e.b.getIndexType();
  auto range = ProgramIdOp::create(e.b, TypeRange{i, i, i, i});
  e.loop(range.getUnitBegin(), range.getUnitEnd(), 1, [&](Value number) {
    e.loop(range.getTileBegin(), range.getTileEnd(), 1, [&](Value head) {
      kvHead = head;
      item(number);
    });
  });
  return success();
}

void AttentionBuilder::item(Value number) {
  begin(number);
  // Queries behind the last (to fill a register tile) are copies of it; their output is never stored.
  Value scale = e.splat(static_cast<float>(op.getScale().convertToDouble()));
  Value filled = e.mul(arith::CeilDivUIOp::create(e.b, count, e.index(smallRows)), e.index(smallRows));
  Value last = e.sub(count, e.index(1));
  e.loop(zero, filled, 1, [&](Value q) {
    Value source = e.minIndex(q, last), row = queryRow(source), column = queryColumn(source);
    for (int64_t j = 0; j < paddedDim; j += lanes) {
      Value at = e.index(j);
      e.store(e.mul(e.loadValid(query, {row, e.add(column, at)}, dim - j), scale), queries, {q, at});
    }
    products->prepare(q);
    startState(q);
  });

  Value split = e.compare(arith::CmpIPredicate::sgt, e.batch(Field::item_count, number), e.index(1));
  chunks(number, [&](Value index, Value record) { chunk(index, split, record); });
  auto choice = scf::IfOp::create(e.b, split, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(e.b);
  e.b.setInsertionPointToStart(choice.thenBlock());
  Value arrived = arrive(number), record = e.batch(Field::item_record, number);
  e.when(arrived, [&] {
    auto [begin, end] = chunksSeen();
    Value from = begin, to = end; // structured bindings cannot be captured
    e.loop(zero, count, 1, [&](Value q) {
      join(q, record, from, to);
      finish(q);
    });
  });
  e.b.setInsertionPointToStart(choice.elseBlock());
  e.loop(zero, count, 1, [&](Value q) { finish(q); });
}

void AttentionBuilder::chunk(Value index, Value split, Value record) {
  Value whole = zero;
  if (tileRows != smallRows) {
    whole = e.mul(arith::DivUIOp::create(e.b, count, e.index(tileRows)), e.index(tileRows));
    e.loop(zero, whole, tileRows, [&](Value first) { queryTile(tileRows, first, index, split, record); });
  }
  e.loop(whole, count, smallRows, [&](Value first) { queryTile(smallRows, first, index, split, record); });
}

void AttentionBuilder::queryTile(int64_t rows, Value first, Value index, Value split, Value record) {
  auto [firstPage, pages] = pagesOf(index);
  products->scorePages(rows, first, firstPage, pages);
  SmallVector<Value> sum, largest = softmax(rows, first, firstPage, pages, sum);
  SmallVector<Value> output = products->weighValues(rows, firstPage, pages);
  auto stateOf = [&](int64_t r) {
    return State{largest[r], sum[r],
                 [&, r](const Emitter::Column &c) { return output[(r * paddedDim + c.offset) / lanes]; }};
  };

  auto choice = scf::IfOp::create(e.b, split, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(e.b);
  e.b.setInsertionPointToStart(choice.thenBlock());
  for (int64_t r = 0; r < rows; ++r) {
    Value q = e.add(first, e.index(r));
    // Copies that fill the tile have no place of their own.
    auto store = [&] { storePartial(record, q, stateOf(r)); };
    if (group % smallRows == 0)
      store();
    else
      e.when(e.compare(arith::CmpIPredicate::slt, q, count), store);
  }
  e.b.setInsertionPointToStart(choice.elseBlock());
  for (int64_t r = 0; r < rows; ++r)
    takeIn(e.add(first, e.index(r)), stateOf(r));
}

SmallVector<Value> kern::byColumns(const AttentionScope &scope, int64_t rows, int64_t registers,
                                   llvm::function_ref<SmallVector<Value>(int64_t j0, int64_t columns)> product) {
  int64_t vectors = scope.paddedDim / lanes;
  int64_t columns = std::max<int64_t>(1, std::min(vectors, scope.accumulators / (registers * rows)));
  while (vectors % columns != 0)
    --columns;
  SmallVector<Value> output(rows * vectors);
  for (int64_t j = 0; j < vectors; j += columns) {
    SmallVector<Value> part = product(j * lanes, columns);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < columns; ++c)
        output[r * vectors + j + c] = part[r * columns + c];
  }
  return output;
}

LogicalResult kern::buildAttention(KernelContext &k) { return AttentionBuilder(k).run(); }
