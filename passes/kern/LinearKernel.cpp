//===- LinearKernel.cpp - prologue, register tiles, epilogue ----------------===//
//
//   for the rows of this call:           prologue, once per row, into scratch
//     norm, quantize
//   for the column tiles of this call:
//     kern.unpack                        AMX: the panels as signed bytes, for all register tiles
//     for register tiles of rows, or all rows at once where they are enough for the schedule's library:
//       kern.dot                         one panel after another, into scratch
//       for each row:                    epilogue on the tile's columns
//         bias, norm per head, rope, gated, residual, store
//
//===----------------------------------------------------------------------===//
#include "passes/kern/KernelBuilder.h"
#include "passes/kern/KvPage.h"
#include "passes/kern/RowPrologue.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::kern;

namespace {

/// How far ahead of its use a stream of weights is asked for, in bytes.
constexpr int64_t streamAhead = 2048;

/// The epilogue of one row of one tile. Columns of the tile are static; values that an op over heads has made stand in
/// the tile itself.
class RowEpilogue {
public:
  RowEpilogue(KernelContext &k, Value tile, Value row, Value slot, Value tileIndex)
      : k(k), e(k.e), tile(tile), row(row), slot(slot), tileIndex(tileIndex) {}

  LogicalResult run();

private:
  /// Lanes [column, column + 16) of the segment's columns of a value.
  FailureOr<Value> chunk(Value value, int64_t column);
  LogicalResult runSegment(int64_t segment, int64_t firstTile);
  LogicalResult normHead(lm::NormOp norm);
  LogicalResult ropeHead(lm::RopeOp rope);
  LogicalResult storeRow(Value value, Value destination);
  LogicalResult append(lm::KvAppendOp op);
  bool belongs(Value value, int64_t segment) const {
    auto it = segmentOf.find(value);
    return it != segmentOf.end() && it->second == segment;
  }
  int64_t headWidth() const { return k.signature.pack.getDim(); }
  bool heads() const { return k.signature.pack.getOrder() == Order::heads; }
  bool interleaved() const { return k.signature.pack.getOrder() == Order::interleaved; }
  /// Columns of the value that one tile makes.
  int64_t tileColumns() const { return heads() ? headWidth() : interleaved() ? lanes : panelWidth; }
  Value columnOf(int64_t column);
  Value tileAt(int64_t column) { return e.load(tile, {slot, e.index(column)}); }

  KernelContext &k;
  Emitter &e;
  Value tile, row, slot, tileIndex;
  Value inTile;        ///< the value that stands in the tile now, biases added; null: the product
  Value localTile;     ///< tile's number within the segment
  int64_t current = 0; ///< segment
  llvm::DenseMap<Value, int64_t> segmentOf;
};

} // namespace

Value RowEpilogue::columnOf(int64_t column) { return e.add(e.mul(localTile, e.index(tileColumns())), e.index(column)); }

