//===- LowerDot.cpp - register tiles of a matrix product --------------------===//
//
// All sums of an output element run over k in one order whatever the number of rows and columns of the tile, so every
// variant and every tier gives the same bits: f32 by one chain of fused multiply-adds, i8 exactly within a group and
// by one chain of multiply-adds over the groups.
//
//===----------------------------------------------------------------------===//
#include "passes/kern/LowerDot.h"

#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace lathe::kern;

namespace {

/// LLVM leaves a loop as it is where its body is large, which is where leaving it costs the most: a unit of 32 codes.
constexpr int64_t mostUnrolled = 8;

class TileBuilder : DotBuilder {
public:
  TileBuilder(DotOp dot, OpBuilder &builder, const TierProducts &tier, int64_t rows, int64_t columns, Base base)
      : DotBuilder(builder, dot, tier, base), dot(dot), rows(rows), columns(columns) {}

  void build() {
    // A register tile narrower than the panel walks the panel in parts.
    for (int64_t first = 0; first < panelWidth; first += columns) {
      bool pairs = cast<MemRefType>(dot.getInput()[0].getType()).getElementType().isBF16();
      if (dot.getCoding())
        store(groups(first), first);
      else if (pairs)
        store(bf16Pairs(first), first);
      else
        floats(first);
    }
  }

  /// One row's share of a group; see LowerDot.h.
  void addGroup(Value slot, Value group, int64_t count, UnitSums sums) {
    row = add(dot.getRow(), slot);
    given = sums;
    SmallVector<Value> before;
    for (int64_t v = 0; v < vectors(); ++v)
      before.push_back(m.load(vec(b.getF32Type()), result(slot, v * lanes)));
    SmallVector<Value> after = oneGroup(0, group, count, before);
    for (int64_t v = 0; v < vectors(); ++v)
      m.store(after[v], result(slot, v * lanes));
  }

private:
  int64_t vectors() const { return columns / lanes; }
  Value result(Value slot, int64_t column) { return at(dot.getInto(), {slot, add(dot.getColumn(), column)}); }
  void store(ArrayRef<Value> sums, int64_t first) {
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t v = 0; v < vectors(); ++v)
        m.store(sums[i * vectors() + v], result(m.index(i), first + v * lanes));
  }

