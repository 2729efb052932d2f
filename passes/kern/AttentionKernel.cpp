//===- AttentionKernel.cpp - softmax(q kᵀ) v over pages ----------------------===//
//
//   for the row blocks and KV heads of this call:
//     the queries of all rows of the block and all query heads of the KV head are one list
//     for each page that a row of the block sees, in order of position:
//       for each register tile of queries:
//         scores of the page's positions, mask, running maximum and sum, p = exp(s - max)
//         output = output * exp(old max - max) + p v
//     output / sum
//
// A page is the unit of the online softmax wherever a row stands and however the step is cut, so a row's result has the
// same bits in prefill, decode and any batch. Formula: Milakov and Gimelshein, "Online normalizer calculation for
// softmax".
//
//===----------------------------------------------------------------------===//
#include "passes/kern/KernelBuilder.h"

#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::kern;

namespace {

/// A finite stand-in for -inf: a page that masks everything must not make NaN of max - max.
constexpr float minusInfinity = -1.0e30f;

class AttentionBuilder {
public:
  explicit AttentionBuilder(KernelContext &k)
      : k(k), e(k.e), op(cast<lm::AttentionOp>(k.signature.anchor)), kv(op.getKv().getType()), dim(kv.getDim()),
        paddedDim(roundUp(dim, lanes)), page(kv.getPage()),
        headsPerGroup(widthOf(op.getQuery()) / (kv.getHeads() * dim)), tileRows(k.schedule.getRows()) {}

  LogicalResult run();

private:
  void block(Value number, Value head);
  void queryTile(Value first, Value physical, Value firstPosition, Value positions);
  Value queryRow(Value q) { return e.add(firstRow, arith::DivUIOp::create(e.b, q, e.index(headsPerGroup))); }
  Value queryColumn(Value q) {
    Value head = e.add(e.mul(kvHead, e.index(headsPerGroup)), arith::RemUIOp::create(e.b, q, e.index(headsPerGroup)));
    return e.mul(head, e.index(dim));
  }

  KernelContext &k;
  Emitter &e;
  lm::AttentionOp op;
  lm::KvType kv;
  int64_t dim, paddedDim, page, headsPerGroup, tileRows;
  Value query, keys, values, out;
  Value queries, outputs, maxima, sums, weights, positions; ///< scratch, one row a query
  Value firstRow, sequence, kvHead, count, lastPosition;    ///< of the block
};

} // namespace

LogicalResult AttentionBuilder::run() {
  query = k.buffer(Argument::Kind::activation, op.getQuery());
  keys = k.buffer(Argument::Kind::keys, op.getKv());
  values = k.buffer(Argument::Kind::values, op.getKv());
  auto yield = cast<lm::YieldOp>(k.signature.body().getTerminator());
  if (!query || !keys || yield.getValues().size() != 1 || yield.getValues()[0] != op.getResult())
    return op.emitOpError() << "expected a kernel of attention alone: activations and KV in, its result out";
  out = k.output(0);

  // attentionRows rows a block (schedule's unit_block), rounded up to whole register tiles of queries.
  int64_t most = roundUp(k.schedule.getUnitBlock() * headsPerGroup, tileRows);
  queries = e.scratch({most, paddedDim}, e.f32());
  outputs = e.scratch({most, paddedDim}, e.f32());
  weights = e.scratch({most, page}, e.f32());
  maxima = e.scratch({most, 1}, e.f32());
  sums = e.scratch({most, 1}, e.f32());
  positions = e.scratch({most, 1}, e.b.getI32Type());
  Type i = e.b.getIndexType();
  auto range = ProgramIdOp::create(e.b, TypeRange{i, i, i, i});
  e.loop(range.getUnitBegin(), range.getUnitEnd(), 1, [&](Value number) {
    e.loop(range.getTileBegin(), range.getTileEnd(), 1, [&](Value head) { block(number, head); });
  });
  return success();
}

