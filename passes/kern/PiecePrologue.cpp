//===- PiecePrologue.cpp - what happens to many rows before the product -----===//
#include "passes/kern/PiecePrologue.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::kern;

LogicalResult PiecePrologue::prepare(lm::LinearOp linear) {
  input = linear.getInput();
  if (input.getDefiningOp<lm::QuantizeOp>())
    return linear.emitOpError() << "expected an input in floats on a GPU, whose weights alone are quantised";
  auto weight = cast<RankedTensorType>(linear.getWeight().getType());
  zeros = roundUp(widthOf(input), deviceBlock(weight.getElementType()));
  depth = k.schedule.getDepth();
  int64_t rows = k.schedule.getUnitBlock();
  scratch = {e.scratch({gemmStages, depth / gemmPart, rows, gemmPart}, e.b.getBF16Type())};
  name(scratch.front(), "input");
  for (lm::NormOp norm : norms(selects)) {
    Kept of{.norm = norm, .mean = {}, .inverse = e.scratch({rows, lanes}, e.f32())};
    name(of.inverse, "inverse");
    if (norm.getKind() == lm::NormKind::layer) {
      of.mean = e.scratch({rows, lanes}, e.f32());
      name(of.mean, "mean");
    }
    kept.push_back(of);
  }
  return success();
}

/// In the order of kern.reduce on a vector of a whole block, whose thread t has columns t, t + 256, … : first the 16
/// threads of a group, then the two groups of a warp, then the warps. A group makes here what all of them make there.
FailureOr<Value> PiecePrologue::sumRow(int64_t width, Term term) {
  int64_t full = width / lanes * lanes, used = std::min(blockThreads, roundUp(width, lanes)); // of others the sum is 0
  LogicalResult made = success();
  auto added = [&](Value sum, Value column, int64_t valid) {
    auto some = term(column, valid);
    if (failed(some)) {
      made = failure();
      return sum;
    }
    return e.add(sum, *some);
  };
  auto sum = [&](Value first, int64_t end, int64_t step, Value zero, llvm::function_ref<Value(Value, Value)> more) {
    return e.loop(first, e.index(end), step, {zero},
                  [&](Value i, ValueRange carried) -> SmallVector<Value> { return {more(i, carried[0])}; })[0];
  };
  auto group = [&](Value first) {
    Value chain =
        sum(first, full, blockThreads, e.splat(0.0f), [&](Value column, Value so) { return added(so, column, lanes); });
    if (full != width) { // the last columns are of the group that has fewer than 16 of them
      Value here = e.compare(arith::CmpIPredicate::eq, first, e.index(full % blockThreads));
      chain = e.select(here, added(chain, e.index(full), width - full), chain);
    }
    return e.reduce(Combine::add, chain);
  };
  Value total = sum(e.index(0), used, 2 * lanes, e.constant(0.0f), [&](Value warp, Value so) {
    name(warp, "warp_first");
    Value both = sum(e.index(0), 2 * lanes, lanes, e.constant(0.0f),
                     [&](Value half, Value one) { return e.add(one, group(e.add(warp, half))); });
    return e.add(so, both);
  });
  if (failed(made))
    return failure();
  return total;
}

LogicalResult PiecePrologue::measureRow(Value unit, Value slot) {
  sourceRow = selects ? e.batch(Field::logit_row, unit) : unit;
  for (Kept &of : kept) {
    Emitter::At at(e, of.norm);
    if (failed(measure(of.norm)))
      return failure();
    Statistics s = statistics.lookup(of.norm);
    if (of.mean)
      e.store(s.mean, of.mean, {slot, e.index(0)});
    e.store(s.inverse, of.inverse, {slot, e.index(0)});
  }
  return success();
}

LogicalResult PiecePrologue::fill(Value unit, Value slot, Value stage, Value piece, int64_t left) {
  sourceRow = selects ? e.batch(Field::logit_row, unit) : unit;
  LogicalResult made = success();
  auto store = [&](Value column, int64_t valid) {
    Value value = e.splat(0.0f);
    if (valid > 0) {
      for (Kept &of : kept)
        statistics[of.norm] = {of.mean ? e.load(of.mean, {slot, e.index(0)}) : Value(),
                               e.load(of.inverse, {slot, e.index(0)})};
      auto some = chunk(input, e.add(e.mul(piece, e.index(depth)), column), valid);
      if (failed(some)) {
        made = failure();
        return;
      }
      // A norm's bias may have filled the lanes behind the row's end.
      value = valid < lanes ? e.select(e.mask(valid), *some, value) : *some;
    }
    e.store(value, stages(),
            {stage, arith::DivUIOp::create(e.b, column, e.index(gemmPart)), slot,
             arith::RemUIOp::create(e.b, column, e.index(gemmPart))});
  };
  if (left >= depth) {
    e.loop(e.index(0), e.index(depth), lanes, [&](Value column) {
      name(column, "column");
      store(column, lanes);
    });
    return made;
  }
  for (int64_t column = 0; column < left + zeros - widthOf(input); column += lanes)
    store(e.index(column), left - column);
  return made;
}
