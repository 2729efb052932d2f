//===- LowerDot.cpp - register tiles of a matrix product --------------------===//
//
// All sums of an output element run over k in one order whatever the number of rows and columns of the tile, so every
// variant and every tier gives the same bits: floats by one chain of fused multiply-adds in f32, i8 exactly within a
// group and by one chain of multiply-adds over the groups.
//
//===----------------------------------------------------------------------===//
#include "passes/kern/LowerDot.h"

#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace lathe::kern;

namespace {

constexpr int64_t lineBytes = 64;
/// LLVM leaves a loop as it is where its body is large, which is where leaving it costs the most: a unit of 32 codes.
constexpr int64_t mostUnrolled = 8;
/// Locality of a prefetch. Into the first level it costs more than it gains (tools/bench/README.md).
constexpr int secondLevel = 2;

class TileBuilder {
public:
  TileBuilder(DotOp dot, OpBuilder &builder, ByteDot byteDot, bool gfni, int64_t rows, int64_t columns,
              llvm::function_ref<Value(Value)> base)
      : dot(dot), m(builder, dot.getLoc()), b(m.b), byteDot(byteDot), gfni(gfni), rows(rows), columns(columns),
        base(base) {}

  void build() {
    // A register tile narrower than the panel walks the panel in parts.
    for (int64_t first = 0; first < panelWidth; first += columns) {
      bool pairs = cast<MemRefType>(dot.getInput()[0].getType()).getElementType().isBF16();
      SmallVector<Value> sums = dot.getCoding() ? groups(first) : pairs ? bf16Pairs(first) : floats(first);
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t v = 0; v < vectors(); ++v)
          m.store(sums[i * vectors() + v], at(dot.getInto(), {m.index(i), add(dot.getColumn(), first + v * lanes)}));
    }
  }

private:
  int64_t vectors() const { return columns / lanes; }
  VectorType vec(Type element, int64_t count = lanes) { return VectorType::get({count}, element); }
  Value at(Value memref, ValueRange indices) {
    return m.address(base(memref), cast<MemRefType>(memref.getType()), indices);
  }
  Value add(Value x, int64_t y) { return y == 0 ? x : Value(arith::AddIOp::create(b, x, m.index(y))); }
  Value add(Value x, Value y) { return arith::AddIOp::create(b, x, y); }
  Value splat(Value scalar) { return vector::BroadcastOp::create(b, vec(scalar.getType()), scalar); }

  SmallVector<Value> loop(Value from, Value to, ValueRange carried,
                          llvm::function_ref<SmallVector<Value>(Value, ValueRange)> body) {
    auto op = scf::ForOp::create(b, from, to, m.index(1), carried);
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(op.getBody());
    scf::YieldOp::create(b, body(op.getInductionVar(), op.getRegionIterArgs()));
    return SmallVector<Value>(op.getResults());
  }

  /// A load of codes or of an uncoded weight, and the hint of what will be loaded a while later.
  Value stream(VectorType type, Value address) {
    if (dot.getAhead())
      LLVM::Prefetch::create(b, m.offset(address, dot.getAhead()), b.getI32IntegerAttr(0),
                             b.getI32IntegerAttr(secondLevel), b.getI32IntegerAttr(1));
    return m.load(type, address);
  }

  SmallVector<Value> floats(int64_t first) {
    int64_t span = valuesSpan(cast<MemRefType>(dot.getWeight()[0].getType()).getElementType()), k = dot.getK();
    SmallVector<Value> sums(rows * vectors(), zeros());
    sums = loop(m.index(0), m.index(k / span), sums,
                [&](Value step, ValueRange carried) { return oneStep(first, step, span, carried); });
    return k % span == 0 ? sums : oneStep(first, m.index(k / span), k % span, sums);
  }

