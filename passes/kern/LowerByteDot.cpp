//===- LowerByteDot.cpp - a tier's products of bytes ------------------------===//
//
//   avx512vnni: one vpdpbusd on 64 bytes.
//   avxvnni:    two on 32 bytes.
//   x86-64-v3:  maddubs adds two products in 16 bits and saturates at 32767. The low seven bits of an unsigned byte and
//               its high bit go through it apart: 127 * 127 * 2 and 128 * 127 * 2 both fit.
//
//===----------------------------------------------------------------------===//
#include "passes/kern/LowerDot.h"

using namespace mlir;
using namespace lathe::kern;

namespace {

Value half(OpBuilder &b, Location loc, Value value, int64_t h, int64_t size) {
  return vector::ExtractStridedSliceOp::create(b, loc, value, h * size, size, 1);
}

Value joined(ImplicitLocOpBuilder &b, const Value (&halves)[2]) {
  SmallVector<int64_t> order(lanes);
  for (int64_t i = 0; i < lanes; ++i)
    order[i] = i;
  return vector::ShuffleOp::create(b, halves[0], halves[1], order);
}

} // namespace

Value lathe::kern::vpdpbusd(ImplicitLocOpBuilder &b, ByteDot byteDot, Value sum, Value unsignedBytes,
                            Value signedBytes) {
  auto call = [&](StringRef name, Type result, ValueRange operands) -> Value {
    return LLVM::CallIntrinsicOp::create(b, result, b.getStringAttr(name), operands).getResults();
  };
  if (byteDot == ByteDot::vnni512)
    return call("llvm.x86.avx512.vpdpbusd.512", sum.getType(), {sum, unsignedBytes, signedBytes});
  Value halves[2];
  for (int64_t h = 0; h < 2; ++h)
    halves[h] = call("llvm.x86.avx512.vpdpbusd.256", VectorType::get({8}, b.getI32Type()),
                     {half(b, b.getLoc(), sum, h, 8), half(b, b.getLoc(), unsignedBytes, h, 32),
                      half(b, b.getLoc(), signedBytes, h, 32)});
  return joined(b, halves);
}

void lathe::kern::lowerByteDot(ByteDotOp dot, ByteDot byteDot) {
  ImplicitLocOpBuilder b(dot.getLoc(), dot);
  auto call = [&](StringRef name, Type result, ValueRange operands) -> Value {
    return LLVM::CallIntrinsicOp::create(b, result, b.getStringAttr(name), operands).getResults();
  };
  auto replace = [&](Value value) {
    dot.getResult().replaceAllUsesWith(value);
    dot.erase();
  };
  if (byteDot != ByteDot::sign256)
    return replace(vpdpbusd(b, byteDot, dot.getSum(), dot.getUnsignedBytes(), dot.getSignedBytes()));

  auto bytes = VectorType::get({32}, b.getI8Type()), pairs = VectorType::get({16}, b.getI16Type()),
       fours = VectorType::get({8}, b.getI32Type());
  auto constant = [&](VectorType type, int64_t value) -> Value {
    return arith::ConstantOp::create(
        b, DenseElementsAttr::get(type, APInt(type.getElementTypeBitWidth(), value, true, /*implicitTrunc=*/true)));
  };
  Value halves[2];
  for (int64_t h = 0; h < 2; ++h) {
    Value sum = half(b, b.getLoc(), dot.getSum(), h, 8),
          unsignedBytes = half(b, b.getLoc(), dot.getUnsignedBytes(), h, 32),
          signedBytes = half(b, b.getLoc(), dot.getSignedBytes(), h, 32);
    for (int64_t bits : {0x7f, 0x80}) {
      Value part = arith::AndIOp::create(b, unsignedBytes, constant(bytes, bits));
      Value products = call("llvm.x86.avx2.pmadd.ub.sw", pairs, {part, signedBytes});
      sum = arith::AddIOp::create(b, sum, call("llvm.x86.avx2.pmadd.wd", fours, {products, constant(pairs, 1)}));
    }
    halves[h] = sum;
  }
  replace(joined(b, halves));
}
