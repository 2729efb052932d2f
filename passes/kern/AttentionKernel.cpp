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
#include "passes/kern/AttentionProducts.h"

#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::kern;

namespace {

/// A finite stand-in for -inf: a chunk that masks everything must not make NaN of max - max.
constexpr float minusInfinity = -1.0e30f;

class AttentionBuilder : AttentionScope {
public:
  explicit AttentionBuilder(KernelContext &k)
      : AttentionScope(k), products(kv.getElement().isInteger(8) ? byteProducts(*this) : floatProducts(*this)) {}

  LogicalResult run();

private:
  /// A query's running or partial softmax: the largest score, the sum of weights, and where the weighted values are.
  struct State {
    Value largest, sum;
    std::function<Value(int64_t)> output; ///< 16 columns from one on
  };

  void item(Value number);
  void chunks(Value number, Value split);
  void chunk(Value index, Value split, Value record);
  void queryTile(int64_t rows, Value first, Value index, Value split, Value record);
  SmallVector<Value> softmax(int64_t rows, Value first, Value firstPage, Value pages, SmallVector<Value> &sums);
  void takeIn(Value q, const State &part);
  void startState(Value q);
  void finish(Value q);
  void join(Value number);

  Value queryRow(Value q) { return e.add(firstRow, arith::DivUIOp::create(e.b, q, e.index(group))); }
  Value queryColumn(Value q) {
    Value head = e.add(e.mul(kvHead, e.index(group)), arith::RemUIOp::create(e.b, q, e.index(group)));
    return e.mul(head, e.index(dim));
  }
  /// Where a query's partial result of a chunk begins: [dim padded] output, then the largest score, then the sum.
  SmallVector<Value> partial(Value record, Value q, int64_t column) {
    Value row = e.add(record, arith::DivUIOp::create(e.b, q, e.index(group)));
    Value head = e.add(e.mul(kvHead, e.index(group)), arith::RemUIOp::create(e.b, q, e.index(group)));
    return {row, e.add(e.mul(head, e.index(paddedDim + lanes)), e.index(column))};
  }

  std::unique_ptr<AttentionProducts> products;
  Value query, out, partials;
  Value outputs, maxima, sums;     ///< scratch, one row a query
  Value firstRow, rowCount, count; ///< of the block
  Value firstPageSeen;             ///< of the block's first row
};

} // namespace