FailureOr<Value> RowEpilogue::chunk(Value value, int64_t column) {
  auto linear = cast<lm::LinearOp>(k.signature.anchor);
  if (value == inTile)
    return tileAt(column);
  if (auto argument = argumentOf(value)) {
    Value buffer = k.buffer(Argument::Kind::activation, argument);
    if (!buffer)
      return linear.emitOpError() << "expected an epilogue's operand to be activations";
    return e.loadValid(buffer, {row, columnOf(column)}, tileColumns() - column);
  }
  auto product = [&](int64_t at) {
    Value result = tileAt(at);
    if (linear.getBias()) {
      Value bias = k.buffer(Argument::Kind::weight, linear.getBias(), Part::vector);
      int64_t width = k.signature.panelsPerTile * panelWidth;
      result = e.add(result, e.load(bias, {e.add(e.mul(tileIndex, e.index(width)), e.index(at))}));
    }
    return result;
  };
  Operation *op = value.getDefiningOp();
  if (isa<lm::NormOp, lm::RopeOp, lm::LinearOp, lm::SplitOp>(op) && inTile)
    return op->emitOpError() << "expected no use of the value before a norm or rope beside it: they work in place";
  if (op == linear)
    return product(column);
  if (auto split = dyn_cast<lm::SplitOp>(op))
    return product(interleaved() ? column + cast<OpResult>(value).getResultNumber() * lanes : column);
  if (auto gated = dyn_cast<lm::GatedOp>(op)) {
    if (gated.getKind() != lm::ActivationKind::silu)
      return gated.emitOpError() << "expected silu: the CPU target has no other gated activation";
    auto gate = chunk(gated.getGate(), column), up = chunk(gated.getUp(), column);
    if (failed(gate) || failed(up))
      return failure();
    return e.mul(e.silu(*gate), *up);
  }
  if (auto add = dyn_cast<arith::AddFOp>(op)) {
    auto x = chunk(add.getLhs(), column), y = chunk(add.getRhs(), column);
    if (failed(x) || failed(y))
      return failure();
    return e.add(*x, *y);
  }
  return op->emitOpError() << "expected an epilogue that the CPU target knows (linear, split, gated, addf, norm per "
                              "head, rope, kv_append)";
}

LogicalResult RowEpilogue::normHead(lm::NormOp norm) {
  int64_t width = headWidth();
  SmallVector<Value> x;
  for (int64_t j = 0; j < width; j += lanes) {
    auto loaded = chunk(norm.getInput(), j);
    if (failed(loaded))
      return failure();
    x.push_back(width - j >= lanes ? *loaded : e.select(e.mask(width - j), *loaded, e.splat(0.0f)));
  }
  Value gain = k.buffer(Argument::Kind::weight, norm.getGain(), Part::vector);
  auto mean = [&](llvm::function_ref<Value(size_t)> term) {
    Value sum = term(0);
    for (size_t i = 1; i < x.size(); ++i)
      sum = e.add(sum, term(i));
    return e.splat(e.div(e.reduce(Combine::add, sum), e.constant(width)));
  };
  if (norm.getKind() == lm::NormKind::layer) {
    Value average = mean([&](size_t i) { return x[i]; });
    for (size_t i = 0; i < x.size(); ++i) {
      Value centred = e.sub(x[i], average);
      int64_t valid = width - i * lanes;
      x[i] = valid >= lanes ? centred : e.select(e.mask(valid), centred, e.splat(0.0f));
    }
  }
  Value square = mean([&](size_t i) { return e.mul(x[i], x[i]); });
  Value inverse = inverseRoot(e, square, norm.getEps().convertToDouble());
  for (auto [i, value] : llvm::enumerate(x)) {
    Value at = e.index(i * lanes);
    Value result = e.mul(e.mul(value, inverse), e.load(gain, {at}));
    if (norm.getBias())
      result = e.add(result, e.load(k.buffer(Argument::Kind::weight, norm.getBias(), Part::vector), {at}));
    e.store(result, tile, {slot, at});
  }
  inTile = norm.getResult();
  return success();
}

