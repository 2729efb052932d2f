//===- BlockEmbedKernel.cpp - rows of a table packed for a GPU ---------------===//
//
// The table is packed like any linear's weight, so that a tied head needs no second copy: the blocks of a row stand a
// panel's block apart. A group of threads takes one block, of codes with its scales.
//
//===----------------------------------------------------------------------===//
#include "passes/kern/KernelBuilder.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::kern;

LogicalResult kern::buildBlockEmbed(KernelContext &k) {
  Emitter &e = k.e;
  auto embed = cast<lm::EmbedOp>(k.signature.anchor);
  auto yield = cast<lm::YieldOp>(k.signature.body().getTerminator());
  if (yield.getValues().size() != 1 || yield.getValues()[0] != embed.getResult())
    return embed.emitOpError() << "expected a kernel of embed alone";
  SmallVector<Value> table = k.weight(embed.getTable());
  Value out = k.output(0), values = table.front();
  CodingAttr coding = codingOf(cast<RankedTensorType>(embed.getTable().getType()));
  int64_t width = widthOf(embed.getResult());
  auto type = cast<MemRefType>(values.getType());
  int64_t block = type.getDimSize(3), whole = width / block;
  Type i = e.b.getIndexType();
  auto range = ProgramIdOp::create(e.b, TypeRange{i, i, i, i});
  e.loop(range.getUnitBegin(), range.getUnitEnd(), 1, [&](Value row) {
    name(row, "row");
    Value token = e.batch(Field::token_ids, row), features = e.index(devicePanel);
    Value panel = arith::DivUIOp::create(e.b, token, features), feature = arith::RemUIOp::create(e.b, token, features);
    auto load = [&](Value number, int64_t j) -> Value {
      if (!coding)
        return e.load(values, {panel, number, feature, e.index(j)});
      int64_t group = deviceGroup(coding);
      Value at = e.add(e.mul(number, e.index(block / group)), e.index(j / group));
      Value scale = e.loadScalar(table.back(), {panel, at, feature});
      if (!scale.getType().isF32())
        scale = arith::ExtFOp::create(e.b, e.f32(), scale);
      return e.mul(LoadCodesOp::create(e.b, e.vec(), values, panel, number, feature, e.index(j)), e.splat(scale));
    };
    auto copy = [&](Value number, int64_t valid) {
      for (int64_t j = 0; j < valid; j += lanes) {
        Value value = load(number, j);
        Value column = e.add(e.mul(number, e.index(block)), e.index(j));
        e.storeValid(value, out, {row, column}, valid - j);
      }
    };
    if (whole != 0)
      e.share(e.index(0), e.index(whole), [&](Value number) {
        name(number, "number");
        copy(number, block);
      });
    if (width % block != 0)
      e.when(e.compare(arith::CmpIPredicate::eq, GroupIdOp::create(e.b, i), e.index(0)),
             [&] { copy(e.index(whole), width % block); });
  });
  return success();
}
