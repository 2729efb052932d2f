//===- LinearKernel.cpp - prologue, register tiles, epilogue ----------------===//
//
//   for the rows of this call:           prologue, once per row, into scratch
//     norm, quantize
//   for the column tiles of this call:
//     kern.unpack                        AMX: the panels as signed bytes, for all register tiles
//     for register tiles of rows, or all rows at once where they are enough for the schedule's library:
//       kern.dot                         one panel after another, into scratch
//       for each row:                    epilogue on the tile's columns
//         bias, norm per head, rope, gated, residual, store
//
//===----------------------------------------------------------------------===//
#include "passes/kern/KernelBuilder.h"
#include "passes/kern/RowEpilogue.h"
#include "passes/kern/RowPrologue.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::kern;

namespace {

/// How far ahead of its use a stream of weights is asked for, in bytes.
constexpr int64_t streamAhead = 2048;

} // namespace

LogicalResult kern::buildLinear(KernelContext &k) {
  Emitter &e = k.e;
  auto linear = cast<lm::LinearOp>(k.signature.anchor);
  auto range = ProgramIdOp::create(
      e.b, TypeRange{e.b.getIndexType(), e.b.getIndexType(), e.b.getIndexType(), e.b.getIndexType()});
  Value u0 = range.getUnitBegin(), u1 = range.getUnitEnd();
  int64_t rows = k.schedule.getRows();

  RowPrologue prologue(k);
  if (failed(prologue.prepare(linear)))
    return failure();
  LogicalResult made = success();
  if (prologue.computes()) {
    Value no = arith::ConstantOp::create(e.b, e.b.getBoolAttr(false));
    Value fresh = e.compare(arith::CmpIPredicate::eq, PreparedOp::create(e.b, e.b.getI1Type()), no);
    e.when(fresh, [&] {
      e.loop(u0, u1, 1, [&](Value unit) { made = prologue.row(unit, e.sub(unit, u0)); });
      prologue.pad(e.sub(u1, u0));
    });
  }
  if (failed(made))
    return failure();

  StringAttr library = k.schedule.getLibrary();
  int64_t most = library ? k.schedule.getUnitBlock() : rows; // rows of a product
  Value tile = e.scratch({most, k.signature.panelsPerTile * panelWidth}, e.f32());
  SmallVector<Value> weight;
  int64_t width = widthOf(linear.getInput());
  CodingAttr coding = codingOf(cast<RankedTensorType>(linear.getWeight().getType()));
  IntegerAttr inputGroup;
  SmallVector<Part> parts{Part::values};
  if (coding) {
    inputGroup = e.b.getI64IntegerAttr(lm::quantOf(linear.getInput().getType()).getGroup());
    parts = coding.parts();
  }
  for (Part part : parts)
    weight.push_back(k.buffer(Argument::Kind::weight, linear.getWeight(), part));

  auto streamed = cast<MemRefType>(weight.front().getType());
  int64_t tileBytes = k.signature.panelsPerTile * streamed.getElementTypeBitWidth() / 8;
  for (int64_t size : streamed.getShape().drop_front())
    tileBytes *= size;
  Value unpacked, enough; // AMX: the panels of a column tile, and whether this call has rows for it
  if (k.usesAmx(coding)) {
    unpacked = e.scratch(coding.unpackedType(k.signature.panelsPerTile, width, inputGroup.getInt()).getShape(),
                         e.b.getI8Type());
    enough = e.compare(arith::CmpIPredicate::sge, e.sub(u1, u0), e.index(k.schedule.getAmxRows()));
  }
  auto panelOf = [&](Value t, int64_t p) {
    return k.signature.panelsPerTile == 1 ? t : e.add(e.mul(t, e.index(k.signature.panelsPerTile)), e.index(p));
  };

  e.loop(range.getTileBegin(), range.getTileEnd(), 1, [&](Value t) {
    if (unpacked)
      e.when(enough, [&] {
        for (int64_t p = 0; p < k.signature.panelsPerTile; ++p)
          UnpackOp::create(e.b, weight, panelOf(t, p), unpacked, e.index(p), width, coding, inputGroup.getInt());
      });
    // Evenly: 8 rows by tiles of 6 are 4 and 4, since a tile of few rows costs nearly as much as a whole one.
    Value total = e.sub(u1, u0), parts = arith::CeilDivUIOp::create(e.b, total, e.index(rows)), leaves;
    if (library) {
      leaves = e.compare(arith::CmpIPredicate::sge, total, e.index(k.schedule.getLibraryRows()));
      parts = e.select(leaves, e.index(1), parts);
    }
    e.loop(e.index(0), parts, 1, [&](Value part) {
      auto bound = [&](Value number) { return e.add(u0, arith::DivUIOp::create(e.b, e.mul(total, number), parts)); };
      Value unit = bound(part), count = e.sub(bound(e.add(part, e.index(1))), unit);
      Value inputRow = prologue.computes() ? e.sub(unit, u0) : unit;
      // Few rows take a panel as fast as memory gives it. More, or the last of several parts, which find the panel in
      // the cache, ask for the next tile's: memory would rest meanwhile.
      Value one = e.compare(arith::CmpIPredicate::eq, parts, e.index(1));
      Value few = e.compare(arith::CmpIPredicate::ule, count, e.index(rows / 2));
      Value last = e.compare(arith::CmpIPredicate::eq, e.add(part, e.index(1)), parts);
      Value follows = e.compare(arith::CmpIPredicate::ne, e.add(t, e.index(1)), range.getTileEnd());
      Value streams = arith::AndIOp::create(e.b, one, few), next = arith::AndIOp::create(e.b, last, follows);
      Value behind = e.select(next, e.index(tileBytes), e.index(0));
      Value ahead = e.select(streams, e.index(streamAhead), behind);
      for (int64_t p = 0; p < k.signature.panelsPerTile; ++p) {
        auto product = [&](int64_t most, StringAttr library) {
          DotOp::create(e.b, count, e.b.getI64IntegerAttr(most), prologue.arrays(), inputRow, weight, panelOf(t, p),
                        tile, e.index(p * panelWidth), unpacked, unpacked ? e.index(p) : Value(),
                        e.b.getI64IntegerAttr(width), coding, inputGroup, library ? Value() : ahead, library);
        };
        if (library)
          e.either(leaves, [&] { product(most, library); }, [&] { product(rows, {}); });
        else
          product(rows, {});
      }
      e.loop(e.index(0), count, 1, [&](Value slot) {
        if (failed(RowEpilogue(k, tile, e.add(unit, slot), slot, t).run()))
          made = failure();
      });
    });
  });
  return made;
}