LogicalResult RowEpilogue::ropeHead(lm::RopeOp rope) {
  int64_t dim = rope.getDim(), half = dim / 2;
  bool interleavedPairs = rope.getRope().getLayout() == lm::RopeLayout::interleaved;
  Value low = k.ropeTable(rope, Part::rope_low), high = k.ropeTable(rope, Part::rope_high);
  Value position = e.batch(Field::row_position, row), span = e.index(ropeSpan);
  Value lowRow = arith::RemUIOp::create(e.b, position, span), highRow = arith::DivUIOp::create(e.b, position, span);
  if (inTile != rope.getInput()) {
    // Pairs are read at odd places, so the input has to stand in the tile as it is.
    for (int64_t j = 0; j < dim; j += lanes) {
      auto loaded = chunk(rope.getInput(), j);
      if (failed(loaded))
        return failure();
      e.store(*loaded, tile, {slot, e.index(j)});
    }
    inTile = rope.getInput();
  }

  // All pairs are read before any is written: with a half that is no multiple of 16 the pieces overlap.
  SmallVector<std::pair<Value, Value>> results;
  for (int64_t j = 0; j < half; j += lanes) {
    Value x, y;
    if (interleavedPairs) {
      auto both = vector::DeinterleaveOp::create(e.b, vector::LoadOp::create(e.b, VectorType::get({2 * lanes}, e.f32()),
                                                                             tile, ValueRange{slot, e.index(2 * j)})
                                                          .getResult());
      x = both.getRes1();
      y = both.getRes2();
    } else {
      x = tileAt(j);
      y = e.load(tile, {slot, e.index(half + j)});
    }
    Value at = e.index(j), zero = e.index(0), one = e.index(1);
    Value cosLow = e.load(low, {zero, lowRow, at}), sinLow = e.load(low, {one, lowRow, at});
    Value cosHigh = e.load(high, {zero, highRow, at}), sinHigh = e.load(high, {one, highRow, at});
    Value cos = e.sub(e.mul(cosHigh, cosLow), e.mul(sinHigh, sinLow));
    Value sin = e.add(e.mul(sinHigh, cosLow), e.mul(cosHigh, sinLow));
    results.emplace_back(e.sub(e.mul(x, cos), e.mul(y, sin)), e.add(e.mul(y, cos), e.mul(x, sin)));
  }
  if (interleavedPairs) {
    for (auto [i, pair] : llvm::enumerate(results))
      vector::StoreOp::create(e.b, vector::InterleaveOp::create(e.b, pair.first, pair.second).getResult(), tile,
                              ValueRange{slot, e.index(2 * i * lanes)});
  } else {
    for (auto [i, pair] : llvm::enumerate(results))
      e.store(pair.first, tile, {slot, e.index(i * lanes)});
    for (auto [i, pair] : llvm::enumerate(results))
      e.store(pair.second, tile, {slot, e.index(half + i * lanes)});
  }
  inTile = rope.getResult();
  return success();
}

LogicalResult RowEpilogue::storeRow(Value value, Value destination) {
  for (int64_t j = 0; j < tileColumns(); j += lanes) {
    auto loaded = chunk(value, j);
    if (failed(loaded))
      return failure();
    e.storeValid(*loaded, destination, {row, columnOf(j)}, tileColumns() - j);
  }
  return success();
}

LogicalResult RowEpilogue::append(lm::KvAppendOp op) {
  KvPage page(k, op, row);
  for (bool isKey : {true, false}) {
    Value value = isKey ? op.getKey() : op.getValue();
    if (!segmentOf.contains(value))
      return op.emitOpError() << "expected keys and values of one linear";
    if (!belongs(value, current))
      continue;
    SmallVector<Value> vectors;
    for (int64_t j = 0; j < headWidth(); j += lanes) {
      auto loaded = chunk(value, j);
      if (failed(loaded))
        return failure();
      vectors.push_back(*loaded);
    }
    page.append(vectors, isKey, localTile, headWidth());
  }
  return success();
}

LogicalResult RowEpilogue::runSegment(int64_t segment, int64_t firstTile) {
  current = segment;
  inTile = Value();
  localTile = firstTile == 0 ? tileIndex : e.sub(tileIndex, e.index(firstTile));
  for (Operation &op : k.signature.body().without_terminator()) {
    if (auto norm = dyn_cast<lm::NormOp>(op); norm && belongs(norm.getResult(), segment)) {
      if (failed(normHead(norm)))
        return failure();
    } else if (auto rope = dyn_cast<lm::RopeOp>(op); rope && belongs(rope.getResult(), segment)) {
      if (failed(ropeHead(rope)))
        return failure();
    } else if (auto kv = dyn_cast<lm::KvAppendOp>(op)) {
      if (failed(append(kv)))
        return failure();
    }
  }
  auto yield = cast<lm::YieldOp>(k.signature.body().getTerminator());
  for (auto [i, value] : llvm::enumerate(yield.getValues()))
    if (belongs(value, segment))
      if (failed(storeRow(value, k.output(i))))
        return failure();
  return success();
}