void AttentionBuilder::block(Value number, Value head) {
  kvHead = head;
  firstRow = e.batch(Field::block_row, number);
  Value endRow = e.batch(Field::block_row, e.add(number, e.index(1)));
  sequence = e.batch(Field::row_sequence, firstRow);
  count = e.mul(e.sub(endRow, firstRow), e.index(headsPerGroup));
  lastPosition = e.batch(Field::row_position, e.sub(endRow, e.index(1)));
  Value scale = e.splat(static_cast<float>(op.getScale().convertToDouble())), zero = e.index(0);

  // Queries behind the last (to fill a register tile) are copies of it; their output is never stored.
  Value filled = e.mul(arith::CeilDivUIOp::create(e.b, count, e.index(tileRows)), e.index(tileRows));
  Value last = e.sub(count, e.index(1));
  e.loop(zero, filled, 1, [&](Value q) {
    Value source = e.minIndex(q, last), row = queryRow(source), column = queryColumn(source);
    for (int64_t j = 0; j < paddedDim; j += lanes) {
      Value at = e.index(j);
      e.store(e.mul(e.loadValid(query, {row, e.add(column, at)}, dim - j), scale), queries, {q, at});
      e.store(e.splat(0.0f), outputs, {q, at});
    }
    e.storeScalar(e.constant(minusInfinity), maxima, {q, zero});
    e.storeScalar(e.constant(0.0f), sums, {q, zero});
    e.storeScalar(arith::IndexCastOp::create(e.b, e.b.getI32Type(), e.batch(Field::row_position, row)), positions,
                  {q, zero});
  });

  Value pageIndex = e.index(page), firstPage = zero;
  if (op.getWindow()) {
    // The first row's window opens the earliest.
    Value behind = e.sub(e.batch(Field::row_position, firstRow), e.index(*op.getWindow() - 1));
    Value from = arith::MaxSIOp::create(e.b, behind, zero);
    firstPage = arith::DivUIOp::create(e.b, from, pageIndex);
  }
  Value pages = e.add(arith::DivUIOp::create(e.b, lastPosition, pageIndex), e.index(1));
  e.loop(firstPage, pages, 1, [&](Value logical) {
    Value physical = GatherPagesOp::create(e.b, e.b.getIndexType(), sequence, logical);
    Value firstPosition = e.mul(logical, pageIndex);
    // Slots behind the last position hold nothing of this sequence: they are not even multiplied by zero.
    Value written = e.minIndex(pageIndex, e.sub(e.add(lastPosition, e.index(1)), firstPosition));
    e.loop(zero, count, tileRows, [&](Value first) { queryTile(first, physical, firstPosition, written); });
  });

  e.loop(zero, count, 1, [&](Value q) {
    Value row = queryRow(q), column = queryColumn(q);
    Value inverse = e.splat(e.div(e.constant(1.0f), e.loadScalar(sums, {q, zero})));
    for (int64_t j = 0; j < paddedDim; j += lanes) {
      Value at = e.index(j);
      e.storeValid(e.mul(e.load(outputs, {q, at}), inverse), out, {row, e.add(column, at)}, dim - j);
    }
  });
}

