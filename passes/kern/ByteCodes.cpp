//===- ByteCodes.cpp - numbers as int8 codes and one scale ------------------===//
#include "passes/kern/ByteCodes.h"

#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::kern;

/// What is smaller counts as nothing: 255 / 1e-30 is still far from the largest float.
constexpr float smallest = 1.0e-30f;

ByteScale::ByteScale(Emitter &e, Value absmax, float most) {
  Value some = arith::CmpFOp::create(e.b, arith::CmpFPredicate::OGT, absmax, e.constant(smallest));
  Value none = e.constant(0.0f);
  scale = e.select(some, e.div(absmax, e.constant(most)), none);
  inverse = e.select(some, e.div(e.constant(most), absmax), none);
}

Value ByteScale::code(Emitter &e, Value x) const { return math::RoundEvenOp::create(e.b, e.mul(x, e.splat(inverse))); }

ByteCodes::ByteCodes(Emitter &e, ArrayRef<Value> vectors, float most) {
  // Of floats without a sign the bits compare as the numbers do, in one instruction a step.
  auto ints = VectorType::get({lanes}, e.b.getI32Type());
  Value largest;
  for (Value x : vectors) {
    Value bits = arith::BitcastOp::create(e.b, ints, math::AbsFOp::create(e.b, x).getResult());
    largest = largest ? Value(arith::MaxSIOp::create(e.b, largest, bits)) : bits;
  }
  Value absmax = arith::BitcastOp::create(e.b, e.f32(), e.reduce(Combine::max, largest));
  ByteScale by(e, absmax, most);
  scale = by.scale;
  for (Value x : vectors)
    codes.push_back(arith::FPToSIOp::create(e.b, ints, by.code(e, x)));
}

Value ByteCodes::bytes(Emitter &e, int64_t vector) const {
  return arith::TruncIOp::create(e.b, VectorType::get({lanes}, e.b.getI8Type()), codes[vector]);
}

Value ByteCodes::sum(Emitter &e) const {
  Value total = codes[0];
  for (Value more : ArrayRef(codes).drop_front())
    total = e.add(total, more);
  return e.reduce(Combine::add, total);
}

Value kern::loadQuads(Emitter &e, Value memref, ValueRange indices) {
  return vector::LoadOp::create(e.b, VectorType::get({4 * lanes}, e.b.getI8Type()), memref, indices);
}

Value kern::spreadQuad(Emitter &e, Value quad) {
  Value all = vector::BroadcastOp::create(e.b, VectorType::get({lanes}, e.b.getI32Type()), quad);
  return vector::BitCastOp::create(e.b, VectorType::get({4 * lanes}, e.b.getI8Type()), all);
}
