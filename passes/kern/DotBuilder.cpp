//===- DotBuilder.cpp - what all products with a packed weight share ---------===//
#include "passes/kern/DotBuilder.h"

#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace lathe::kern;

/// Locality of a prefetch. Into the first level it costs more than it gains (tools/bench/README.md).
static constexpr int secondLevel = 2;

SmallVector<Value> DotBuilder::loop(Value from, Value to, ValueRange carried,
                                    llvm::function_ref<SmallVector<Value>(Value, ValueRange)> body) {
  auto op = scf::ForOp::create(b, from, to, m.index(1), carried);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(op.getBody());
  SmallVector<Value> results = body(op.getInductionVar(), op.getRegionIterArgs());
  if (!carried.empty()) // a loop that carries nothing has its yield already
    scf::YieldOp::create(b, results);
  return SmallVector<Value>(op.getResults());
}

Value DotBuilder::stream(VectorType type, Value address) {
  if (ahead)
    LLVM::Prefetch::create(b, m.offset(address, ahead), b.getI32IntegerAttr(0), b.getI32IntegerAttr(secondLevel),
                           b.getI32IntegerAttr(1));
  return m.load(type, address);
}

Value DotBuilder::part(Part wanted) {
  for (auto [part, value] : llvm::zip(coding->parts(), weight))
    if (part == wanted)
      return value;
  return {};
}

Value DotBuilder::inputScale(int64_t i, Value u) {
  int64_t perScale = *inputGroup / unit();
  Value scale = perScale == 1 ? u : arith::DivUIOp::create(b, u, m.index(perScale)).getResult();
  return splat(m.load(b.getF32Type(), inputAt(1, i, scale)));
}

void DotBuilder::addMinima(MutableArrayRef<Value> sums, ArrayRef<Value> minima, int64_t i, Value g) {
  Value codes = splat(m.load(b.getF32Type(), inputAt(3, i, g)));
  if (coding->getSuper())
    codes = arith::NegFOp::create(b, codes);
  for (auto [sum, minimum] : llvm::zip(sums, minima))
    sum = math::FmaOp::create(b, codes, minimum, sum);
}

SmallVector<Value> DotBuilder::factors(Part whole, Part sub, Value g, int64_t first, int64_t vectors) {
  SmallVector<Value> values;
  for (int64_t v = 0; v < vectors; ++v)
    values.push_back(groupFactor(whole, sub, g, first + v * lanes));
  return values;
}

Value DotBuilder::groupFactor(Part whole, Part sub, Value g, int64_t lane) {
  Value number = g;
  if (coding->getSuper())
    number = arith::DivUIOp::create(b, g, m.index(coding->getSuper() / coding->getGroup()));
  Value raw = m.load(vec(coding->getScale()), at(part(whole), {panel, number, m.index(lane)}));
  Value value = coding->getScale().isF32() ? raw : arith::ExtFOp::create(b, vec(b.getF32Type()), raw).getResult();
  if (!coding->getSuper())
    return value;
  Value bytes = m.load(vec(b.getI8Type()), at(part(sub), {panel, g, m.index(lane)}));
  Value ints = arith::ExtSIOp::create(b, vec(b.getI32Type()), bytes);
  return arith::MulFOp::create(b, value, arith::SIToFPOp::create(b, vec(b.getF32Type()), ints).getResult());
}

SmallVector<Value> DotBuilder::values(Value step, int64_t lane) {
  Value array = weight[0];
  Type element = cast<MemRefType>(array.getType()).getElementType(), f32 = b.getF32Type();
  if (!element.isBF16()) {
    Value raw = stream(vec(element), at(array, {panel, step, m.index(lane)}));
    return {element.isF32() ? raw : arith::ExtFOp::create(b, vec(f32), raw).getResult()};
  }
  // A bf16 is the high half of its f32: of a pair, the first must be shifted there, the second stands there.
  auto words = vec(b.getI32Type());
  auto constant = [&](int32_t value) {
    return arith::ConstantOp::create(b, DenseElementsAttr::get(words, value)).getResult();
  };
  Value pair = stream(vec(element, 2 * lanes), at(array, {panel, step, m.index(lane), m.index(0)}));
  pair = vector::BitCastOp::create(b, words, pair);
  Value even = arith::ShLIOp::create(b, pair, constant(16));
  Value odd = arith::AndIOp::create(b, pair, constant(int32_t(0xffff0000)));
  return {vector::BitCastOp::create(b, vec(f32), even), vector::BitCastOp::create(b, vec(f32), odd)};
}

SmallVector<Value> DotBuilder::quads(Value u, Value step, int64_t lane) {
  int64_t bits = coding->getBits();
  auto bytes = vec(b.getI8Type(), 4 * lanes);
  auto load = [&](Part from, int64_t elements, int64_t ahead) -> Value {
    int64_t perStep = coding->loadSpan() / elements;
    Value number = arith::MulIOp::create(b, u, m.index(unit() / elements));
    number =
        add(add(number, perStep == 1 ? step : arith::MulIOp::create(b, step, m.index(perStep)).getResult()), ahead);
    Value address = at(part(from), {panel, number, m.index(lane), m.index(0)});
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
    if (tier.gfni && shift != left) {
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
