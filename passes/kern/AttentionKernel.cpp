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
#include "passes/kern/KernelBuilder.h"

#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::kern;

namespace {

/// A finite stand-in for -inf: a chunk that masks everything must not make NaN of max - max.
constexpr float minusInfinity = -1.0e30f;

class AttentionBuilder {
public:
  explicit AttentionBuilder(KernelContext &k)
      : k(k), e(k.e), op(cast<lm::AttentionOp>(k.signature.anchor)), kv(op.getKv().getType()), dim(kv.getDim()),
        paddedDim(roundUp(dim, lanes)), page(kv.getPage()), chunkPages(chunkTokens / page),
        group(widthOf(op.getQuery()) / (kv.getHeads() * dim)), zero(e.index(0)) {}

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
  void scorePages(int64_t rows, Value first, Value firstPage, Value pages);
  SmallVector<Value> softmax(int64_t rows, Value first, Value firstPage, Value pages, SmallVector<Value> &sums);
  void weighValues(int64_t rows, Value firstPage, Value pages, int64_t j0, int64_t columns, SmallVector<Value> &sum);
  void takeIn(Value q, const State &part);
  void startState(Value q);
  void finish(Value q);
  void join(Value number);

  Value queryRow(Value q) { return e.add(firstRow, arith::DivUIOp::create(e.b, q, e.index(group))); }
  Value queryColumn(Value q) {
    Value head = e.add(e.mul(kvHead, e.index(group)), arith::RemUIOp::create(e.b, q, e.index(group)));
    return e.mul(head, e.index(dim));
  }
  Value physicalPage(Value logical) { return GatherPagesOp::create(e.b, e.b.getIndexType(), sequence, logical); }
  /// Where a query's partial result of a chunk begins: [dim padded] output, then the largest score, then the sum.
  SmallVector<Value> partial(Value record, Value q, int64_t column) {
    Value row = e.add(record, arith::DivUIOp::create(e.b, q, e.index(group)));
    Value head = e.add(e.mul(kvHead, e.index(group)), arith::RemUIOp::create(e.b, q, e.index(group)));
    return {row, e.add(e.mul(head, e.index(paddedDim + lanes)), e.index(column))};
  }

  KernelContext &k;
  Emitter &e;
  lm::AttentionOp op;
  lm::KvType kv;
  int64_t dim, paddedDim, page, chunkPages, group;
  int64_t tileRows = 1, smallRows = 1; ///< queries of a register tile, and of the tiles behind the last whole one
  int64_t accumulators = 1;            ///< vectors that a register tile may keep
  Value zero;
  Value query, keys, values, out, partials;
  Value queries, outputs, maxima, sums, scores;                    ///< scratch, one row a query; scores of one tile
  Value firstRow, rowCount, sequence, kvHead, count, lastPosition; ///< of the block
  Value firstPageSeen;                                             ///< of the block's first row
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
  scorePages(rows, first, firstPage, pages);
  SmallVector<Value> sum, largest = softmax(rows, first, firstPage, pages, sum);

  SmallVector<SmallVector<Value>> output(rows);
  int64_t vectors = paddedDim / lanes, columns = std::max<int64_t>(1, std::min(vectors, accumulators / rows));
  while (vectors % columns != 0)
    --columns;
  for (int64_t j0 = 0; j0 < vectors; j0 += columns) {
    SmallVector<Value> part;
    weighValues(rows, firstPage, pages, j0 * lanes, columns, part);
    for (int64_t r = 0; r < rows; ++r)
      output[r].append(part.begin() + r * columns, part.begin() + (r + 1) * columns);
  }