  /// The sums stand in memory from span to span: a register each would be too many.
  void floats(int64_t first) {
    int64_t k = dot.getK(), stepsOfSpan = sumSpan / stepElements();
    store(SmallVector<Value>(rows * vectors(), zeros()), first);
    auto addSpan = [&](Value start, int64_t count) {
      SmallVector<Value> sums = chains(first, start, count);
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t v = 0; v < vectors(); ++v) {
          Value before = m.load(vec(b.getF32Type()), result(m.index(i), first + v * lanes));
          sums[i * vectors() + v] = arith::AddFOp::create(b, before, sums[i * vectors() + v]);
        }
      store(sums, first);
    };
    if (k >= sumSpan)
      loop(m.index(0), m.index(k / sumSpan), {}, [&](Value number, ValueRange) {
        addSpan(arith::MulIOp::create(b, number, m.index(stepsOfSpan)), sumSpan);
        return SmallVector<Value>();
      });
    if (k % sumSpan != 0)
      addSpan(m.index(k / sumSpan * stepsOfSpan), k % sumSpan);
  }

  /// The chains of `count` elements along k, from load number `start` on.
  SmallVector<Value> chains(int64_t first, Value start, int64_t count) {
    int64_t span = stepElements();
    SmallVector<Value> sums(rows * vectors(), zeros());
    sums = loop(m.index(0), m.index(count / span), sums,
                [&](Value step, ValueRange carried) { return oneStep(first, add(start, step), span, carried); });
    return count % span == 0 ? sums : oneStep(first, add(start, count / span), count % span, sums);
  }

  /// Both factors in bf16: two products are added to each sum at once. The padding of an odd k is zero in both.
  SmallVector<Value> bf16Pairs(int64_t first) {
    SmallVector<Value> sums(rows * vectors(), zeros());
    auto pairs = vec(b.getBF16Type(), 2 * lanes);
    return loop(m.index(0), m.index(ceilDiv(dot.getK(), 2)), sums, [&](Value step, ValueRange carried) {
      SmallVector<Value> weight, next(carried);
      for (int64_t v = 0; v < vectors(); ++v)
        weight.push_back(
            stream(pairs, at(dot.getWeight()[0], {dot.getPanel(), step, m.index(first + v * lanes), m.index(0)})));
      Value k = arith::MulIOp::create(b, step, m.index(2));
      for (int64_t i = 0; i < rows; ++i) {
        Value two = LLVM::LoadOp::create(b, b.getI32Type(), inputAt(0, i, k), 4);
        Value x = vector::BitCastOp::create(b, pairs, splat(two));
        for (int64_t v = 0; v < vectors(); ++v) {
          Value &sum = next[i * vectors() + v];
          sum = call("llvm.x86.avx512bf16.dpbf16ps.512", sum.getType(), {sum, weight[v], x});
        }
      }
      return next;
    });
  }

  /// The `count` elements along k that a load of floats covers.
  SmallVector<Value> oneStep(int64_t first, Value step, int64_t count, ValueRange sums) {
    SmallVector<SmallVector<Value>> weight; // [vector][element along k]
    for (int64_t v = 0; v < vectors(); ++v)
      weight.push_back(values(step, first + v * lanes));
    SmallVector<Value> next(sums);
    for (int64_t j = 0; j < count; ++j) {
      Value k =
          weight[0].size() == 1 ? step : add(arith::MulIOp::create(b, step, m.index(weight[0].size())).getResult(), j);
      for (int64_t i = 0; i < rows; ++i) {
        Value x = splat(m.load(b.getF32Type(), inputAt(0, i, k)));
        for (int64_t v = 0; v < vectors(); ++v) {
          Value &sum = next[i * vectors() + v];
          sum = math::FmaOp::create(b, x, weight[v][j], sum);
        }
      }
    }
    return next;
  }

  SmallVector<Value> groups(int64_t first) {
    int64_t group = dot.getCoding()->getGroup(), k = dot.getK();
    SmallVector<Value> sums(rows * vectors(), zeros());
    if (k >= group)
      sums = loop(m.index(0), m.index(k / group), sums,
                  [&](Value g, ValueRange carried) { return oneGroup(first, g, group, carried); });
    if (k % group != 0)
      sums = oneGroup(first, m.index(k / group), k % group, sums);
    return sums;
  }

  /// One group of the weight, `count` elements of which are the row's.
  SmallVector<Value> oneGroup(int64_t first, Value g, int64_t count, ValueRange sums) {
    int64_t group = coding->getGroup(), perGroup = group / unit(), units = ceilDiv(count, unit());
    SmallVector<Value> scales, next(sums);
    if (perGroup == 1) {
      SmallVector<Value> ints = oneUnit(first, g, count);
      scales = factors(Part::scales, Part::sub_scales, g, first, vectors());
      for (int64_t i = 0; i < rows; ++i) {
        Value scale = inputScale(i, g);
        for (int64_t v = 0; v < vectors(); ++v) {
          Value sum = arith::SIToFPOp::create(b, vec(b.getF32Type()), ints[i * vectors() + v]);
          Value &to = next[i * vectors() + v];
          to = math::FmaOp::create(b, arith::MulFOp::create(b, sum, scale).getResult(), scales[v], to);
        }
      }
    } else {
      // Input groups within the weight's are summed with their own scales first.
      SmallVector<Value> partial(rows * vectors(), zeros());
      auto add = [&](Value number, int64_t elements, ValueRange carried) {
        Value u = this->add(arith::MulIOp::create(b, g, m.index(perGroup)).getResult(), number);
        SmallVector<Value> ints = oneUnit(first, u, elements), result;
        for (int64_t i = 0; i < rows; ++i) {
          Value scale = inputScale(i, u);
          for (int64_t v = 0; v < vectors(); ++v) {
            Value sum = arith::SIToFPOp::create(b, vec(b.getF32Type()), ints[i * vectors() + v]);
            result.push_back(math::FmaOp::create(b, sum, scale, carried[i * vectors() + v]));
          }
        }
        return result;
      };
      int64_t whole = count / unit();
      if (whole != 0)
        partial = loop(m.index(0), m.index(whole), partial,
                       [&](Value number, ValueRange carried) { return add(number, unit(), carried); });
      if (whole != units)
        partial = add(m.index(whole), count % unit(), partial);
      scales = factors(Part::scales, Part::sub_scales, g, first, vectors());
      for (int64_t i = 0; i < rows * vectors(); ++i)
        next[i] = math::FmaOp::create(b, partial[i], scales[i % vectors()], next[i]);
    }
    if (!coding->getMinimum())
      return next;
    SmallVector<Value> minima = factors(Part::minima, Part::sub_minima, g, first, vectors());
    for (int64_t i = 0; i < rows; ++i)
      addMinima(MutableArrayRef(next).slice(i * vectors(), vectors()), minima, i, g);
    return next;
  }

  /// The exact sums of a unit of codes, `count` of which are the row's.
  SmallVector<Value> oneUnit(int64_t first, Value u, int64_t count) {
    if (given)
      return given(m, u);
    int64_t span = dot.getCoding()->loadSpan();
    Value start = arith::MulIOp::create(b, u, m.index(unit()));
    SmallVector<Value> ints;
    for (int64_t i = 0; i < rows; ++i)
      ints.append(vectors(), startOf(i, u));
    auto one = [&](Value step, ValueRange carried) {
      Value column = add(start, arith::MulIOp::create(b, step, m.index(span)).getResult());
      SmallVector<Value> next(carried);
      SmallVector<SmallVector<Value>> weight; // [vector][quad]
      for (int64_t v = 0; v < vectors(); ++v)
        weight.push_back(quads(u, step, first + v * lanes));
      for (int64_t q = 0; q < span / 4; ++q)
        for (int64_t i = 0; i < rows; ++i) {
          Value four = LLVM::LoadOp::create(b, b.getI32Type(), inputAt(0, i, add(column, 4 * q)), 4);
          Value x = vector::BitCastOp::create(b, vec(b.getI8Type(), 4 * lanes), splat(four));
          for (int64_t v = 0; v < vectors(); ++v) {
            Value &sum = next[i * vectors() + v];
            sum = multiply(sum, weight[v][q], x);
          }
        }
      return next;
    };
    int64_t steps = ceilDiv(count, span);
    if (steps > mostUnrolled)
      return loop(m.index(0), m.index(steps), ints, one);
    for (int64_t step = 0; step < steps; ++step)
      ints = one(m.index(step), ints);
    return ints;
  }

  /// Codes are stored with a bias; their sum with the activations starts at what that adds too much. Eight bits on AVX2
  /// go back to signed ones instead.
  Value startOf(int64_t i, Value u) {
    int64_t bias = dot.getCoding()->getBias();
    if (bias != 0 && !usesSign())
      return splat(m.load(b.getI32Type(), inputAt(2, i, u)));
    return arith::ConstantOp::create(b, DenseElementsAttr::get(vec(b.getI32Type()), 0));
  }
  bool usesSign() { return tier.byteDot == ByteDot::sign256 && dot.getCoding()->getBits() == 8; }

  Value multiply(Value sum, Value weight, Value x) {
    if (tier.byteDot != ByteDot::sign256)
      return vpdpbusd(b, tier.byteDot, sum, weight, x);
    Value halves[2];
    for (int64_t h = 0; h < 2; ++h) {
      auto half = [&](Value value, int64_t size) -> Value {
        return vector::ExtractStridedSliceOp::create(b, value, h * size, size, 1);
      };
      auto bytes = vec(b.getI8Type(), 32);
      // maddubs adds pairs in 16 bits: 2 * 63 * 127 fits, 2 * 255 * 127 would saturate.
      Value magnitude = half(weight, 32), signedX = half(x, 32);
      if (usesSign()) {
        Value bias = arith::ConstantOp::create(b, DenseElementsAttr::get(bytes, int8_t(-128)));
        Value w = arith::XOrIOp::create(b, magnitude, bias);
        magnitude = LLVM::AbsOp::create(b, bytes, w, /*is_int_min_poison=*/false);
        signedX = call("llvm.x86.avx2.psign.b", bytes, {signedX, w});
      }
      Value pairs = call("llvm.x86.avx2.pmadd.ub.sw", vec(b.getI16Type(), 16), {magnitude, signedX});
      Value ones = arith::ConstantOp::create(b, DenseElementsAttr::get(vec(b.getI16Type(), 16), int16_t(1)));
      Value fours = call("llvm.x86.avx2.pmadd.wd", vec(b.getI32Type(), 8), {pairs, ones});
      halves[h] = arith::AddIOp::create(b, half(sum, 8), fours);
    }
    SmallVector<int64_t> order(lanes);
    for (int64_t i = 0; i < lanes; ++i)
      order[i] = i;
    return vector::ShuffleOp::create(b, halves[0], halves[1], order);
  }

  DotOp dot;
  int64_t rows, columns;
  UnitSums given = nullptr;
};

} // namespace

