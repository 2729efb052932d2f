//===- RowPrologue.cpp - what happens to a row before the product -----------===//
#include "passes/kern/RowPrologue.h"

#include "runtime/TierName.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "llvm/Support/SaveAndRestore.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::kern;

Value kern::inverseRoot(Emitter &e, Value meanOfSquares, double eps) {
  return e.div(e.splat(1.0f), math::SqrtOp::create(e.b, e.add(meanOfSquares, e.splat(static_cast<float>(eps)))));
}

LogicalResult RowPrologue::prepare(lm::LinearOp linear) {
  Value value = input = linear.getInput();
  auto weight = cast<RankedTensorType>(linear.getWeight().getType());
  coding = codingOf(weight);
  rounded = weight.getElementType().isBF16() && tierHas(k.schedule.getTarget().getValue(), "bf16");
  padding = k.usesAmx(coding) ? k.schedule.getRows() : 0;
  int64_t width = widthOf(value), block = k.schedule.getUnitBlock() + padding;
  if (e.device) {
    zeros = roundUp(width, deviceBlock(weight.getElementType()));
    if (value.getDefiningOp<lm::QuantizeOp>())
      return linear.emitOpError() << "expected an input in floats on a GPU, whose weights alone are quantised";
    if (readsGlobalRows(linear, block)) {
      scratch = {k.buffer(Argument::Kind::activation, value)};
      return success();
    }
    // An odd number of 64 bytes: of two rows side by side each has half of the banks.
    Type element = deviceRowElement(linear);
    int64_t span = deviceBlock(element);
    scratch = {e.scratch({block, (zeros / span | 1) * span}, element)};
    name(scratch.front(), "input");
    computed = true;
    return success();
  }
  if (coding && !value.getDefiningOp<lm::QuantizeOp>())
    return linear.emitOpError() << "expected an input in codes on a CPU, whose products with codes are of integers";
  if (auto quantize = value.getDefiningOp<lm::QuantizeOp>()) {
    int64_t group = lm::quantOf(quantize.getResult().getType()).getGroup(), groups = ceilDiv(width, group);
    if (group % lanes != 0)
      return quantize.emitOpError() << "expected groups of a multiple of " << lanes << " on this target, found "
                                    << group;
    scratch = {e.scratch({block, roundUp(width, lanes)}, e.b.getI8Type()), e.scratch({block, groups}, e.f32()),
               e.scratch({block, ceilDiv(width, std::min(group, coding.getGroup()))}, e.b.getI32Type())};
    if (coding.getMinimum())
      scratch.push_back(e.scratch({block, ceilDiv(width, coding.getGroup())}, e.f32()));
    computed = true;
  } else if (argumentOf(value) && !rounded) {
    Value buffer = k.buffer(Argument::Kind::activation, value);
    if (!buffer)
      return k.signature.anchor->emitOpError() << "expected the input to be activations";
    scratch = {buffer};
  } else {
    scratch = {e.scratch({block, roundUp(width, lanes)}, rounded ? Type(e.b.getBF16Type()) : e.f32())};
    computed = true;
  }
  return success();
}

FailureOr<Value> RowPrologue::chunk(Value value, Value column, int64_t valid) {
  if (argumentOf(value)) {
    Value buffer = k.buffer(Argument::Kind::activation, value);
    if (!buffer)
      return k.signature.anchor->emitOpError() << "expected a prologue's operand to be activations";
    return e.loadValid(buffer, {sourceRow, column}, valid);
  }
  Operation *op = value.getDefiningOp();
  Emitter::At here(e, op);
  if (auto select = dyn_cast<lm::SelectRowsOp>(op))
    return chunk(select.getInput(), column, valid);
  if (auto norm = dyn_cast<lm::NormOp>(op)) {
    auto x = chunk(norm.getInput(), column, valid);
    if (failed(x))
      return failure();
    Statistics s = statistics.lookup(op);
    Value centred = s.mean ? e.sub(*x, s.mean) : *x;
    // Gains and biases are padded to 16 lanes, which a vector of a whole block reaches over.
    auto along = [&](Value vector) {
      return e.loadValid(k.buffer(Argument::Kind::weight, vector, Part::vector), {column}, e.device ? valid : e.width);
    };
    Value result = e.mul(e.mul(centred, s.inverse), along(norm.getGain()));
    if (norm.getBias())
      result = e.add(result, along(norm.getBias()));
    return result;
  }
  if (auto add = dyn_cast<arith::AddFOp>(op)) {
    auto x = chunk(add.getLhs(), column, valid), y = chunk(add.getRhs(), column, valid);
    if (failed(x) || failed(y))
      return failure();
    return e.add(*x, *y);
  }
  if (auto gated = dyn_cast<lm::GatedOp>(op); gated && gated.getKind() == lm::ActivationKind::silu) {
    auto gate = chunk(gated.getGate(), column, valid), up = chunk(gated.getUp(), column, valid);
    if (failed(gate) || failed(up))
      return failure();
    return e.mul(e.silu(*gate), *up);
  }
  return op->emitOpError()
         << "expected a prologue that the CPU target knows (select_rows, norm, quantize, addf, gated silu)";
}

