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

class TileBuilder {
public:
  TileBuilder(DotOp dot, OpBuilder &builder, ByteDot byteDot, int64_t rows, int64_t columns,
              llvm::function_ref<Value(Value)> base)
      : dot(dot), m(builder, dot.getLoc()), b(m.b), byteDot(byteDot), rows(rows), columns(columns), base(base) {}

  void build() {
    // A register tile narrower than the panel walks the panel in parts.
    for (int64_t first = 0; first < panelWidth; first += columns) {
      SmallVector<Value> sums = dot.getGroup() ? groups(first) : floats(first);
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

  SmallVector<Value> floats(int64_t first) {
    Value zero = arith::ConstantOp::create(b, DenseElementsAttr::get(vec(b.getF32Type()), 0.0f));
    SmallVector<Value> sums(rows * vectors(), zero);
    return loop(m.index(0), m.index(dot.getK()), sums, [&](Value k, ValueRange carried) {
      SmallVector<Value> weight, next;
      for (int64_t v = 0; v < vectors(); ++v)
        weight.push_back(
            m.load(vec(b.getF32Type()), at(dot.getWeight()[0], {dot.getPanel(), k, m.index(first + v * lanes)})));
      for (int64_t i = 0; i < rows; ++i) {
        Value x = splat(m.load(b.getF32Type(), at(dot.getInput()[0], {add(dot.getRow(), i), k})));
        for (int64_t v = 0; v < vectors(); ++v)
          next.push_back(math::FmaOp::create(b, x, weight[v], carried[i * vectors() + v]));
      }
      return next;
    });
  }

  SmallVector<Value> groups(int64_t first) {
    int64_t group = *dot.getGroup(), k = dot.getK();
    Value zero = arith::ConstantOp::create(b, DenseElementsAttr::get(vec(b.getF32Type()), 0.0f));
    SmallVector<Value> sums(rows * vectors(), zero);
    if (k >= group)
      sums = loop(m.index(0), m.index(k / group), sums,
                  [&](Value g, ValueRange carried) { return oneGroup(first, g, group / 4, carried); });
    if (k % group != 0)
      sums = oneGroup(first, m.index(k / group), ceilDiv(k % group, 4), sums);
    return sums;
  }

  SmallVector<Value> oneGroup(int64_t first, Value g, int64_t quads, ValueRange sums) {
    int64_t quadsPerGroup = *dot.getGroup() / 4;
    Value firstQuad = arith::MulIOp::create(b, g, m.index(quadsPerGroup));
    SmallVector<Value> ints;
    for (int64_t i = 0; i < rows; ++i) {
      // The weights are biased by 128; their sum with the activations starts at what that adds too much.
      Value start = byteDot == ByteDot::vnni512
                        ? splat(m.load(b.getI32Type(), at(dot.getInput()[2], {add(dot.getRow(), i), g})))
                        : arith::ConstantOp::create(b, DenseElementsAttr::get(vec(b.getI32Type()), 0)).getResult();
      ints.append(vectors(), start);
    }
    ints = loop(m.index(0), m.index(quads), ints, [&](Value q, ValueRange carried) {
      Value quad = add(firstQuad, q);
      Value column = arith::MulIOp::create(b, quad, m.index(4));
      SmallVector<Value> weight, next;
      for (int64_t v = 0; v < vectors(); ++v)
        weight.push_back(
            m.load(vec(b.getI8Type(), 4 * lanes),
                   at(dot.getWeight()[0], {dot.getPanel(), quad, m.index(first + v * lanes), m.index(0)})));
      for (int64_t i = 0; i < rows; ++i) {
        Value four = LLVM::LoadOp::create(b, b.getI32Type(), at(dot.getInput()[0], {add(dot.getRow(), i), column}), 4);
        Value x = vector::BitCastOp::create(b, vec(b.getI8Type(), 4 * lanes), splat(four));
        for (int64_t v = 0; v < vectors(); ++v)
          next.push_back(multiply(carried[i * vectors() + v], weight[v], x));
      }
      return next;
    });

    SmallVector<Value> scales, next;
    for (int64_t v = 0; v < vectors(); ++v) {
      Value raw = m.load(vec(b.getBF16Type()), at(dot.getWeight()[1], {dot.getPanel(), g, m.index(first + v * lanes)}));
      scales.push_back(arith::ExtFOp::create(b, vec(b.getF32Type()), raw));
    }
    for (int64_t i = 0; i < rows; ++i) {
      Value scale = splat(m.load(b.getF32Type(), at(dot.getInput()[1], {add(dot.getRow(), i), g})));
      for (int64_t v = 0; v < vectors(); ++v) {
        Value sum = arith::SIToFPOp::create(b, vec(b.getF32Type()), ints[i * vectors() + v]);
        next.push_back(math::FmaOp::create(b, arith::MulFOp::create(b, sum, scale).getResult(), scales[v],
                                           sums[i * vectors() + v]));
      }
    }
    return next;
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
      Value bias = arith::ConstantOp::create(b, DenseElementsAttr::get(bytes, int8_t(-128)));
      Value w = arith::XOrIOp::create(b, half(weight, 32), bias);
      Value magnitude = LLVM::AbsOp::create(b, bytes, w, /*is_int_min_poison=*/false);
      Value signedX = call("llvm.x86.avx2.psign.b", bytes, {half(x, 32), w});
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
  int64_t rows, columns;
  llvm::function_ref<Value(Value)> base;
};

} // namespace

void lathe::kern::lowerDot(DotOp dot, ByteDot byteDot, int64_t columns, llvm::function_ref<Value(Value)> base) {
  OpBuilder builder(dot);
  int64_t most = dot.getMaxCount();
  if (most == 1) {
    TileBuilder(dot, builder, byteDot, 1, columns, base).build();
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
    TileBuilder(dot, builder, byteDot, rows, columns, base).build();
  };
  for (int64_t rows = 1; rows < most; ++rows)
    fill(choice.getCaseRegions()[rows - 1], rows);
  fill(choice.getDefaultRegion(), most);
  dot.erase();
}