LogicalResult AttentionBuilder::run() {
  query = k.buffer(Argument::Kind::activation, op.getQuery());
  keys = k.buffer(Argument::Kind::keys, op.getKv());
  values = k.buffer(Argument::Kind::values, op.getKv());
  partials = k.partials();
  auto yield = cast<lm::YieldOp>(k.signature.body().getTerminator());
  if (!query || !keys || yield.getValues().size() != 1 || yield.getValues()[0] != op.getResult())
    return op.emitOpError() << "expected a kernel of attention alone: activations and KV in, its result out";
  if (chunkTokens % page != 0)
    return op.emitOpError() << "expected pages that divide a chunk of " << chunkTokens << " positions, found " << page;
  out = k.output(0);

  // Tiles of whole groups of query heads, so that one row (decode) leaves no register empty.
  tileRows = k.schedule.getRows();
  smallRows = tileRows % group == 0 ? group : tileRows;
  accumulators = k.schedule.getColumns() == panelWidth ? 24 : 6;

  int64_t most = roundUp(k.schedule.getUnitBlock() * group, tileRows);
  queries = e.scratch({most, paddedDim}, e.f32());
  outputs = e.scratch({most, paddedDim}, e.f32());
  maxima = e.scratch({most, 1}, e.f32());
  sums = e.scratch({most, 1}, e.f32());
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
  firstRow = e.batch(Field::item_row, number);
  rowCount = e.sub(e.batch(Field::item_end, number), firstRow);
  sequence = e.batch(Field::row_sequence, firstRow);
  count = e.mul(rowCount, e.index(group));
  Value lastRow = e.sub(e.add(firstRow, rowCount), e.index(1));
  lastPosition = e.batch(Field::row_position, lastRow);
  firstPageSeen = zero;
  if (op.getWindow()) {
    // The first row's window opens the earliest.
    Value behind = e.sub(e.batch(Field::row_position, firstRow), e.index(*op.getWindow() - 1));
    firstPageSeen = arith::DivUIOp::create(e.b, arith::MaxSIOp::create(e.b, behind, zero).getResult(), e.index(page));
  }

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
  chunks(number, split);
  auto choice = scf::IfOp::create(e.b, split, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(e.b);
  e.b.setInsertionPointToStart(choice.thenBlock());
  join(number);
  e.b.setInsertionPointToStart(choice.elseBlock());
  e.loop(zero, count, 1, [&](Value q) { finish(q); });
}

void AttentionBuilder::chunks(Value number, Value split) {
  Value perChunk = e.index(chunkPages);
  Value begin = arith::MaxSIOp::create(e.b, e.batch(Field::item_chunk, number),
                                       arith::DivUIOp::create(e.b, firstPageSeen, perChunk).getResult());
  Value end = e.batch(Field::item_chunk_end, number), record = e.batch(Field::item_record, number);
  e.loop(begin, end, 1, [&](Value index) { chunk(index, split, e.add(record, e.mul(index, rowCount))); });
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
  // Pages that some row of the block sees; what is left out of a chunk has weight 0 in every row.
  Value chunkBegin = e.mul(index, e.index(chunkPages));
  Value firstPage = arith::MaxSIOp::create(e.b, chunkBegin, firstPageSeen);
  Value endPage = e.minIndex(e.add(chunkBegin, e.index(chunkPages)),
                             e.add(arith::DivUIOp::create(e.b, lastPosition, e.index(page)), e.index(1)));
  Value pages = e.sub(endPage, firstPage);
  products->scorePages(rows, first, firstPage, pages);
  SmallVector<Value> sum, largest = softmax(rows, first, firstPage, pages, sum);
  SmallVector<Value> output = products->weighValues(rows, firstPage, pages);
  int64_t vectors = paddedDim / lanes;

  auto choice = scf::IfOp::create(e.b, split, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(e.b);
  e.b.setInsertionPointToStart(choice.thenBlock());
  for (int64_t r = 0; r < rows; ++r) {
    Value q = e.add(first, e.index(r));
    // Copies that fill the tile have no place of their own.
    auto store = [&] {
      for (int64_t v = 0; v < vectors; ++v)
        e.store(output[r * vectors + v], partials, partial(record, q, v * lanes));
      e.storeScalar(largest[r], partials, partial(record, q, paddedDim));
      e.storeScalar(sum[r], partials, partial(record, q, paddedDim + 1));
    };
    if (group % smallRows == 0)
      store();
    else
      e.when(e.compare(arith::CmpIPredicate::slt, q, count), store);
  }
  e.b.setInsertionPointToStart(choice.elseBlock());
  for (int64_t r = 0; r < rows; ++r)
    takeIn(e.add(first, e.index(r)),
           {largest[r], sum[r], [&](int64_t column) { return output[r * vectors + column / lanes]; }});
}

/// Masks the scores and turns them into weights; gives the largest score and the sum of weights of each query.
SmallVector<Value> AttentionBuilder::softmax(int64_t rows, Value first, Value firstPage, Value pages,
                                             SmallVector<Value> &sum) {
  auto ints = VectorType::get({lanes}, e.b.getI32Type());
  SmallVector<int32_t> counting(lanes);
  for (int64_t i = 0; i < lanes; ++i)
    counting[i] = i;
  Value lane = arith::ConstantOp::create(e.b, DenseElementsAttr::get(ints, ArrayRef<int32_t>(counting)));
  auto splat = [&](Value index) -> Value {
    return vector::BroadcastOp::create(e.b, ints, arith::IndexCastOp::create(e.b, e.b.getI32Type(), index).getResult());
  };
  Value start = e.add(splat(e.mul(firstPage, e.index(page))), lane), width = e.mul(pages, e.index(page));
  Value minus = e.splat(minusInfinity), none = e.splat(0.0f);

  SmallVector<Value> positions;
  for (int64_t r = 0; r < rows; ++r) {
    Value q = e.minIndex(e.add(first, e.index(r)), e.sub(count, e.index(1)));
    positions.push_back(splat(e.batch(Field::row_position, queryRow(q))));
  }
  SmallVector<Value> best(rows, minus);
  best = e.loop(zero, width, lanes, best, [&](Value column, ValueRange carried) {
    SmallVector<Value> next;
    Value at = e.add(start, splat(column));
    for (int64_t r = 0; r < rows; ++r) {
      Value sees = e.compare(arith::CmpIPredicate::sle, at, positions[r]);
      if (op.getWindow()) {
        Value behind = e.sub(positions[r], splat(e.index(*op.getWindow())));
        sees = arith::AndIOp::create(e.b, sees, e.compare(arith::CmpIPredicate::sgt, at, behind));
      }
      Value score = e.select(sees, e.load(scores, {e.index(r), column}), minus);
      e.store(score, scores, {e.index(r), column});
      next.push_back(e.larger(carried[r], score));
    }
    return next;
  });
  SmallVector<Value> largest;
  for (int64_t r = 0; r < rows; ++r)
    largest.push_back(e.reduce(Combine::max, best[r]));

  SmallVector<Value> total(rows, none), top;
  for (int64_t r = 0; r < rows; ++r)
    top.push_back(e.splat(largest[r]));
  total = e.loop(zero, width, lanes, total, [&](Value column, ValueRange carried) {
    SmallVector<Value> next;
    for (int64_t r = 0; r < rows; ++r) {
      Value score = e.load(scores, {e.index(r), column});
      Value seen = arith::CmpFOp::create(e.b, arith::CmpFPredicate::UNE, score, minus);
      Value weight = e.select(seen, e.exp(e.sub(score, top[r])), none);
      e.store(weight, scores, {e.index(r), column});
      next.push_back(e.add(carried[r], weight));
    }
    return next;
  });
  for (int64_t r = 0; r < rows; ++r)
    sum.push_back(e.reduce(Combine::add, total[r]));
  return largest;
}

void AttentionBuilder::startState(Value q) {
  for (int64_t j = 0; j < paddedDim; j += lanes)
    e.store(e.splat(0.0f), outputs, {q, e.index(j)});
  e.storeScalar(e.constant(minusInfinity), maxima, {q, zero});
  e.storeScalar(e.constant(0.0f), sums, {q, zero});
}

/// A query's state takes in one more chunk. The one place that says how, so that split and whole blocks agree.
void AttentionBuilder::takeIn(Value q, const State &part) {
  Value before = e.loadScalar(maxima, {q, zero}), now = e.larger(before, part.largest), now16 = e.splat(now);
  Value old = e.exp(e.sub(e.splat(before), now16)), fresh = e.exp(e.sub(e.splat(part.largest), now16));
  auto first = [&](Value vector) -> Value { return vector::ExtractOp::create(e.b, vector, int64_t(0)); };
  e.storeScalar(e.fma(e.loadScalar(sums, {q, zero}), first(old), e.mul(part.sum, first(fresh))), sums, {q, zero});
  e.storeScalar(now, maxima, {q, zero});
  for (int64_t j = 0; j < paddedDim; j += lanes) {
    Value at = e.index(j);
    e.store(e.fma(e.load(outputs, {q, at}), old, e.mul(part.output(j), fresh)), outputs, {q, at});
  }
}

void AttentionBuilder::finish(Value q) {
  Value row = queryRow(q), column = queryColumn(q);
  Value inverse = e.splat(e.div(e.constant(1.0f), e.loadScalar(sums, {q, zero})));
  for (int64_t j = 0; j < paddedDim; j += lanes) {
    Value at = e.index(j);
    e.storeValid(e.mul(e.load(outputs, {q, at}), inverse), out, {row, e.add(column, at)}, dim - j);
  }
}

/// The item of a split block that ends last takes in the partial results of all.
void AttentionBuilder::join(Value number) {
  Value counter = e.add(e.batch(Field::item_counter, number), kvHead);
  Value last = ArriveOp::create(e.b, e.b.getI1Type(), counter, e.batch(Field::item_count, number));
  Value perChunk = e.index(chunkPages), record = e.batch(Field::item_record, number);
  e.when(last, [&] {
    Value begin = arith::DivUIOp::create(e.b, firstPageSeen, perChunk);
    Value end = e.add(arith::DivUIOp::create(e.b, lastPosition, e.index(chunkTokens)), e.index(1));
    e.loop(zero, count, 1, [&](Value q) {
      e.loop(begin, end, 1, [&](Value index) {
        Value at = e.add(record, e.mul(index, rowCount));
        takeIn(q, {e.loadScalar(partials, partial(at, q, paddedDim)),
                   e.loadScalar(partials, partial(at, q, paddedDim + 1)),
                   [&](int64_t column) { return e.load(partials, partial(at, q, column)); }});
      });
      finish(q);
    });
  });
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
