//===- AttentionSoftmax.cpp - the online softmax of a block of queries -------===//
#include "passes/kern/AttentionSoftmax.h"

#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::kern;

/// A finite stand-in for -inf: a chunk that masks everything must not make NaN of max - max.
static constexpr float minusInfinity = -1.0e30f;

LogicalResult AttentionSoftmax::prepare() {
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
  return success();
}

void AttentionSoftmax::allocate(int64_t most) {
  outputs = e.scratch({most, paddedDim}, e.f32());
  maxima = e.scratch({most, e.ownColumns()}, e.f32());
  sums = e.scratch({most, e.ownColumns()}, e.f32());
}

void AttentionSoftmax::begin(Value number) {
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
}

void AttentionSoftmax::chunks(Value number, llvm::function_ref<void(Value, Value)> body) {
  Value perChunk = e.index(chunkPages);
  Value begin = arith::MaxSIOp::create(e.b, e.batch(Field::item_chunk, number),
                                       arith::DivUIOp::create(e.b, firstPageSeen, perChunk).getResult());
  Value end = e.batch(Field::item_chunk_end, number), record = e.batch(Field::item_record, number);
  e.loop(begin, end, 1, [&](Value index) { body(index, e.add(record, e.mul(index, rowCount))); });
}

std::pair<Value, Value> AttentionSoftmax::pagesOf(Value index) {
  Value chunkBegin = e.mul(index, e.index(chunkPages));
  Value firstPage = arith::MaxSIOp::create(e.b, chunkBegin, firstPageSeen);
  Value endPage = e.minIndex(e.add(chunkBegin, e.index(chunkPages)),
                             e.add(arith::DivUIOp::create(e.b, lastPosition, e.index(page)), e.index(1)));
  return {firstPage, e.sub(endPage, firstPage)};
}

SmallVector<Value> AttentionSoftmax::softmax(int64_t rows, Value first, Value firstPage, Value pages,
                                             SmallVector<Value> &sum) {
  auto ints = VectorType::get({lanes}, e.b.getI32Type());
  Value lane = e.counting();
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
      Value score = e.select(sees, e.load(scores, {scoreRow(first, r), scoreColumn(column)}), minus);
      e.store(score, scores, {scoreRow(first, r), scoreColumn(column)});
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
      Value score = e.load(scores, {scoreRow(first, r), scoreColumn(column)});
      Value seen = arith::CmpFOp::create(e.b, arith::CmpFPredicate::UNE, score, minus);
      Value weight = e.select(seen, e.exp(e.sub(score, top[r])), none);
      Value stored = weight;
      if (valueScales) // of a slot that holds nothing it may be NaN
        stored = e.select(seen, e.mul(weight, e.load(valueScales, {scoreColumn(column)})), none);
      e.store(stored, scores, {scoreRow(first, r), scoreColumn(column)});
      next.push_back(e.add(carried[r], weight));
    }
    return next;
  });
  for (int64_t r = 0; r < rows; ++r)
    sum.push_back(e.reduce(Combine::add, total[r]));
  return largest;
}

void AttentionSoftmax::startState(Value q) {
  e.columns(paddedDim, [&](const Emitter::Column &c) { e.store(e.splat(0.0f), outputs, {q, e.at(c)}); });
  e.storeScalar(e.constant(minusInfinity), maxima, {q, e.own()});
  e.storeScalar(e.constant(0.0f), sums, {q, e.own()});
}

void AttentionSoftmax::takeIn(Value q, const State &part) {
  Value before = e.loadScalar(maxima, {q, e.own()}), now = e.larger(before, part.largest), now16 = e.splat(now);
  // A number is exp's vector of equal lanes on a CPU, which has no other; a thread's register is a number anyway.
  auto power = [&](Value x) { return e.device ? e.splat(e.exp(e.sub(x, now))) : e.exp(e.sub(e.splat(x), now16)); };
  Value old = power(before), fresh = power(part.largest);
  auto first = [&](Value vector) -> Value {
    return e.device ? vector.getDefiningOp<vector::BroadcastOp>().getSource()
                    : vector::ExtractOp::create(e.b, vector, int64_t(0)).getResult();
  };
  e.storeScalar(e.fma(e.loadScalar(sums, {q, e.own()}), first(old), e.mul(part.sum, first(fresh))), sums, {q, e.own()});
  e.storeScalar(now, maxima, {q, e.own()});
  e.columns(paddedDim, [&](const Emitter::Column &c) {
    Value at = e.at(c), before = e.load(outputs, {q, at}), added = e.mul(part.output(c), fresh);
    e.store(e.fma(before, old, added), outputs, {q, at});
  });
}

void AttentionSoftmax::finish(Value q) {
  Value row = queryRow(q), column = queryColumn(q);
  Value inverse = e.splat(e.div(e.constant(1.0f), e.loadScalar(sums, {q, e.own()})));
  e.columns(dim, [&](const Emitter::Column &c) {
    Value at = e.at(c), result = e.mul(e.load(outputs, {q, at}), inverse);
    e.storeValid(result, out, {row, e.add(column, at)}, c.valid);
  });
}

Value AttentionSoftmax::arrive(Value number) {
  Value counter = e.add(e.batch(Field::item_counter, number), kvHead);
  return ArriveOp::create(e.b, e.b.getI1Type(), counter, e.batch(Field::item_count, number));
}

std::pair<Value, Value> AttentionSoftmax::chunksSeen() {
  Value begin = arith::DivUIOp::create(e.b, firstPageSeen, e.index(chunkPages));
  Value end = e.add(arith::DivUIOp::create(e.b, lastPosition, e.index(chunkTokens)), e.index(1));
  return {begin, end};
}

void AttentionSoftmax::join(Value q, Value record, Value begin, Value end) {
  e.loop(begin, end, 1, [&](Value index) {
    Value at = e.add(record, e.mul(index, rowCount));
    takeIn(q, {e.loadScalar(partials, partial(at, q, {{}, paddedDim})),
               e.loadScalar(partials, partial(at, q, {{}, paddedDim + 1})),
               [&](const Emitter::Column &c) { return e.load(partials, partial(at, q, c)); }});
  });
}

void AttentionSoftmax::storePartial(Value record, Value q, const State &part) {
  e.columns(paddedDim, [&](const Emitter::Column &c) {
    Value output = part.output(c);
    e.store(output, partials, partial(record, q, c));
  });
  e.once([&] {
    e.storeScalar(part.largest, partials, partial(record, q, {{}, paddedDim}));
    e.storeScalar(part.sum, partials, partial(record, q, {{}, paddedDim + 1}));
  });
}