FailureOr<Value> RowPrologue::sumChunks(int64_t width, Term body) {
  int64_t full = width / e.width * e.width;
  LogicalResult made = success();
  Value sum = e.splat(0.0f);
  if (full != 0)
    sum =
        e.loop(e.index(0), e.index(full), e.width, {sum}, [&](Value column, ValueRange carried) -> SmallVector<Value> {
          auto term = body(column, e.width);
          if (failed(term)) {
            made = failure();
            return {carried[0]};
          }
          return {e.add(carried[0], *term)};
        })[0];
  if (failed(made))
    return failure();
  if (full != width) {
    auto term = body(e.index(full), width - full);
    if (failed(term))
      return failure();
    sum = e.add(sum, *term);
  }
  return sum;
}

FailureOr<Value> RowPrologue::sumRow(int64_t width, Term term) {
  auto sum = sumChunks(width, term);
  if (failed(sum))
    return failure();
  return e.reduce(Combine::add, *sum);
}

SmallVector<lm::NormOp> RowPrologue::norms(bool &selects) {
  SmallVector<lm::NormOp> found;
  selects = false;
  for (Operation &op : k.signature.body().without_terminator()) {
    if (&op == k.signature.anchor)
      break;
    selects |= isa<lm::SelectRowsOp>(op);
    if (auto norm = dyn_cast<lm::NormOp>(op))
      found.push_back(norm);
  }
  return found;
}

LogicalResult RowPrologue::measure(lm::NormOp norm) {
  Emitter::At at(e, norm);
  int64_t width = widthOf(norm.getInput());
  if (norm.getPer())
    return norm.emitOpError() << "expected a norm over the whole row in a prologue";
  Statistics s;
  auto mean = [&](llvm::function_ref<Value(Value, int64_t)> term) -> FailureOr<Value> {
    auto sum = sumRow(width, [&](Value column, int64_t valid) -> FailureOr<Value> {
      auto x = chunk(norm.getInput(), column, valid);
      if (failed(x))
        return failure();
      return term(*x, valid);
    });
    if (failed(sum))
      return failure();
    return e.splat(e.div(*sum, e.constant(width)));
  };
  if (norm.getKind() == lm::NormKind::layer) {
    auto average = mean([](Value x, int64_t) { return x; });
    if (failed(average))
      return failure();
    s.mean = *average;
  }
  auto square = mean([&](Value x, int64_t valid) {
    if (s.mean) {
      x = e.sub(x, s.mean);
      if (valid < e.width)
        x = e.select(e.mask(valid), x, e.splat(0.0f));
    }
    return e.mul(x, x);
  });
  if (failed(square))
    return failure();
  s.inverse = inverseRoot(e, *square, norm.getEps().convertToDouble());
  statistics[norm] = s;
  return success();
}

LogicalResult RowPrologue::quantizeGroup(lm::QuantizeOp quantize, Value slot, Value number, int64_t columns) {
  int64_t group = lm::quantOf(quantize.getResult().getType()).getGroup();
  Value first = e.mul(number, e.index(group));
  SmallVector<Value> x;
  Value largest = e.splat(0.0f);
  for (int64_t j = 0; j < columns; j += lanes) {
    int64_t valid = std::min(lanes, columns - j);
    auto loaded = chunk(quantize.getInput(), e.add(first, e.index(j)), valid);
    if (failed(loaded))
      return failure();
    // A norm's bias may have filled the lanes behind the row's end.
    x.push_back(valid == lanes ? *loaded : e.select(e.mask(valid), *loaded, e.splat(0.0f)));
    largest = e.max(largest, math::AbsFOp::create(e.b, x.back()));
  }
  Value absmax = e.reduce(Combine::max, largest);
  Value some = arith::CmpFOp::create(e.b, arith::CmpFPredicate::OGT, absmax, e.constant(0.0f));
  Value inverse = e.splat(e.select(some, e.div(e.constant(127.0f), absmax), e.constant(0.0f)));
  e.storeScalar(e.div(absmax, e.constant(127.0f)), scratch[1], {slot, number});

  // What the weights' bias adds too much: one number for each unit whose sum the product makes in integers.
  auto ints = VectorType::get({lanes}, e.b.getI32Type());
  int64_t perUnit = std::min(group, coding.getGroup()) / lanes, units = group / (perUnit * lanes);
  Value sum;
  for (auto [i, value] : llvm::enumerate(x)) {
    Value rounded = math::RoundEvenOp::create(e.b, e.mul(value, inverse));
    Value code = arith::FPToSIOp::create(e.b, ints, rounded);
    sum = sum ? e.add(sum, code) : code;
    vector::StoreOp::create(e.b,
                            arith::TruncIOp::create(e.b, VectorType::get({lanes}, e.b.getI8Type()), code).getResult(),
                            scratch[0], ValueRange{slot, e.add(first, e.index(i * lanes))});
    int64_t done = static_cast<int64_t>(i) + 1;
    if (done % perUnit != 0 && done != static_cast<int64_t>(x.size()))
      continue;
    // The sum itself where minima want it too; sumGroups turns it into the offset then.
    Value factor = arith::ConstantOp::create(e.b, e.b.getI32IntegerAttr(coding.getMinimum() ? 1 : -coding.getBias()));
    Value unit = e.add(e.mul(number, e.index(units)), e.index((done - 1) / perUnit));
    e.storeScalar(e.mul(e.reduce(Combine::add, sum), factor), scratch[2], {slot, unit});
    sum = Value();
  }
  return success();
}