LogicalResult RowEpilogue::run() {
  // Which segment (result of the split) every epilogue value belongs to.
  Operation *anchor = k.signature.anchor;
  segmentOf[anchor->getResult(0)] = 0;
  for (Operation &op : k.signature.body().without_terminator()) {
    if (!anchor->isBeforeInBlock(&op) || isa<lm::KvAppendOp>(op))
      continue;
    if (auto split = dyn_cast<lm::SplitOp>(op)) {
      for (auto [i, result] : llvm::enumerate(split.getResults()))
        segmentOf[result] = interleaved() ? 0 : i;
      continue;
    }
    for (Value operand : op.getOperands())
      if (auto it = segmentOf.find(operand); it != segmentOf.end())
        for (Value result : op.getResults())
          segmentOf[result] = it->second;
  }
  for (Value value : k.signature.body().getTerminator()->getOperands())
    if (!isa<lm::KvType>(value.getType()) && !segmentOf.contains(value))
      return k.signature.anchor->emitOpError() << "expected its kernel to give values of the product only";
  int64_t first = 0;
  const auto &tiles = k.signature.segmentTiles;
  for (size_t s = 0; s < tiles.size(); ++s) {
    LogicalResult done = success();
    if (tiles.size() == 1) {
      done = runSegment(0, 0);
    } else {
      Value inside = arith::AndIOp::create(e.b, e.compare(arith::CmpIPredicate::sge, tileIndex, e.index(first)),
                                           e.compare(arith::CmpIPredicate::slt, tileIndex, e.index(first + tiles[s])));
      e.when(inside, [&] { done = runSegment(s, first); });
    }
    if (failed(done))
      return failure();
    first += tiles[s];
  }
  return success();
}

