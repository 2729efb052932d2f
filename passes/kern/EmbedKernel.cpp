//===- EmbedKernel.cpp - rows of a packed table ------------------------------===//
//
// The table is packed in panels like any linear's weight, so that a tied head needs no second copy: the 4-byte pieces
// of a row stand a panel's width apart.
//
//===----------------------------------------------------------------------===//
#include "passes/kern/KernelBuilder.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::kern;

namespace {

/// One row of a coded table.
class CodedRow {
public:
  CodedRow(KernelContext &k, Value table, CodingAttr coding, Value panel, Value lane)
      : k(k), e(k.e), table(table), coding(coding), panel(panel), lane(lane) {}

  /// Four neighbours along the row: scale * (code - bias) + minimum, rounded after each step as the model's file has
  /// it.
  Value quad(Value quad) {
    Value code = e.sub(codes(quad), fours(coding.getBias()));
    Value value = e.mul(arith::SIToFPOp::create(e.b, VectorType::get({4}, e.f32()), code),
                        splat(factor(quad, Part::scales, Part::sub_scales)));
    if (!coding.getMinimum())
      return value;
    Value minimum = splat(factor(quad, Part::minima, Part::sub_minima));
    return coding.getSuper() ? e.sub(value, minimum) : e.add(value, minimum);
  }

private:
  Value part(Part part) { return k.buffer(Argument::Kind::weight, table, part); }
  Value fours(int64_t value) {
    auto type = VectorType::get({4}, e.b.getI32Type());
    return arith::ConstantOp::create(e.b, DenseElementsAttr::get(type, static_cast<int32_t>(value)));
  }
  Value splat(Value scalar) { return vector::BroadcastOp::create(e.b, VectorType::get({4}, scalar.getType()), scalar); }
  Value divided(Value quad, int64_t by) { return arith::DivUIOp::create(e.b, quad, e.index(by)); }

  Value bytes(Part from, Value at) {
    auto loaded = vector::LoadOp::create(e.b, VectorType::get({4}, e.b.getI8Type()), part(from),
                                         ValueRange{panel, at, lane, e.index(0)});
    return arith::ExtUIOp::create(e.b, VectorType::get({4}, e.b.getI32Type()), loaded.getResult());
  }
  /// Bits [width * (quad mod count), …) of bytes that `count` quads share.
  Value field(Part from, Value quad, int64_t count, int64_t width) {
    Value which = arith::RemUIOp::create(e.b, quad, e.index(count));
    Value shift = arith::IndexCastOp::create(e.b, e.b.getI32Type(), e.mul(which, e.index(width)));
    Value shifted = arith::ShRUIOp::create(e.b, bytes(from, divided(quad, count)), splat(shift));
    return arith::AndIOp::create(e.b, shifted, fours((1 << width) - 1));
  }
  Value codes(Value quad) {
    if (coding.getBits() == 8)
      return bytes(Part::codes, quad);
    Value low = field(Part::codes, quad, 2, 4);
    if (coding.getBits() == 4)
      return low;
    Value high = arith::ShLIOp::create(e.b, field(Part::codes_high, quad, 4, 2), fours(4));
    return arith::OrIOp::create(e.b, low, high);
  }
  /// A scale or minimum of the quad's group.
  Value factor(Value quad, Part whole, Part sub) {
    int64_t span = coding.getSuper() ? coding.getSuper() : coding.getGroup();
    Value value = e.loadScalar(part(whole), {panel, divided(quad, span / 4), lane});
    if (!value.getType().isF32())
      value = arith::ExtFOp::create(e.b, e.f32(), value);
    if (!coding.getSuper())
      return value;
    Value byte = e.loadScalar(part(sub), {panel, divided(quad, coding.getGroup() / 4), lane});
    return e.mul(value, arith::SIToFPOp::create(e.b, e.f32(), byte));
  }

  KernelContext &k;
  Emitter &e;
  Value table;
  CodingAttr coding;
  Value panel, lane;
};

} // namespace

LogicalResult kern::buildEmbed(KernelContext &k) {
  Emitter &e = k.e;
  auto embed = cast<lm::EmbedOp>(k.signature.anchor);
  auto yield = cast<lm::YieldOp>(k.signature.body().getTerminator());
  if (yield.getValues().size() != 1 || yield.getValues()[0] != embed.getResult())
    return embed.emitOpError() << "expected a kernel of embed alone";
  int64_t width = widthOf(embed.getResult());
  Value out = k.output(0), zero = e.index(0);
  Type i = e.b.getIndexType();
  auto range = ProgramIdOp::create(e.b, TypeRange{i, i, i, i});
  e.loop(range.getUnitBegin(), range.getUnitEnd(), 1, [&](Value row) {
    Value token = e.batch(Field::token_ids, row), panels = e.index(panelWidth);
    Value panel = arith::DivUIOp::create(e.b, token, panels), lane = arith::RemUIOp::create(e.b, token, panels);
    CodingAttr coding = codingOf(cast<RankedTensorType>(embed.getTable().getType()));
    if (!coding) {
      Value table = k.buffer(Argument::Kind::weight, embed.getTable());
      int64_t span = valuesSpan(cast<MemRefType>(table.getType()).getElementType());
      e.loop(zero, e.index(width), 1, [&](Value column) {
        SmallVector<Value> at{panel, column, lane};
        if (span != 1) {
          at[1] = arith::DivUIOp::create(e.b, column, e.index(span));
          at.push_back(arith::RemUIOp::create(e.b, column, e.index(span)));
        }
        Value value = e.loadScalar(table, at);
        if (!value.getType().isF32())
          value = arith::ExtFOp::create(e.b, e.f32(), value);
        e.storeScalar(value, out, {row, column});
      });
      return;
    }
    CodedRow table(k, embed.getTable(), coding, panel, lane);
    e.loop(zero, e.index(ceilDiv(width, 4)), 1, [&](Value quad) {
      vector::StoreOp::create(e.b, table.quad(quad), out, ValueRange{row, e.mul(quad, e.index(4))});
    });
  });
  return success();
}
