//===- LowerByteDot.cpp - a tier's products of bytes ------------------------===//
//
//   avx512vnni: one vpdpbusd on 64 bytes.
//   x86-64-v3:  maddubs adds two products in 16 bits and saturates at 32767. The low seven bits of an unsigned byte and
//               its high bit go through it apart: 127 * 127 * 2 and 128 * 127 * 2 both fit.
//
//===----------------------------------------------------------------------===//
#include "passes/kern/LowerDot.h"

using namespace mlir;
using namespace lathe::kern;

void lathe::kern::lowerByteDot(ByteDotOp dot, ByteDot byteDot) {
  ImplicitLocOpBuilder b(dot.getLoc(), dot);
  auto call = [&](StringRef name, Type result, ValueRange operands) -> Value {
    return LLVM::CallIntrinsicOp::create(b, result, b.getStringAttr(name), operands).getResults();
  };
  auto replace = [&](Value value) {
    dot.getResult().replaceAllUsesWith(value);
    dot.erase();
  };
  if (byteDot == ByteDot::vnni512)
    return replace(call("llvm.x86.avx512.vpdpbusd.512", dot.getSum().getType(),
                        {dot.getSum(), dot.getUnsignedBytes(), dot.getSignedBytes()}));

  auto bytes = VectorType::get({32}, b.getI8Type()), pairs = VectorType::get({16}, b.getI16Type()),
       fours = VectorType::get({8}, b.getI32Type());
  auto constant = [&](VectorType type, int64_t value) -> Value {
    return arith::ConstantOp::create(
        b, DenseElementsAttr::get(type, APInt(type.getElementTypeBitWidth(), value, true, /*implicitTrunc=*/true)));
  };
  Value halves[2];
  for (int64_t h = 0; h < 2; ++h) {
    auto half = [&](Value value, int64_t size) -> Value {
      return vector::ExtractStridedSliceOp::create(b, value, h * size, size, 1);
    };
    Value sum = half(dot.getSum(), 8), unsignedBytes = half(dot.getUnsignedBytes(), 32),
          signedBytes = half(dot.getSignedBytes(), 32);
    for (int64_t bits : {0x7f, 0x80}) {
      Value part = arith::AndIOp::create(b, unsignedBytes, constant(bytes, bits));
      Value products = call("llvm.x86.avx2.pmadd.ub.sw", pairs, {part, signedBytes});
      sum = arith::AddIOp::create(b, sum, call("llvm.x86.avx2.pmadd.wd", fours, {products, constant(pairs, 1)}));
    }
    halves[h] = sum;
  }
  SmallVector<int64_t> order(lanes);
  for (int64_t i = 0; i < lanes; ++i)
    order[i] = i;
  replace(vector::ShuffleOp::create(b, halves[0], halves[1], order));
}
