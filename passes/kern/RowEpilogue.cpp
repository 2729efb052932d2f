//===- RowEpilogue.cpp - what happens to a row of a product -----------------===//
//
// Bias, norm per head, rope, gated, residual and store, on the columns of one tile.
//
//===----------------------------------------------------------------------===//
#include "passes/kern/RowEpilogue.h"

#include "passes/kern/KvPage.h"
#include "passes/kern/RowPrologue.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::kern;

namespace {

/// Cosine and sine of a row's angles, by the addition theorem from the two tables.
struct RopeAngles {
  Emitter &e;
  Value low, high, lowRow, highRow;

  RopeAngles(KernelContext &k, lm::RopeOp rope, Value row)
      : e(k.e), low(k.ropeTable(rope, Part::rope_low)), high(k.ropeTable(rope, Part::rope_high)) {
    Value position = e.batch(Field::row_position, row), span = e.index(ropeSpan);
    lowRow = arith::RemUIOp::create(e.b, position, span);
    highRow = arith::DivUIOp::create(e.b, position, span);
  }

  /// Of 16 pairs from one on.
  std::pair<Value, Value> at(Value pair) {
    Value zero = e.index(0), one = e.index(1);
    Value cosLow = e.load(low, {zero, lowRow, pair}), sinLow = e.load(low, {one, lowRow, pair});
    Value cosHigh = e.load(high, {zero, highRow, pair}), sinHigh = e.load(high, {one, highRow, pair});
    Value cos = e.sub(e.mul(cosHigh, cosLow), e.mul(sinHigh, sinLow));
    Value sin = e.add(e.mul(sinHigh, cosLow), e.mul(cosHigh, sinLow));
    return {cos, sin};
  }
};

} // namespace

Value RowEpilogue::columnOf(const Column &column) {
  Value first = e.mul(localTile, e.index(tileColumns()));
  return e.add(first, e.at(column));
}