void RowPrologue::sumGroups(int64_t width, int64_t inputGroup, Value slot) {
  int64_t group = coding.getGroup(), unit = std::min(group, inputGroup), units = ceilDiv(width, unit);
  auto one = [&](Value number, int64_t count) {
    Value sum = e.constant(0.0f);
    for (int64_t u = 0; u < count; ++u) {
      Value at = e.add(e.mul(number, e.index(group / unit)), e.index(u));
      Value codes = e.loadScalar(scratch[2], {slot, at});
      Value scale = e.loadScalar(
          scratch[1], {slot, unit == inputGroup ? at : arith::DivUIOp::create(e.b, at, e.index(inputGroup / unit))});
      sum = e.fma(arith::SIToFPOp::create(e.b, e.f32(), codes), scale, sum);
      Value minus = arith::ConstantOp::create(e.b, e.b.getI32IntegerAttr(-coding.getBias()));
      e.storeScalar(e.mul(codes, minus), scratch[2], {slot, at});
    }
    e.storeScalar(sum, scratch[3], {slot, number});
  };
  int64_t perGroup = group / unit, whole = units / perGroup;
  if (whole != 0)
    e.loop(e.index(0), e.index(whole), 1, [&](Value number) { one(number, perGroup); });
  if (units % perGroup != 0)
    one(e.index(whole), units % perGroup);
}

LogicalResult RowPrologue::quantizeRow(lm::QuantizeOp quantize, Value slot) {
  int64_t width = widthOf(quantize.getInput()), group = lm::quantOf(quantize.getResult().getType()).getGroup();
  LogicalResult made = success();
  if (width >= group)
    e.loop(e.index(0), e.index(width / group), 1,
           [&](Value number) { made = quantizeGroup(quantize, slot, number, group); });
  if (succeeded(made) && width % group != 0)
    made = quantizeGroup(quantize, slot, e.index(width / group), width % group);
  if (succeeded(made) && coding.getMinimum())
    sumGroups(width, group, slot);
  return made;
}

void RowPrologue::pad(Value slot) {
  if (padding == 0)
    return;
  e.loop(slot, e.add(slot, e.index(padding)), 1, [&](Value row) {
    for (size_t array : {1, 3}) { // scales, and sums where there are minima: what stands there may be no number
      if (array >= scratch.size())
        continue;
      int64_t width = cast<MemRefType>(scratch[array].getType()).getDimSize(1), full = width / lanes * lanes;
      e.loop(e.index(0), e.index(full), lanes,
             [&](Value column) { e.store(e.splat(0.0f), scratch[array], {row, column}); });
      if (full != width)
        e.storeValid(e.splat(0.0f), scratch[array], {row, e.index(full)}, width - full);
    }
  });
}

LogicalResult RowPrologue::row(Value unit, Value slot) {
  llvm::SaveAndRestore width(e.width, e.device ? blockThreads : lanes);
  bool selects;
  SmallVector<lm::NormOp> before = norms(selects);
  sourceRow = selects ? e.batch(Field::logit_row, unit) : unit;
  for (lm::NormOp norm : before)
    if (failed(measure(norm)))
      return failure();
  if (auto quantize = input.getDefiningOp<lm::QuantizeOp>())
    return quantizeRow(quantize, slot);

  int64_t columns = widthOf(input), full = columns / e.width * e.width;
  LogicalResult made = success();
  auto copy = [&](Value column, int64_t valid) {
    auto value = chunk(input, column, valid);
    if (failed(value)) {
      made = failure();
      return;
    }
    // Of an odd width, a product of pairs reads one lane behind the row's end.
    bool whole = valid == e.width || !rounded;
    e.store(whole ? *value : e.select(e.mask(valid), *value, e.splat(0.0f)), scratch[0], {slot, column});
  };
  if (full != 0)
    e.loop(e.index(0), e.index(full), e.width, [&](Value column) { copy(column, e.width); });
  if (!e.device && full != columns)
    copy(e.index(full), columns - full);
  for (int64_t column = full; e.device && column < zeros; column += e.width)
    if (failed(fill(e.index(column), std::max<int64_t>(0, columns - column), zeros - column, slot)))
      return failure();
  return made;
}

LogicalResult RowPrologue::fill(Value column, int64_t valid, int64_t count, Value slot) {
  std::optional<Emitter::At> at;
  if (Operation *op = input.getDefiningOp())
    at.emplace(e, op);
  Value value = e.splat(0.0f);
  if (valid > 0) {
    auto some = chunk(input, column, valid);
    if (failed(some))
      return failure();
    value = e.select(e.mask(valid), *some, value);
  }
  e.storeValid(value, scratch[0], {slot, column}, count);
  return success();
}
