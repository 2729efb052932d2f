//===- BlockGemmKernel.cpp - a linear of many rows as a GPU's block's program ===//
//
//   for each row, a group of 16 threads: what its norm has to know of all of it
//   kern.gemm_start                      sums of the block's rows by its columns, in registers
//   for pieces of k:
//     for each row, a group:             prologue on the piece's columns, into a stage of shared memory
//       norm
//     kern.barrier block                 between a stage's filling and its use; the piece before is behind all threads
//     kern.gemm_piece
//   kern.gemm_store                      to shared memory
//   for each column tile of the block:
//     for each row, a group:             epilogue on the tile's columns
//
//===----------------------------------------------------------------------===//
#include "passes/kern/PiecePrologue.h"
#include "passes/kern/RowEpilogue.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::kern;

LogicalResult kern::buildBlockGemm(KernelContext &k) {
  Emitter &e = k.e;
  auto linear = cast<lm::LinearOp>(k.signature.anchor);
  Type i = e.b.getIndexType();
  auto range = ProgramIdOp::create(e.b, TypeRange{i, i, i, i});
  Value first = range.getUnitBegin(), last = range.getUnitEnd(), firstTile = range.getTileBegin();
  int64_t rows = k.schedule.getUnitBlock(), depth = k.schedule.getDepth(), tiles = k.gemmTiles();
  int64_t tileColumns = k.signature.panelsPerTile * panelWidth;
  k.kernel->setAttr(tilesPerBlockAttr, e.b.getI64IntegerAttr(tiles));

  PiecePrologue prologue(k);
  if (failed(prologue.prepare(linear)))
    return failure();
  LogicalResult made = success();
  if (Operation *norm = prologue.measures()) {
    Emitter::At at(e, norm);
    e.share(first, last, [&](Value row) {
      name(row, "row");
      if (failed(prologue.measureRow(row, e.sub(row, first))))
        made = failure();
    });
  }

  auto sumsType = MemRefType::get({rows, tiles * tileColumns}, e.f32(), AffineMap(), e.b.getStringAttr(registerSpace));
  Value panel = e.mul(firstTile, e.index(tileColumns / devicePanel)), count = e.sub(last, first);
  Value sums = GemmStartOp::create(e.b, sumsType, k.weight(linear.getWeight()), panel);
  // Who comes to the barrier has multiplied the piece before, so the stage of that one may be filled behind it.
  auto piece = [&](Value number, int64_t left) {
    Value stage = arith::RemUIOp::create(e.b, number, e.index(gemmStages));
    e.share(first, last, [&](Value row) {
      name(row, "row");
      if (failed(prologue.fill(row, e.sub(row, first), stage, number, left)))
        made = failure();
    });
    e.sync(Scope::block);
    GemmPieceOp::create(e.b, number, count, prologue.stages(), stage, sums);
  };
  int64_t width = widthOf(linear.getInput()), whole = width / depth;
  if (whole != 0)
    e.loop(e.index(0), e.index(whole), 1, [&](Value number) {
      name(number, "piece");
      piece(number, depth);
    });
  if (width % depth != 0)
    piece(e.index(whole), width % depth);
  if (failed(made))
    return failure();

  Value tile = e.scratch({tiles * rows, tileColumns}, e.f32());
  name(tile, "tile");
  GemmStoreOp::create(e.b, count, sums, tile);
  e.sync(Scope::block);
  auto epilogue = [&](Value number, Value firstSlot) {
    e.share(first, last, [&](Value row) {
      name(row, "row");
      Value slot = e.sub(row, first);
      if (failed(RowEpilogue(k, tile, row, firstSlot ? e.add(firstSlot, slot) : slot, number).run()))
        made = failure();
    });
  };
  if (tiles == 1)
    epilogue(firstTile, {});
  else
    e.loop(firstTile, range.getTileEnd(), 1, [&](Value number) {
      name(number, "tile");
      epilogue(number, e.mul(e.sub(number, firstTile), e.index(rows)));
    });
  return made;
}