LogicalResult kern::buildLinear(KernelContext &k) {
  Emitter &e = k.e;
  auto linear = cast<lm::LinearOp>(k.signature.anchor);
  auto range = ProgramIdOp::create(
      e.b, TypeRange{e.b.getIndexType(), e.b.getIndexType(), e.b.getIndexType(), e.b.getIndexType()});
  Value u0 = range.getUnitBegin(), u1 = range.getUnitEnd();
  int64_t rows = k.schedule.getRows();

  RowPrologue prologue(k);
  if (failed(prologue.prepare(linear)))
    return failure();
  LogicalResult made = success();
  if (prologue.computes()) {
    Value no = arith::ConstantOp::create(e.b, e.b.getBoolAttr(false));
    Value fresh = e.compare(arith::CmpIPredicate::eq, PreparedOp::create(e.b, e.b.getI1Type()), no);
    e.when(fresh, [&] {
      e.loop(u0, u1, 1, [&](Value unit) { made = prologue.row(unit, e.sub(unit, u0)); });
      prologue.pad(e.sub(u1, u0));
    });
  }
  if (failed(made))
    return failure();

  StringAttr library = k.schedule.getLibrary();
  int64_t most = library ? k.schedule.getUnitBlock() : rows; // rows of a product
  Value tile = e.scratch({most, k.signature.panelsPerTile * panelWidth}, e.f32());
  SmallVector<Value> weight;
  int64_t width = widthOf(linear.getInput());
  CodingAttr coding = codingOf(cast<RankedTensorType>(linear.getWeight().getType()));
  IntegerAttr inputGroup;
  SmallVector<Part> parts{Part::values};
  if (coding) {
    inputGroup = e.b.getI64IntegerAttr(lm::quantOf(linear.getInput().getType()).getGroup());
    parts = coding.parts();
  }
  for (Part part : parts)
    weight.push_back(k.buffer(Argument::Kind::weight, linear.getWeight(), part));

  auto streamed = cast<MemRefType>(weight.front().getType());
  int64_t tileBytes = k.signature.panelsPerTile * streamed.getElementTypeBitWidth() / 8;
  for (int64_t size : streamed.getShape().drop_front())
    tileBytes *= size;
  Value unpacked, enough; // AMX: the panels of a column tile, and whether this call has rows for it
  if (k.usesAmx(coding)) {
    unpacked = e.scratch(coding.unpackedType(k.signature.panelsPerTile, width, inputGroup.getInt()).getShape(),
                         e.b.getI8Type());
    enough = e.compare(arith::CmpIPredicate::sge, e.sub(u1, u0), e.index(k.schedule.getAmxRows()));
  }
  auto panelOf = [&](Value t, int64_t p) {
    return k.signature.panelsPerTile == 1 ? t : e.add(e.mul(t, e.index(k.signature.panelsPerTile)), e.index(p));
  };

  e.loop(range.getTileBegin(), range.getTileEnd(), 1, [&](Value t) {
    if (unpacked)
      e.when(enough, [&] {
        for (int64_t p = 0; p < k.signature.panelsPerTile; ++p)
          UnpackOp::create(e.b, weight, panelOf(t, p), unpacked, e.index(p), width, coding, inputGroup.getInt());
      });
    // Evenly: 8 rows by tiles of 6 are 4 and 4, since a tile of few rows costs nearly as much as a whole one.
    Value total = e.sub(u1, u0), parts = arith::CeilDivUIOp::create(e.b, total, e.index(rows)), leaves;
    if (library) {
      leaves = e.compare(arith::CmpIPredicate::sge, total, e.index(k.schedule.getLibraryRows()));
      parts = e.select(leaves, e.index(1), parts);
    }
    e.loop(e.index(0), parts, 1, [&](Value part) {
      auto bound = [&](Value number) { return e.add(u0, arith::DivUIOp::create(e.b, e.mul(total, number), parts)); };
      Value unit = bound(part), count = e.sub(bound(e.add(part, e.index(1))), unit);
      Value inputRow = prologue.computes() ? e.sub(unit, u0) : unit;
      // Few rows take a panel as fast as memory gives it. More, or the last of several parts, which find the panel in
      // the cache, ask for the next tile's: memory would rest meanwhile.
      Value one = e.compare(arith::CmpIPredicate::eq, parts, e.index(1));
      Value few = e.compare(arith::CmpIPredicate::ule, count, e.index(rows / 2));
      Value last = e.compare(arith::CmpIPredicate::eq, e.add(part, e.index(1)), parts);
      Value follows = e.compare(arith::CmpIPredicate::ne, e.add(t, e.index(1)), range.getTileEnd());
      Value streams = arith::AndIOp::create(e.b, one, few), next = arith::AndIOp::create(e.b, last, follows);
      Value behind = e.select(next, e.index(tileBytes), e.index(0));
      Value ahead = e.select(streams, e.index(streamAhead), behind);
      for (int64_t p = 0; p < k.signature.panelsPerTile; ++p) {
        auto product = [&](int64_t most, StringAttr library) {
          DotOp::create(e.b, count, e.b.getI64IntegerAttr(most), prologue.arrays(), inputRow, weight, panelOf(t, p),
                        tile, e.index(p * panelWidth), unpacked, unpacked ? e.index(p) : Value(),
                        e.b.getI64IntegerAttr(width), coding, inputGroup, library ? Value() : ahead, library);
        };
        if (library)
          e.either(leaves, [&] { product(most, library); }, [&] { product(rows, {}); });
        else
          product(rows, {});
      }
      e.loop(e.index(0), count, 1, [&](Value slot) {
        if (failed(RowEpilogue(k, tile, e.add(unit, slot), slot, t).run()))
          made = failure();
      });
    });
  });
  return made;
}
