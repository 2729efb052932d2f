//===- ByteCodes.cpp - numbers as int8 codes and one scale ------------------===//
#include "passes/kern/ByteCodes.h"

#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::kern;

/// What is smaller counts as nothing: 255 / 1e-30 is still far from the largest float.
constexpr float smallest = 1.0e-30f;

ByteCodes::ByteCodes(Emitter &e, ArrayRef<Value> vectors, float most) {
  Value largest;
  for (Value x : vectors) {
    Value size = math::AbsFOp::create(e.b, x);
    largest = largest ? e.larger(size, largest) : size;
  }
  Value absmax = e.reduce(Combine::max, largest);
  Value some = arith::CmpFOp::create(e.b, arith::CmpFPredicate::OGT, absmax, e.constant(smallest));
  Value none = e.constant(0.0f);
  scale = e.select(some, e.div(absmax, e.constant(most)), none);
  Value inverse = e.splat(e.select(some, e.div(e.constant(most), absmax), none));
  auto ints = VectorType::get({lanes}, e.b.getI32Type());
  for (Value x : vectors)
    codes.push_back(arith::FPToSIOp::create(e.b, ints, math::RoundEvenOp::create(e.b, e.mul(x, inverse)).getResult()));
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