  auto choice = scf::IfOp::create(e.b, split, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(e.b);
  e.b.setInsertionPointToStart(choice.thenBlock());
  for (int64_t r = 0; r < rows; ++r) {
    Value q = e.add(first, e.index(r));
    // Copies that fill the tile have no place of their own.
    auto store = [&] {
      for (int64_t v = 0; v < vectors; ++v)
        e.store(output[r][v], partials, partial(record, q, v * lanes));
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
    takeIn(e.add(first, e.index(r)), {largest[r], sum[r], [&](int64_t column) { return output[r][column / lanes]; }});
}

/// Scores of a tile's queries in the pages [firstPage, firstPage + pages): one multiply-add for 16 positions, the
/// head's columns in order. Several pages at a time where a tile of few queries leaves registers empty.
void AttentionBuilder::scorePages(int64_t rows, Value first, Value firstPage, Value pages) {
  int64_t pieces = page / lanes, atOnce = std::clamp<int64_t>(accumulators / (2 * rows * pieces), 1, 4);
  bool decodes = rows == smallRows; // memory is far away: ask for what comes next
  Value lastPage = e.sub(e.add(firstPage, pages), e.index(1));
  auto clamped = [&](Value logical) { return e.minIndex(logical, lastPage); };
  e.loop(zero, pages, atOnce, [&](Value number) {
    // Behind the last page it is done again, with the same result in the same place.
    SmallVector<Value> logical, physical, next;
    for (int64_t n = 0; n < atOnce; ++n) {
      Value at = e.add(firstPage, e.add(number, e.index(n)));
      logical.push_back(clamped(at));
      physical.push_back(physicalPage(logical.back()));
      if (decodes)
        next.push_back(physicalPage(clamped(e.add(at, e.index(atOnce)))));
    }
    SmallVector<Value> sum(atOnce * rows * pieces, e.splat(0.0f));
    sum = e.loop(zero, e.index(dim), 1, sum, [&](Value d, ValueRange carried) {
      SmallVector<Value> result(carried), x;
      for (int64_t r = 0; r < rows; ++r)
        x.push_back(e.splat(e.loadScalar(queries, {e.add(first, e.index(r)), d})));
      for (int64_t n = 0; n < atOnce; ++n) {
        if (decodes) {
          e.prefetch(keys, {next[n], kvHead, d, zero}, 3);
          // The values take as much room as the keys, `page` elements for each of the head's columns.
          Value at = e.mul(d, e.index(page)), width = e.index(paddedDim);
          // A chunk of them would fill L1 before it is used.
          e.prefetch(
              values,
              {physical[n], kvHead, arith::DivUIOp::create(e.b, at, width), arith::RemUIOp::create(e.b, at, width)}, 2);
        }
        for (int64_t p = 0; p < pieces; ++p) {
          Value key = e.load(keys, {physical[n], kvHead, d, e.index(p * lanes)});
          for (int64_t r = 0; r < rows; ++r) {
            Value &to = result[(n * rows + r) * pieces + p];
            to = e.fma(x[r], key, to);
          }
        }
      }
      return result;
    });
    for (int64_t n = 0; n < atOnce; ++n) {
      Value column = e.mul(e.sub(logical[n], firstPage), e.index(page));
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t p = 0; p < pieces; ++p)
          e.store(sum[(n * rows + r) * pieces + p], scores, {e.index(r), e.add(column, e.index(p * lanes))});
    }
  });
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

/// Weights by values: `columns` vectors from column j0 on, kept in registers over all positions.
void AttentionBuilder::weighValues(int64_t rows, Value firstPage, Value pages, int64_t j0, int64_t columns,
                                   SmallVector<Value> &sum) {
  sum.assign(rows * columns, e.splat(0.0f));
  sum = e.loop(zero, pages, 1, sum, [&](Value number, ValueRange outer) {
    Value logical = e.add(firstPage, number), physical = physicalPage(logical);
    Value column = e.mul(number, e.index(page));
    // Slots behind the last position hold nothing of this sequence: they are not even multiplied by zero.
    Value written = e.minIndex(e.index(page), e.sub(e.add(lastPosition, e.index(1)), e.mul(logical, e.index(page))));
    // Scores are done with before the values begin: meanwhile the next chunk's keys come nearer.
    bool decodes = rows == smallRows && j0 == 0;
    Value ahead;
    if (decodes)
      ahead = physicalPage(
          e.minIndex(e.add(logical, e.index(chunkPages)), arith::DivUIOp::create(e.b, lastPosition, e.index(page))));
    return e.loop(zero, written, 1, outer, [&](Value t, ValueRange carried) {
      SmallVector<Value> next, value;
      for (int64_t line = 0; decodes && line < ceilDiv(paddedDim, page); ++line) {
        Value at = e.add(e.mul(t, e.index(ceilDiv(paddedDim, page))), e.index(line));
        e.prefetch(keys, {ahead, kvHead, at, zero}, 2);
      }
      for (int64_t c = 0; c < columns; ++c)
        value.push_back(e.load(values, {physical, kvHead, t, e.index(j0 + c * lanes)}));
      Value at = e.add(column, t);
      for (int64_t r = 0; r < rows; ++r) {
        Value weight = e.splat(e.loadScalar(scores, {e.index(r), at}));
        for (int64_t c = 0; c < columns; ++c)
          next.push_back(e.fma(weight, value[c], carried[r * columns + c]));
      }
      return next;
    });
  });
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

LogicalResult kern::buildAttention(KernelContext &k) { return AttentionBuilder(k).run(); }