void lathe::kern::addGroup(DotOp dot, OpBuilder &builder, const TierProducts &tier, Value slot, Value group,
                           int64_t count, UnitSums sums, DotBuilder::Base base) {
  TileBuilder(dot, builder, tier, 1, panelWidth, base).addGroup(slot, group, count, sums);
}

void lathe::kern::lowerDot(DotOp dot, const TierProducts &tier, ScheduleAttr schedule, DotBuilder::Base base,
                           Value tileRing) {
  OpBuilder builder(dot);
  // Of so many rows on all are alike: the whole register tile, or what matrix tiles compute at once.
  int64_t most = dot.getUnpacked() ? schedule.getAmxRows() : dot.getMaxCount(), columns = schedule.getColumns();
  auto build = [&](int64_t rows) {
    if (rows == most && dot.getUnpacked())
      return buildAmxDot(dot, builder, tier, columns, base, tileRing);
    TileBuilder(dot, builder, tier, rows, columns, base).build();
  };
  if (most == 1) {
    build(1);
    dot.erase();
    return;
  }
  SmallVector<int64_t> cases;
  for (int64_t rows = 1; rows < most; ++rows)
    cases.push_back(rows);
  auto choice = scf::IndexSwitchOp::create(builder, dot.getLoc(), TypeRange{}, dot.getCount(), cases, cases.size());
  auto fill = [&](Region &region, int64_t rows) {
    builder.createBlock(&region);
    auto yield = scf::YieldOp::create(builder, dot.getLoc());
    builder.setInsertionPoint(yield);
    build(rows);
  };
  for (int64_t rows = 1; rows < most; ++rows)
    fill(choice.getCaseRegions()[rows - 1], rows);
  fill(choice.getDefaultRegion(), most);
  dot.erase();
}
