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
    auto quant = lm::quantOf(embed.getTable().getType());
    if (!quant) {
      Value table = k.buffer(Argument::Kind::weight, embed.getTable());
      e.loop(zero, e.index(width), 1,
             [&](Value column) { e.storeScalar(e.loadScalar(table, {panel, column, lane}), out, {row, column}); });
      return;
    }
    Value codes = k.buffer(Argument::Kind::weight, embed.getTable(), Part::codes),
          scales = k.buffer(Argument::Kind::weight, embed.getTable(), Part::scales);
    int64_t quads = ceilDiv(width, 4);
    e.loop(zero, e.index(quads), 1, [&](Value quad) {
      Value column = e.mul(quad, e.index(4));
      Value scale = arith::ExtFOp::create(
          e.b, e.f32(),
          e.loadScalar(scales, {panel, arith::DivUIOp::create(e.b, column, e.index(quant.getGroup())), lane}));
      auto bytes = vector::LoadOp::create(e.b, VectorType::get({4}, e.b.getI8Type()), codes,
                                          ValueRange{panel, quad, lane, zero});
      auto ints = VectorType::get({4}, e.b.getI32Type()), floats = VectorType::get({4}, e.f32());
      Value biased = arith::ExtUIOp::create(e.b, ints, bytes.getResult());
      Value code = e.sub(biased, arith::ConstantOp::create(e.b, DenseElementsAttr::get(ints, int32_t(128))));
      Value value = e.mul(arith::SIToFPOp::create(e.b, floats, code), vector::BroadcastOp::create(e.b, floats, scale));
      vector::StoreOp::create(e.b, value, out, ValueRange{row, column});
    });
  });
  return success();
}