void AttentionBuilder::queryTile(Value first, Value physical, Value firstPosition, Value written) {
  Value zero = e.index(0);
  int64_t pieces = page / lanes;
  SmallVector<Value> q;
  for (int64_t r = 0; r < tileRows; ++r)
    q.push_back(e.add(first, e.index(r)));

  // Scores: one multiply-add for 16 positions, the head's columns in order.
  SmallVector<Value> scores(tileRows * pieces, e.splat(0.0f));
  scores = e.loop(zero, e.index(dim), 1, scores, [&](Value d, ValueRange carried) {
    SmallVector<Value> next, key;
    for (int64_t p = 0; p < pieces; ++p)
      key.push_back(e.load(keys, {physical, kvHead, d, e.index(p * lanes)}));
    for (int64_t r = 0; r < tileRows; ++r) {
      Value x = e.splat(e.loadScalar(queries, {q[r], d}));
      for (int64_t p = 0; p < pieces; ++p)
        next.push_back(e.fma(x, key[p], carried[r * pieces + p]));
    }
    return next;
  });

  auto ints = VectorType::get({lanes}, e.b.getI32Type());
  SmallVector<int32_t> counting(lanes);
  for (int64_t i = 0; i < lanes; ++i)
    counting[i] = i;
  Value lane = arith::ConstantOp::create(e.b, DenseElementsAttr::get(ints, ArrayRef<int32_t>(counting)));
  Value start = vector::BroadcastOp::create(
      e.b, ints, arith::IndexCastOp::create(e.b, e.b.getI32Type(), firstPosition).getResult());
  auto i32 = [&](int64_t value) -> Value {
    return arith::ConstantOp::create(e.b, DenseElementsAttr::get(ints, static_cast<int32_t>(value)));
  };

  for (int64_t r = 0; r < tileRows; ++r) {
    Value position = vector::BroadcastOp::create(e.b, ints, e.loadScalar(positions, {q[r], zero}));
    SmallVector<Value> seen, score;
    Value largest = e.splat(minusInfinity);
    for (int64_t p = 0; p < pieces; ++p) {
      Value at = e.add(e.add(start, lane), i32(p * lanes));
      Value sees = e.compare(arith::CmpIPredicate::sle, at, position);
      if (op.getWindow())
        sees = arith::AndIOp::create(e.b, sees,
                                     e.compare(arith::CmpIPredicate::sgt, at, e.sub(position, i32(*op.getWindow()))));
      seen.push_back(sees);
      score.push_back(e.select(sees, scores[r * pieces + p], e.splat(minusInfinity)));
      largest = e.max(largest, score.back());
    }
    Value before = e.loadScalar(maxima, {q[r], zero});
    Value now = arith::MaximumFOp::create(e.b, before, e.reduce(Combine::max, largest));
    Value now16 = e.splat(now);
    Value correction = math::ExpOp::create(e.b, e.sub(e.splat(before), now16));
    Value total = e.splat(0.0f);
    for (int64_t p = 0; p < pieces; ++p) {
      Value weight = e.select(seen[p], math::ExpOp::create(e.b, e.sub(score[p], now16)), e.splat(0.0f));
      e.store(weight, weights, {q[r], e.index(p * lanes)});
      total = e.add(total, weight);
    }
    Value factor = vector::ExtractOp::create(e.b, correction, int64_t(0));
    Value sum = e.fma(e.loadScalar(sums, {q[r], zero}), factor, e.reduce(Combine::add, total));
    e.storeScalar(now, maxima, {q[r], zero});
    e.storeScalar(sum, sums, {q[r], zero});
    for (int64_t j = 0; j < paddedDim; j += lanes) {
      Value at = e.index(j);
      e.store(e.mul(e.load(outputs, {q[r], at}), correction), outputs, {q[r], at});
    }
  }

  // Output: 64 columns of all queries of the tile at a time stay in registers over the page's positions.
  for (int64_t j0 = 0; j0 < paddedDim; j0 += 4 * lanes) {
    int64_t columns = std::min<int64_t>(4, (paddedDim - j0) / lanes);
    SmallVector<Value> sum;
    for (int64_t r = 0; r < tileRows; ++r)
      for (int64_t c = 0; c < columns; ++c)
        sum.push_back(e.load(outputs, {q[r], e.index(j0 + c * lanes)}));
    sum = e.loop(zero, written, 1, sum, [&](Value t, ValueRange carried) {
      SmallVector<Value> next, value;
      for (int64_t c = 0; c < columns; ++c)
        value.push_back(e.load(values, {physical, kvHead, t, e.index(j0 + c * lanes)}));
      for (int64_t r = 0; r < tileRows; ++r) {
        Value weight = e.splat(e.loadScalar(weights, {q[r], t}));
        for (int64_t c = 0; c < columns; ++c)
          next.push_back(e.fma(weight, value[c], carried[r * columns + c]));
      }
      return next;
    });
    for (int64_t r = 0; r < tileRows; ++r)
      for (int64_t c = 0; c < columns; ++c)
        e.store(sum[r * columns + c], outputs, {q[r], e.index(j0 + c * lanes)});
  }
}

LogicalResult kern::buildAttention(KernelContext &k) { return AttentionBuilder(k).run(); }