FailureOr<Value> RowEpilogue::chunk(Value value, const Column &column) {
  auto linear = cast<lm::LinearOp>(k.signature.anchor);
  if (value == inTile) {
    Emitter::At here(e, value.getDefiningOp());
    return tileAt(column);
  }
  if (auto argument = argumentOf(value)) {
    Value buffer = k.buffer(Argument::Kind::activation, argument);
    if (!buffer)
      return linear.emitOpError() << "expected an epilogue's operand to be activations";
    return e.loadValid(buffer, {row, columnOf(column)}, column.valid);
  }
  auto product = [&](const Column &at) {
    Value result = tileAt(at);
    if (linear.getBias()) {
      Value bias = k.buffer(Argument::Kind::weight, linear.getBias(), Part::vector);
      int64_t width = k.signature.panelsPerTile * panelWidth;
      result = e.add(result, e.load(bias, {e.add(e.mul(tileIndex, e.index(width)), e.at(at))}));
    }
    return result;
  };
  Operation *op = value.getDefiningOp();
  Emitter::At here(e, op);
  if (isa<lm::NormOp, lm::RopeOp, lm::LinearOp, lm::SplitOp>(op) && inTile)
    return op->emitOpError() << "expected no use of the value before a norm or rope beside it: they work in place";
  if (op == linear)
    return product(column);
  if (auto split = dyn_cast<lm::SplitOp>(op))
    return product(interleaved() ? Column{column.base, column.offset + cast<OpResult>(value).getResultNumber() * lanes}
                                 : column);
  if (auto gated = dyn_cast<lm::GatedOp>(op)) {
    if (gated.getKind() != lm::ActivationKind::silu)
      return gated.emitOpError() << "expected silu: there is no other gated activation yet";
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
  return op->emitOpError() << "expected an epilogue that kernels know (linear, split, gated, addf, norm per "
                              "head, rope, kv_append)";
}

LogicalResult RowEpilogue::normHead(lm::NormOp norm) {
  Emitter::At at(e, norm);
  if (e.device && norm.getKind() == lm::NormKind::rms && headWidth() % lanes == 0 && headWidth() > lanes)
    return normHeadInTile(norm);
  int64_t width = headWidth();
  SmallVector<Value> x;
  for (int64_t j = 0; j < width; j += lanes) {
    auto loaded = chunk(norm.getInput(), Column{{}, j, width - j});
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

LogicalResult RowEpilogue::normHeadInTile(lm::NormOp norm) {
  int64_t width = headWidth();
  LogicalResult made = success();
  auto x = [&](Value column) {
    auto loaded = chunk(norm.getInput(), Column{column, 0, lanes});
    if (failed(loaded))
      made = failure();
    return failed(loaded) ? e.splat(0.0f) : *loaded;
  };
  Value squares = e.loop(e.index(0), e.index(width), lanes, {e.splat(0.0f)},
                         [&](Value column, ValueRange carried) -> SmallVector<Value> {
                           name(column, "column");
                           Value loaded = x(column);
                           return {e.add(carried[0], e.mul(loaded, loaded))};
                         })[0];
  Value square = e.splat(e.div(e.reduce(Combine::add, squares), e.constant(width)));
  Value inverse = inverseRoot(e, square, norm.getEps().convertToDouble());
  Value gain = k.buffer(Argument::Kind::weight, norm.getGain(), Part::vector);
  e.loop(e.index(0), e.index(width), lanes, [&](Value column) {
    name(column, "column");
    Value result = e.mul(e.mul(x(column), inverse), e.load(gain, {column}));
    if (norm.getBias())
      result = e.add(result, e.load(k.buffer(Argument::Kind::weight, norm.getBias(), Part::vector), {column}));
    e.store(result, tile, {slot, column});
  });
  inTile = norm.getResult();
  return made;
}

LogicalResult RowEpilogue::ropeHalves(lm::RopeOp rope) {
  int64_t half = static_cast<int64_t>(rope.getDim()) / 2;
  RopeAngles angles(k, rope, row);
  LogicalResult made = success();
  e.columns(half, [&](const Column &c) {
    Value at = e.at(c), other = e.add(at, e.index(half));
    auto x = chunk(rope.getInput(), c), y = chunk(rope.getInput(), Column{other, 0, lanes});
    if (failed(x) || failed(y)) {
      made = failure();
      return;
    }
    auto [cos, sin] = angles.at(at);
    e.store(e.sub(e.mul(*x, cos), e.mul(*y, sin)), tile, {slot, at});
    e.store(e.add(e.mul(*y, cos), e.mul(*x, sin)), tile, {slot, other});
  });
  // Columns that are not rotated stand in the tile too, biases added.
  if (inTile != rope.getInput())
    for (int64_t j = 2 * half; j < headWidth(); j += lanes) {
      auto loaded = chunk(rope.getInput(), Column{{}, j, headWidth() - j});
      if (failed(loaded))
        return failure();
      e.store(*loaded, tile, {slot, e.index(j)});
    }
  inTile = rope.getResult();
  return made;
}

LogicalResult RowEpilogue::ropeHead(lm::RopeOp rope) {
  Emitter::At at(e, rope);
  if (e.device && rope.getDim() % (2 * lanes) == 0 && rope.getRope().getLayout() != lm::RopeLayout::interleaved)
    return ropeHalves(rope);
  int64_t dim = rope.getDim(), half = dim / 2;
  bool interleavedPairs = rope.getRope().getLayout() == lm::RopeLayout::interleaved;
  RopeAngles angles(k, rope, row);
  if (inTile != rope.getInput()) {
    // Pairs are read at odd places, so the input has to stand in the tile as it is.
    for (int64_t j = 0; j < dim; j += lanes) {
      auto loaded = chunk(rope.getInput(), Column{{}, j, dim - j});
      if (failed(loaded))
        return failure();
      e.store(*loaded, tile, {slot, e.index(j)});
    }
    inTile = rope.getInput();
  }

  // All pairs are read before any is written: with a half that is no multiple of 16 the pieces overlap.
  e.sync();
  SmallVector<std::pair<Value, Value>> results;
  for (int64_t j = 0; j < half; j += lanes) {
    Value x, y;
    if (interleavedPairs && e.device) {
      for (Value *of : {&x, &y})
        *of = LoadAlongOp::create(e.b, e.vec(), tile, ValueRange{slot, e.index(2 * j + (of == &y))}, 1, 2);
    } else if (interleavedPairs) {
      auto both = vector::DeinterleaveOp::create(e.b, vector::LoadOp::create(e.b, VectorType::get({2 * lanes}, e.f32()),
                                                                             tile, ValueRange{slot, e.index(2 * j)})
                                                          .getResult());
      x = both.getRes1();
      y = both.getRes2();
    } else {
      x = tileAt({{}, j});
      y = e.load(tile, {slot, e.index(half + j)});
    }
    auto [cos, sin] = angles.at(e.index(j));
    results.emplace_back(e.sub(e.mul(x, cos), e.mul(y, sin)), e.add(e.mul(y, cos), e.mul(x, sin)));
  }
  e.sync();
  if (interleavedPairs && e.device) {
    for (auto [i, pair] : llvm::enumerate(results))
      for (int64_t odd : {0, 1})
        StoreAlongOp::create(e.b, odd ? pair.second : pair.first, tile, ValueRange{slot, e.index(2 * i * lanes + odd)},
                             1, 2);
  } else if (interleavedPairs) {
    for (auto [i, pair] : llvm::enumerate(results))
      vector::StoreOp::create(e.b, vector::InterleaveOp::create(e.b, pair.first, pair.second).getResult(), tile,
                              ValueRange{slot, e.index(2 * i * lanes)});
  } else {
    // A CPU writes the second half over what the first one's last lanes left there.
    for (auto [i, pair] : llvm::enumerate(results))
      e.storeValid(pair.first, tile, {slot, e.index(i * lanes)}, e.device ? half - i * lanes : lanes);
    for (auto [i, pair] : llvm::enumerate(results))
      e.store(pair.second, tile, {slot, e.index(half + i * lanes)});
  }
  e.sync();
  inTile = rope.getResult();
  return success();
}

LogicalResult RowEpilogue::storeRow(Value value, Value destination) {
  Emitter::At at(e, value.getDefiningOp());
  LogicalResult made = success();
  e.columns(tileColumns(), [&](const Column &c) {
    auto loaded = chunk(value, c);
    if (failed(loaded))
      made = failure();
    else
      e.storeValid(*loaded, destination, {row, columnOf(c)}, c.valid);
  });
  return made;
}

LogicalResult RowEpilogue::append(lm::KvAppendOp op) {
  Emitter::At at(e, op);
  KvPage page(k, op, row);
  for (bool isKey : {true, false}) {
    Value value = isKey ? op.getKey() : op.getValue();
    if (!segmentOf.contains(value))
      return op.emitOpError() << "expected keys and values of one linear";
    if (!belongs(value, current))
      continue;
    LogicalResult made = success();
    auto load = [&](const Column &c) {
      auto loaded = chunk(value, c);
      if (failed(loaded))
        made = failure();
      return failed(loaded) ? e.splat(0.0f) : *loaded;
    };
    // A GPU's pages are padded further: the product's padding is zero.
    int64_t padded = paddedHead(headWidth(), e.device);
    SmallVector<Value> vectors;
    if (e.device)
      page.appendOnDevice(load, isKey, localTile, padded);
    else
      e.columns(padded, [&](const Column &c) { vectors.push_back(load(c)); });
    if (failed(made))
      return failure();
    if (!e.device)
      page.append(vectors, isKey, localTile, headWidth());
  }
  return success();
}

LogicalResult RowEpilogue::runSegment(int64_t segment, int64_t firstTile) {
  current = segment;
  inTile = Value();
  localTile = tileIndex;
  if (firstTile != 0) { // belongs to all that follows: a heading would name one op of it
    Location here = e.b.getLoc();
    e.b.setLoc(e.b.getUnknownLoc());
    localTile = e.sub(tileIndex, e.index(firstTile));
    e.b.setLoc(here);
  }
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
