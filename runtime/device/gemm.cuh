//===- gemm.cuh - products of many rows, a piece of k at a time --------------===//
//
// dot.cuh has all of a block's rows in shared memory, which has room for few; here a piece of their columns at a time
// is there, and the sums stay in registers from piece to piece. A block of 8 warps makes a tile of many rows by many
// columns, so that weights are read from L2 once for all of its rows, and rows once for all of its columns. A warp has
// 32 columns (four panels, two operands of mma) by some tiles of 8 rows: 16 bytes of a lane, of rows or of weights, are
// operands of four mma where there are two such tiles, of more where there are more.
//
// A piece is a Shared<bf16, stages, parts, kRows, 32> of (stage, 32 columns of k, row, column): 64 bytes a row have no
// bank conflicts. While a stage is multiplied, the kernel fills another one; with two of them one barrier a piece is
// enough, behind filling: who comes to it has multiplied the piece before.
//
// The sums are those of dot.cuh to the bit: the same spans, in each the same chain of multiply-adds, added in order.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "lathe/dot.cuh"

namespace lathe::device {

/// What a warp has of a product that is under way, in registers: kRows rows by kColumns columns are the block's.
template <int kRows, int kColumns, class Panels> struct Gemm {
  static_assert(kRows % 8 == 0 && kColumns % 32 == 0 && kColumns <= 256, "tiles of 8 rows and 32 columns, 8 warps");
  static constexpr int kStrips = kColumns / 32, kShares = detail::least(kRows / 8, 8 / kStrips);
  static constexpr int kTiles = detail::ceil_div(kRows / 8, kShares);

  Panels panels;
  int panel;                                    ///< first of the warp's columns
  typename Panels::Piece ahead[4];              ///< their next block of k
  float sum[2][kTiles][4], total[2][kTiles][4]; ///< of the span that is added up, and of those before

  LATHE_DEVICE static int column() { return warp() % kStrips * 32; }
  LATHE_DEVICE static int row() { return warp() / kStrips * kTiles * 8; }
  /// Whether the warp has some of the first `rows` rows.
  LATHE_DEVICE static bool works(int rows) { return warp() < kStrips * kShares && row() < rows; }

  LATHE_DEVICE void load(int block) {
#pragma unroll
    for (int p = 0; p < 4; ++p)
      panels.template load<true>(ahead[p], panel + p, block);
  }
};

namespace detail {

template <int kRows, int kColumns, class Panels>
LATHE_DEVICE Gemm<kRows, kColumns, Panels> start(const Panels &panels, int firstPanel, int panelCount) {
  // A weight has whole tiles of 32 columns: of those behind it, the last one's are loaded, and nobody takes the sums.
  Gemm<kRows, kColumns, Panels> sums = {
      panels, min(firstPanel + Gemm<kRows, kColumns, Panels>::column() / 8, panelCount - 4), {}, {}, {}};
  if (sums.works(kRows))
    sums.load(0);
  return sums;
}

} // namespace detail

/// Begins a product of kRows rows at most by kColumns columns of a weight of `panelCount` panels, from 8 * firstPanel
/// on. Columns behind the weight's have no meaning.
template <int kRows, int kColumns, int kBlocks>
LATHE_DEVICE auto start_gemm(Global<const bf16, kBlocks, 8, 32> weight, int firstPanel, int panelCount LATHE_HERE) {
  LATHE_CALL;
  return detail::start<kRows, kColumns>(detail::Bf16Panels<kBlocks>{weight}, firstPanel, panelCount);
}
/// The same of codes with scales, as dot.cuh has them.
template <int kRows, int kColumns, class Scale, int kBlocks, int kGroups>
LATHE_DEVICE auto start_gemm(Global<const signed char, kBlocks, 8, 64> weight, Global<const Scale, kGroups, 8> scales,
                             int firstPanel, int panelCount LATHE_HERE) {
  LATHE_CALL;
  return detail::start<kRows, kColumns>(detail::BytePanels<Scale, kBlocks, kGroups>{weight, scales}, firstPanel,
                                        panelCount);
}

/// Adds the product of piece number `piece`, which stands in `stage` of the input; pieces in order, from 0. What is
/// behind k up to a whole block of the weight must be zeros, blocks behind that are not read, nor rows from `rows` on.
/// All threads of the block, which need a barrier between writing the stage and here.
template <int kRows, int kColumns, class Panels, int kStages, int kParts>
LATHE_DEVICE void add_piece(Gemm<kRows, kColumns, Panels> &sums, int rows,
                            const Shared<bf16, kStages, kParts, kRows, 32> &input, int stage, int piece LATHE_HERE) {
  LATHE_CALL;
  constexpr int kTiles = Gemm<kRows, kColumns, Panels>::kTiles, kBlockParts = Panels::kBlock / 32;
  constexpr int kSpan = detail::ceil_div(Panels::kBlockCount, kSpans), kPieceBlocks = kParts / kBlockParts;
  static_assert(kParts % kBlockParts == 0, "pieces of whole blocks");
  if (!sums.works(rows))
    return;
  const int column = warp_lane() % 4 * 8;
  int row[kTiles]; // rows that are not there are another time the last one: their sums are not stored
#pragma unroll
  for (int t = 0; t < kTiles; ++t)
    row[t] = min(sums.row() + t * 8 + warp_lane() / 4, rows - 1);
#pragma unroll
  for (int b = 0; b < kPieceBlocks; ++b) {
    const int block = piece * kPieceBlocks + b;
    if (block >= Panels::kBlockCount)
      continue;
    typename Panels::Piece now[4];
#pragma unroll
    for (int p = 0; p < 4; ++p)
      now[p] = sums.ahead[p];
    if (block + 1 < Panels::kBlockCount)
      sums.load(block + 1);
    Bytes16 x[kBlockParts][kTiles];
#pragma unroll
    for (int part = 0; part < kBlockParts; ++part)
#pragma unroll
      for (int t = 0; t < kTiles; ++t)
        x[part][t] = load_shared_16(input.at(stage, b * kBlockParts + part, row[t], column));
#pragma unroll
    for (int f = 0; f < 2; ++f)
      sums.panels.multiply(sums.sum[f], now[2 * f], now[2 * f + 1], x);
    if ((block + 1) % kSpan != 0 && block + 1 != Panels::kBlockCount)
      continue;
#pragma unroll
    for (int f = 0; f < 2; ++f)
#pragma unroll
      for (int t = 0; t < kTiles; ++t)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          sums.total[f][t][i] = sums.total[f][t][i] + sums.sum[f][t][i];
          sums.sum[f][t][i] = 0.0f;
        }
  }
}

