//===- BlockLinearKernel.cpp - a linear as the program of a GPU's block ------===//
//
//   for the rows of this block:          prologue, all threads on one row, into shared memory; none for activations
//     norm                               that are multiplied where they are
//   kern.block_dot                       the rows by the panels of one column tile
//   for each row, a group of 16 threads: epilogue on the tile's columns
//
//===----------------------------------------------------------------------===//
#include "passes/kern/RowEpilogue.h"
#include "passes/kern/RowPrologue.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::kern;

LogicalResult kern::buildBlockLinear(KernelContext &k) {
  Emitter &e = k.e;
  auto linear = cast<lm::LinearOp>(k.signature.anchor);
  Type i = e.b.getIndexType();
  auto range = ProgramIdOp::create(e.b, TypeRange{i, i, i, i});
  Value first = range.getUnitBegin(), last = range.getUnitEnd(), tileIndex = range.getTileBegin();

  RowPrologue prologue(k);
  if (failed(prologue.prepare(linear)))
    return failure();
  LogicalResult made = success();
  if (prologue.computes()) {
    e.loop(first, last, 1, [&](Value row) {
      name(row, "row");
      if (failed(prologue.row(row, e.sub(row, first))))
        made = failure();
    });
    if (failed(made))
      return failure();
    e.sync(Scope::block);
  }

  int64_t rows = roundUp(k.schedule.getUnitBlock(), deviceTileRows), columns = k.signature.panelsPerTile * panelWidth;
  Value tile = e.scratch({rows, columns}, e.f32());
  name(tile, "tile");
  Value count = e.sub(last, first), panel = e.mul(tileIndex, e.index(columns / devicePanel));
  BlockDotOp::create(e.b, count, prologue.arrays().front(), prologue.computes() ? Value() : first,
                     k.weight(linear.getWeight()), panel, tile);
  e.sync(Scope::block);

  e.share(first, last, [&](Value row) {
    name(row, "row");
    if (failed(RowEpilogue(k, tile, row, e.sub(row, first), tileIndex).run()))
      made = failure();
  });
  return made;
}
