//===- ExpandExp.cpp - exp as a polynomial ----------------------------------===//
//
//   n = round(x / ln 2), r = x - n ln 2, exp(x) = 2^n (1 + r + r² p(r))
//
// Coefficients: expf of the Cephes library. NaN gives NaN.
//
//===----------------------------------------------------------------------===//
#include "passes/kern/ExpandExp.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

using namespace mlir;

namespace {

constexpr float lowest = -87.0f, highest = 88.0f;
/// ln 2 in two parts: products of the first with small integers are exact.
constexpr float ln2High = 0.693359375f, ln2Low = -2.12194440e-4f, perLn2 = 1.44269504088896341f;
constexpr float coefficients[] = {1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f,
                                  4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f};

struct ExpandExp : OpRewritePattern<math::ExpOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(math::ExpOp op, PatternRewriter &rewriter) const override {
    Type type = op.getType();
    if (!getElementTypeOrSelf(type).isF32())
      return rewriter.notifyMatchFailure(op, "expected f32");
    ImplicitLocOpBuilder b(op.getLoc(), rewriter);
    Type ints = b.getI32Type();
    if (auto vector = dyn_cast<VectorType>(type))
      ints = vector.clone(b.getI32Type());
    auto constant = [&](TypedAttr value, Type of) -> Value {
      if (auto shaped = dyn_cast<ShapedType>(of))
        value = DenseElementsAttr::get(shaped, Attribute(value));
      return arith::ConstantOp::create(b, value);
    };
    auto real = [&](float value) { return constant(b.getF32FloatAttr(value), type); };
    auto integer = [&](int32_t value) { return constant(b.getI32IntegerAttr(value), ints); };
    auto compare = [&](arith::CmpFPredicate predicate, Value x, Value y) -> Value {
      return arith::CmpFOp::create(b, predicate, x, y);
    };
    auto select = [&](Value condition, Value x, Value y) -> Value {
      return arith::SelectOp::create(b, condition, x, y);
    };
    auto fma = [&](Value x, Value y, Value z) -> Value { return math::FmaOp::create(b, x, y, z); };

    // A NaN passes both comparisons, and then the polynomial.
    Value x = op.getOperand(), low = real(lowest), high = real(highest);
    Value clamped = select(compare(arith::CmpFPredicate::OLT, x, low), low, x);
    clamped = select(compare(arith::CmpFPredicate::OGT, clamped, high), high, clamped);
    Value n = math::RoundEvenOp::create(b, arith::MulFOp::create(b, clamped, real(perLn2)).getResult());
    Value minusN = arith::NegFOp::create(b, n);
    Value r = fma(minusN, real(ln2Low), fma(minusN, real(ln2High), clamped));
    Value p = real(coefficients[0]);
    for (float coefficient : llvm::drop_begin(coefficients))
      p = fma(p, r, real(coefficient));
    Value y = fma(p, Value(arith::MulFOp::create(b, r, r)), Value(arith::AddFOp::create(b, r, real(1.0f))));
    Value exponent = arith::AddIOp::create(b, arith::FPToSIOp::create(b, ints, n).getResult(), integer(127));
    Value power = arith::BitcastOp::create(b, type, arith::ShLIOp::create(b, exponent, integer(23)).getResult());
    Value result = arith::MulFOp::create(b, y, power);
    rewriter.replaceOp(op, select(compare(arith::CmpFPredicate::OLT, x, low), real(0.0f), result));
    return success();
  }
};

} // namespace

void lathe::kern::populateExpandExpPattern(RewritePatternSet &patterns) {
  patterns.add<ExpandExp>(patterns.getContext());
}