/// The finished sums, in tiles of kTileColumns columns one behind the other: row r, column c stand in
/// tile(c / kTileColumns * kRows + r, c % kTileColumns). Rows from `rows` on are not written. All threads of the block;
/// a block_barrier is needed between here and reading.
template <int kRows, int kColumns, class Panels, int kTileRows, int kTileColumns>
LATHE_DEVICE void store_gemm(const Gemm<kRows, kColumns, Panels> &sums, int rows,
                             Shared<float, kTileRows, kTileColumns> &tile LATHE_HERE) {
  LATHE_CALL;
  static_assert(kTileRows * kTileColumns == kRows * kColumns && kTileColumns % 16 == 0, "whole tiles");
  constexpr int kTiles = Gemm<kRows, kColumns, Panels>::kTiles;
  if (!sums.works(rows))
    return;
#pragma unroll
  for (int f = 0; f < 2; ++f)
#pragma unroll
    for (int t = 0; t < kTiles; ++t)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int row = sums.row() + t * 8 + warp_lane() % 4 * 2 + i % 2;
        const int column = sums.column() + f * 16 + i / 2 * 8 + warp_lane() / 4;
        if (row < rows)
          tile(column / kTileColumns * kRows + row, column % kTileColumns) = sums.total[f][t][i];
      }
}

} // namespace lathe::device