  /// Both factors in bf16: two products are added to each sum at once. The padding of an odd k is zero in both.
  SmallVector<Value> bf16Pairs(int64_t first) {
    SmallVector<Value> sums(rows * vectors(), zeros());
    auto pairs = vec(b.getBF16Type(), 2 * lanes);
    return loop(m.index(0), m.index(ceilDiv(dot.getK(), 2)), sums, [&](Value step, ValueRange carried) {
      SmallVector<Value> weight, next(carried);
      for (int64_t v = 0; v < vectors(); ++v)
        weight.push_back(
            m.load(pairs, at(dot.getWeight()[0], {dot.getPanel(), step, m.index(first + v * lanes), m.index(0)})));
      Value k = arith::MulIOp::create(b, step, m.index(2));
      for (int64_t i = 0; i < rows; ++i) {
        Value two = LLVM::LoadOp::create(b, b.getI32Type(), at4(dot.getInput()[0], i, k), 4);
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
        Value x = splat(m.load(b.getF32Type(), at4(dot.getInput()[0], i, k)));
        for (int64_t v = 0; v < vectors(); ++v) {
          Value &sum = next[i * vectors() + v];
          sum = math::FmaOp::create(b, x, weight[v][j], sum);
        }
      }
    }
    return next;
  }

  /// 16 columns of a matrix of floats in f32: one vector for each element along k.
  SmallVector<Value> values(Value step, int64_t lane) {
    Value array = dot.getWeight()[0];
    Type element = cast<MemRefType>(array.getType()).getElementType(), f32 = b.getF32Type();
    if (!element.isBF16()) {
      Value raw = stream(vec(element), at(array, {dot.getPanel(), step, m.index(lane)}));
      return {element.isF32() ? raw : arith::ExtFOp::create(b, vec(f32), raw).getResult()};
    }
    // A bf16 is the high half of its f32: of a pair, the first must be shifted there, the second stands there.
    auto words = vec(b.getI32Type());
    auto constant = [&](int32_t value) {
      return arith::ConstantOp::create(b, DenseElementsAttr::get(words, value)).getResult();
    };
    Value pair = stream(vec(element, 2 * lanes), at(array, {dot.getPanel(), step, m.index(lane), m.index(0)}));
    pair = vector::BitCastOp::create(b, words, pair);
    Value even = arith::ShLIOp::create(b, pair, constant(16));
    Value odd = arith::AndIOp::create(b, pair, constant(int32_t(0xffff0000)));
    return {vector::BitCastOp::create(b, vec(f32), even), vector::BitCastOp::create(b, vec(f32), odd)};
  }

  Value zeros() { return arith::ConstantOp::create(b, DenseElementsAttr::get(vec(b.getF32Type()), 0.0f)); }
  int64_t unit() { return std::min<int64_t>(dot.getCoding()->getGroup(), *dot.getInputGroup()); }
  /// An array of the weight; its place among the operands follows from the coding.
  Value part(Part wanted) {
    for (auto [part, value] : llvm::zip(dot.getCoding()->parts(), dot.getWeight()))
      if (part == wanted)
        return value;
    return {};
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
    CodingAttr coding = *dot.getCoding();
    int64_t group = coding.getGroup(), perGroup = group / unit(), units = ceilDiv(count, unit());
    SmallVector<Value> scales, minima, parts, next(sums);
    auto factor = [&](Part whole, Part sub) {
      SmallVector<Value> values;
      for (int64_t v = 0; v < vectors(); ++v)
        values.push_back(groupFactor(whole, sub, g, first + v * lanes));
      return values;
    };
    auto inputScale = [&](int64_t i, Value u) -> Value {
      Value at = unit() == int64_t(*dot.getInputGroup())
                     ? u
                     : arith::DivUIOp::create(b, u, m.index(*dot.getInputGroup() / unit())).getResult();
      return splat(m.load(b.getF32Type(), at4(dot.getInput()[1], i, at)));
    };
    if (perGroup == 1) {
      SmallVector<Value> ints = oneUnit(first, g, count);
      scales = factor(Part::scales, Part::sub_scales);
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
      scales = factor(Part::scales, Part::sub_scales);
      for (int64_t i = 0; i < rows * vectors(); ++i)
        next[i] = math::FmaOp::create(b, partial[i], scales[i % vectors()], next[i]);
    }
    if (!coding.getMinimum())
      return next;
    minima = factor(Part::minima, Part::sub_minima);
    for (int64_t i = 0; i < rows; ++i) {
      Value sum = splat(m.load(b.getF32Type(), at4(dot.getInput()[3], i, g)));
      if (coding.getSuper())
        sum = arith::NegFOp::create(b, sum);
      for (int64_t v = 0; v < vectors(); ++v)
        next[i * vectors() + v] = math::FmaOp::create(b, sum, minima[v], next[i * vectors() + v]);
    }
    return next;
  }

  /// Element `column` of row i of an input array.
  Value at4(Value array, int64_t i, Value column) { return at(array, {add(dot.getRow(), i), column}); }

  /// 16 scales or minima of a group, in f32.
  Value groupFactor(Part whole, Part sub, Value g, int64_t lane) {
    CodingAttr coding = *dot.getCoding();
    Value number = g;
    if (coding.getSuper())
      number = arith::DivUIOp::create(b, g, m.index(coding.getSuper() / coding.getGroup()));
    Value raw = m.load(vec(coding.getScale()), at(part(whole), {dot.getPanel(), number, m.index(lane)}));
    Value value = coding.getScale().isF32() ? raw : arith::ExtFOp::create(b, vec(b.getF32Type()), raw).getResult();
    if (!coding.getSuper())
      return value;
    Value bytes = m.load(vec(b.getI8Type()), at(part(sub), {dot.getPanel(), g, m.index(lane)}));
    Value ints = arith::ExtSIOp::create(b, vec(b.getI32Type()), bytes);
    return arith::MulFOp::create(b, value, arith::SIToFPOp::create(b, vec(b.getF32Type()), ints).getResult());
  }

  /// The exact sums of a unit of codes, `count` of which are the row's.
  SmallVector<Value> oneUnit(int64_t first, Value u, int64_t count) {
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
          Value four = LLVM::LoadOp::create(b, b.getI32Type(), at4(dot.getInput()[0], i, add(column, 4 * q)), 4);
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
      return splat(m.load(b.getI32Type(), at4(dot.getInput()[2], i, u)));
    return arith::ConstantOp::create(b, DenseElementsAttr::get(vec(b.getI32Type()), 0));
  }
  bool usesSign() { return byteDot == ByteDot::sign256 && dot.getCoding()->getBits() == 8; }

  /// The operands that one load of codes gives: 16 columns, four elements along k each.
  SmallVector<Value> quads(Value u, Value step, int64_t lane) {
    int64_t bits = dot.getCoding()->getBits();
    auto bytes = vec(b.getI8Type(), 4 * lanes);
    auto load = [&](Part from, int64_t elements, int64_t ahead) -> Value {
      int64_t perStep = dot.getCoding()->loadSpan() / elements;
      Value number = arith::MulIOp::create(b, u, m.index(unit() / elements));
      number =
          add(add(number, perStep == 1 ? step : arith::MulIOp::create(b, step, m.index(perStep)).getResult()), ahead);
      Value address = at(part(from), {dot.getPanel(), number, m.index(lane), m.index(0)});
      return from == Part::codes ? stream(bytes, address) : m.load(bytes, address);
    };
    if (bits == 8)
      return {load(Part::codes, 4, 0)};
    // Shifts of 16-bit lanes are one instruction, of bytes none; what comes in from the neighbour is masked off.
    auto words = vec(b.getI16Type(), 2 * lanes);
    auto field = [&](Value value, int64_t shift, uint8_t mask, int64_t left = 0) -> Value {
      auto shifted = [&](Value x, int64_t by, bool right) -> Value {
        Value amount = arith::ConstantOp::create(b, DenseElementsAttr::get(words, static_cast<int16_t>(by)));
        Value wide = vector::BitCastOp::create(b, words, x);
        Value moved = right ? arith::ShRUIOp::create(b, wide, amount).getResult()
                            : arith::ShLIOp::create(b, wide, amount).getResult();
        return vector::BitCastOp::create(b, bytes, moved);
      };
      if (gfni && shift != left) {
        // One product with a matrix of bits: bit i of the result is the parity of the source and of byte 7 - i.
        SmallVector<int8_t> matrix(4 * lanes);
        for (size_t i = 0; i < matrix.size(); ++i) {
          int64_t bit = 7 - static_cast<int64_t>(i % 8) - left;
          matrix[i] = bit >= 0 && (mask >> bit & 1) ? static_cast<int8_t>(1 << (bit + shift)) : int8_t(0);
        }
        Value moves = arith::ConstantOp::create(b, DenseElementsAttr::get(bytes, ArrayRef(matrix)));
        Value flipped = arith::ConstantOp::create(b, b.getI8IntegerAttr(0));
        return call("llvm.x86.vgf2p8affineqb.512", bytes, {value, moves, flipped});
      }
      if (shift != left)
        value = shifted(value, std::abs(shift - left), shift > left);
      Value keep = arith::ConstantOp::create(
          b, DenseElementsAttr::get(bytes, static_cast<int8_t>(static_cast<uint8_t>(mask << left))));
      return arith::AndIOp::create(b, value, keep);
    };
    SmallVector<Value> result;
    for (int64_t pair = 0; pair < (bits == 4 ? 1 : 2); ++pair) {
      Value low = load(Part::codes, 8, pair);
      result.push_back(field(low, 0, 0x0f));
      result.push_back(field(low, 4, 0x0f));
    }
    if (bits == 6) {
      Value high = load(Part::codes_high, 16, 0);
      for (int64_t q = 0; q < 4; ++q)
        result[q] = arith::OrIOp::create(b, result[q], field(high, 2 * q, 0x03, 4));
    }
    return result;
  }

  Value call(StringRef name, Type result, ValueRange operands) {
    return LLVM::CallIntrinsicOp::create(b, result, b.getStringAttr(name), operands).getResults();
  }

  Value multiply(Value sum, Value weight, Value x) {
    if (byteDot == ByteDot::vnni512)
      return call("llvm.x86.avx512.vpdpbusd.512", sum.getType(), {sum, weight, x});
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
  Memory m;
  ImplicitLocOpBuilder &b;
  ByteDot byteDot;
  bool gfni;
  int64_t rows, columns;
  llvm::function_ref<Value(Value)> base;
};

} // namespace

void lathe::kern::lowerDot(DotOp dot, ByteDot byteDot, bool gfni, int64_t columns,
                           llvm::function_ref<Value(Value)> base) {
  OpBuilder builder(dot);
  int64_t most = dot.getMaxCount();
  if (most == 1) {
    TileBuilder(dot, builder, byteDot, gfni, 1, columns, base).build();
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
    TileBuilder(dot, builder, byteDot, gfni, rows, columns, base).build();
  };
  for (int64_t rows = 1; rows < most; ++rows)
    fill(choice.getCaseRegions()[rows - 1], rows);
  fill(choice.getDefaultRegion(), most);
  dot.erase();
}
