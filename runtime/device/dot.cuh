//===- dot.cuh - products of some rows by panels of a weight -----------------===//
//
// A weight is packed in panels of 8 output features and, along k, blocks of 64 bytes: Global<const T, blocks, 8, kb> of
// (panel, block, column, k), kb 16 for f32, 32 for bf16, 64 for bytes; k is filled with zeros to whole blocks, features
// to whole tiles. A warp reads a block of 512 bytes at once: lane l owns the 16 bytes from 16 l on, of column l / 4.
// These are fragments of mma as they are: a sum over k may be permuted when both operands are, so what mma calls
// columns 2q, 2q + 1, 2q + 8, 2q + 9 of its first step are elements 0 to 3 of the lane, of its second 4 to 7. Weights
// are the operand with 16 rows (two panels), rows of the batch that with 8: few rows waste little.
//
// Results do not depend on the number of rows. k is cut into spans, at places that depend on k alone; a span is one
// chain of multiply-adds from 0; the spans' sums are added to 0 in order. f32: spans of 256, fma in order of k, as on
// the CPU (kSumSpan in runtime/Abi.h). bf16 and bytes: kSpans spans of whole blocks, mma_bf16 in order of blocks. Where
// rows are few, each warp takes a span of all columns, so that all of a block's warps bring in weights; where they are
// many, a warp takes an output tile and all spans.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "lathe/fragments.cuh"
#include "lathe/reduce.cuh"

namespace lathe::device {

constexpr int kSpans = 8;
constexpr int kFloatSpan = 256;
/// With room for up to so many rows the spans go to the warps; with more, only those of so few rows do, and not where
/// the sums of so many columns would take too much of shared memory.
constexpr int kSpanRows = 16, kFewRows = 8, kFewColumns = 128;

/// Sums of spans on their way, where warps take spans. Rows are padded against bank conflicts.
template <int kRows, int kColumns, bool kUsed = (kRows <= kSpanRows || kColumns <= kFewColumns)> struct DotSums {
  static constexpr int kSumRows = kRows <= kSpanRows ? kRows : kFewRows;
  Shared<float, kSpans, kSumRows, kColumns + 4> sums;
};
template <int kRows, int kColumns> struct DotSums<kRows, kColumns, false> {
  static constexpr int kSumRows = 0;
};

namespace detail {

LATHE_DEVICE constexpr int least(int x, int y) { return x < y ? x : y; }
LATHE_DEVICE constexpr int most(int x, int y) { return x < y ? y : x; }
LATHE_DEVICE constexpr int ceil_div(int x, int y) { return (x + y - 1) / y; }

/// What a lane holds of a block of k: of kPanels panels, and of kTiles tiles of 8 rows what is not near.
template <class Panels, class Rows, int kPanels, int kTiles> struct Block {
  typename Panels::Piece pieces[kPanels];
  typename Rows::Ahead ahead[Panels::kBlock / 32][kTiles];
};

/// Blocks [begin, end) of kPanels panels and of rows [first, first + 8 kTiles): `use(block, pieces, x)` for each block
/// in order, while the loads of the next are under way. Rows behind `rows` are not read and count as zeros.
template <int kPanels, int kTiles, class Panels, class Rows, class Use>
LATHE_DEVICE void walk_blocks(const Panels &panels, int firstPanel, const Rows &input, int first, int rows, int begin,
                              int end, Use use) {
  // 8 loads of 16 bytes of weights are under way, for any number of panels, where 64 registers have room for that.
  using Stage = Block<Panels, Rows, kPanels, kTiles>;
  constexpr int kParts = Panels::kBlock / 32;
  constexpr int kStage = most(1, least(8 / kPanels, 256 / static_cast<int>(sizeof(Stage))));
  const int row = first + warp_lane() / 4, column = warp_lane() % 4 * 8;
  const auto load = [&](Stage &stage, int block) {
    if (block >= end)
      return;
#pragma unroll
    for (int p = 0; p < kPanels; ++p)
      panels.load(stage.pieces[p], firstPanel + p, block);
#pragma unroll
    for (int part = 0; part < kParts; ++part)
#pragma unroll
      for (int t = 0; t < kTiles; ++t)
        if (row + 8 * t < rows)
          input.fetch(stage.ahead[part][t], row + 8 * t, (block * kParts + part) * 32 + column);
  };
  Stage now[kStage], next[kStage];
#pragma unroll
  for (int s = 0; s < kStage; ++s)
    load(now[s], begin + s);
  for (int block = begin; block < end; block += kStage) {
#pragma unroll
    for (int s = 0; s < kStage; ++s)
      load(next[s], block + kStage + s);
#pragma unroll
    for (int s = 0; s < kStage; ++s) {
      if (block + s >= end)
        continue;
      Bytes16 x[kParts][kTiles];
#pragma unroll
      for (int part = 0; part < kParts; ++part)
#pragma unroll
        for (int t = 0; t < kTiles; ++t) {
          x[part][t] = {{0, 0, 0, 0}};
          if (row + 8 * t < rows)
            x[part][t] = input.take(now[s].ahead[part][t], row + 8 * t, ((block + s) * kParts + part) * 32 + column);
        }
      use(block + s, now[s].pieces, x);
    }
#pragma unroll
    for (int s = 0; s < kStage; ++s)
      now[s] = next[s];
  }
}

/// tile = Σ over spans of sums, in order; `before` the sums of the spans before.
template <int kSumRows, int kRows, int kColumns>
LATHE_DEVICE void add_spans(int rows, Shared<float, kSpans, kSumRows, kColumns + 4> &sums, int spans, bool before,
                            Shared<float, kRows, kColumns> &tile) {
  for (int index = thread(); index < rows * kColumns; index += threads()) {
    const int row = index / kColumns, column = index % kColumns;
    float sum = before ? static_cast<float>(tile(row, column)) : 0.0f;
    for (int span = 0; span < spans; ++span)
      sum = sum + sums(span, row, column);
    tile(row, column) = sum;
  }
}

/// The most columns up to 64, in steps of 16, of which `columns` has a whole number.
LATHE_DEVICE constexpr int strip_of(int columns) {
  int strip = 64;
  while (columns % strip != 0)
    strip -= 16;
  return strip;
}

/// Warps take spans, of at most 64 columns at a time: more sums and loads than that have no room in registers.
template <int kSumRows, int kRows, class Panels, class Rows, int kColumns>
LATHE_DEVICE void dot_spans(int rows, const Rows &input, const Panels &panels, int firstPanel,
                            Shared<float, kRows, kColumns> &tile, Shared<float, kSpans, kSumRows, kColumns + 4> &sums) {
  constexpr int kTiles = kSumRows / 8, kSpan = ceil_div(Panels::kBlockCount, kSpans);
  constexpr int kStrip = strip_of(kColumns), kPanels = kStrip / 8;
  for (int span = warp(); span < kSpans; span += warps())
    for (int strip = 0; strip < kColumns; strip += kStrip) {
      float sum[kPanels / 2][kTiles][4] = {};
      walk_blocks<kPanels, kTiles>(
          panels, firstPanel + strip / 8, input, 0, rows, span * kSpan, min(span * kSpan + kSpan, Panels::kBlockCount),
          [&](int, const typename Panels::Piece(&pieces)[kPanels], const Bytes16(&x)[Panels::kBlock / 32][kTiles]) {
#pragma unroll
            for (int f = 0; f < kPanels / 2; ++f)
              panels.multiply(sum[f], pieces[2 * f], pieces[2 * f + 1], x);
          });
#pragma unroll
      for (int f = 0; f < kPanels / 2; ++f)
#pragma unroll
        for (int t = 0; t < kTiles; ++t)
#pragma unroll
          for (int i = 0; i < 4; ++i)
            sums(span, t * 8 + warp_lane() % 4 * 2 + i % 2, strip + f * 16 + i / 2 * 8 + warp_lane() / 4) =
                sum[f][t][i];
    }
  block_barrier();
  add_spans(rows, sums, kSpans, false, tile);
}

/// Warps take output tiles: 16 columns by some tiles of 8 rows.
template <int kRows, class Panels, class Rows, int kColumns>
LATHE_DEVICE void dot_tiles(int rows, const Rows &input, const Panels &panels, int firstPanel,
                            Shared<float, kRows, kColumns> &tile) {
  constexpr int kSpan = ceil_div(Panels::kBlockCount, kSpans), kStrips = kColumns / 16;
  // Eight warps share the strips of 16 columns; where there are fewer, they share the rows of a strip.
  constexpr int kParts = least(kRows / 8, most(1, 8 / kStrips)), kTiles = ceil_div(kRows / 8, kParts);
  for (int piece = warp(); piece < kStrips * kParts; piece += warps()) {
    const int strip = piece % kStrips, first = piece / kStrips * kTiles * 8;
    if (first >= rows)
      continue;
    float total[kTiles][4] = {}, sum[kTiles][4] = {};
    walk_blocks<2, kTiles>(
        panels, firstPanel + strip * 2, input, first, rows, 0, Panels::kBlockCount,
        [&](int block, const typename Panels::Piece(&pieces)[2], const Bytes16(&x)[Panels::kBlock / 32][kTiles]) {
          panels.multiply(sum, pieces[0], pieces[1], x);
          if ((block + 1) % kSpan != 0 && block + 1 != Panels::kBlockCount)
            return;
#pragma unroll
          for (int t = 0; t < kTiles; ++t)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              total[t][i] = total[t][i] + sum[t][i];
              sum[t][i] = 0.0f;
            }
        });
#pragma unroll
    for (int t = 0; t < kTiles; ++t)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int row = first + t * 8 + warp_lane() % 4 * 2 + i % 2;
        if (row < rows)
          tile(row, strip * 16 + i / 2 * 8 + warp_lane() / 4) = total[t][i];
      }
  }
}

template <int kRows, class Panels, class Rows, int kColumns>
LATHE_DEVICE void dot_panels(int rows, const Rows &input, const Panels &panels, int firstPanel,
                             Shared<float, kRows, kColumns> &tile, DotSums<kRows, kColumns> &sums) {
  static_assert(kRows % 8 == 0 && kColumns % 16 == 0, "tiles of 8 rows and 16 columns");
  constexpr int kSumRows = DotSums<kRows, kColumns>::kSumRows;
  if constexpr (kSumRows != 0)
    if (rows <= kSumRows)
      return dot_spans(rows, input, panels, firstPanel, tile, sums.sums);
  if constexpr (kSumRows != kRows)
    dot_tiles(rows, input, panels, firstPanel, tile);
}

//===--- f32 ----------------------------------------------------------------===//

/// Spans [begin, end) of 8 rows from `first` on by one column: `done(span, sums)` for each.
template <int kBlocks, class Rows, class Done>
LATHE_DEVICE void walk_float_spans(int rows, int first, const Rows &input, Global<const float, kBlocks, 8, 16> weight,
                                   int panel, int column, int begin, int end, Done done) {
  for (int span = begin; span < end; ++span) {
    float sum[8] = {};
    for (int block = span * (kFloatSpan / 16); block < min((span + 1) * (kFloatSpan / 16), kBlocks); ++block) {
      Bytes16 w[4];
#pragma unroll
      for (int j = 0; j < 4; ++j)
        w[j] = load_streaming_16(weight.at(panel, block, column, 4 * j));
#pragma unroll
      for (int r = 0; r < 8; ++r) {
        if (first + r >= rows)
          continue;
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const Bytes16 x = load_four(input, first + r, block * 16 + 4 * j);
#pragma unroll
          for (int i = 0; i < 4; ++i)
            sum[r] = fma(float_of(x.word[i]), float_of(w[j].word[i]), sum[r]);
        }
      }
    }
    done(span, sum);
  }
}

template <int kRows, class Rows, int kBlocks, int kColumns>
LATHE_DEVICE void dot_floats(int rows, const Rows &input, Global<const float, kBlocks, 8, 16> weight, int firstPanel,
                             Shared<float, kRows, kColumns> &tile, [[maybe_unused]] DotSums<kRows, kColumns> &sums) {
  static_assert(kRows % 8 == 0 && kColumns % 8 == 0, "tiles of 8 rows and 8 columns");
  constexpr int kSpanCount = ceil_div(kBlocks * 16, kFloatSpan);
  if constexpr (kRows <= kSpanRows) {
    // kSpans spans at a time, one thread a span and column.
    for (int begin = 0; begin < kSpanCount; begin += kSpans) {
      if (begin > 0)
        block_barrier();
      for (int index = thread(); index < kSpans * kColumns; index += threads()) {
        const int column = index % kColumns, span = begin + index / kColumns;
        for (int first = 0; first < rows; first += 8)
          walk_float_spans(rows, first, input, weight, firstPanel + column / 8, column % 8, span,
                           min(span + 1, kSpanCount), [&](int, const float (&sum)[8]) {
#pragma unroll
                             for (int r = 0; r < 8; ++r)
                               if (first + r < rows)
                                 sums.sums(index / kColumns, first + r, column) = sum[r];
                           });
      }
      block_barrier();
      add_spans(rows, sums.sums, min(kSpans, kSpanCount - begin), begin > 0, tile);
    }
  } else {
    for (int index = thread(); index < kRows / 8 * kColumns; index += threads()) {
      const int column = index % kColumns, first = index / kColumns * 8;
      if (first >= rows)
        continue;
      float total[8] = {};
      walk_float_spans(rows, first, input, weight, firstPanel + column / 8, column % 8, 0, kSpanCount,
                       [&](int, const float (&sum)[8]) {
#pragma unroll
                         for (int r = 0; r < 8; ++r)
                           total[r] = total[r] + sum[r];
                       });
#pragma unroll
      for (int r = 0; r < 8; ++r)
        if (first + r < rows)
          tile(first + r, column) = total[r];
    }
  }
}

} // namespace detail

/// tile[r][c] = Σ_k input[r][k] * weight[k][c] for r < rows, of kColumns columns from 8 * firstPanel on; the input is
/// rounded to bf16. All threads of the block; a block_barrier is needed between writing `input` and here, and between
/// here and reading `tile` or the next product. Rows from `rows` on are neither read nor written; columns of `input`
/// behind k, up to whole blocks, are read and must be zeros. A stride of `input` of 32 more than a multiple of 64 has
/// no bank conflicts.
template <int kRows, int kInputRows, int kStride, int kBlocks, int kColumns>
LATHE_DEVICE void dot(int rows, const Shared<bf16, kInputRows, kStride> &input,
                      Global<const bf16, kBlocks, 8, 32> weight, int firstPanel, Shared<float, kRows, kColumns> &tile,
                      DotSums<kRows, kColumns> &sums LATHE_HERE) {
  LATHE_CALL;
  static_assert(kStride >= kBlocks * 32 && kStride % 8 == 0, "rows of whole blocks");
  detail::dot_panels<kRows>(rows, detail::SharedRows<kInputRows, kStride>{input}, detail::Bf16Panels<kBlocks>{weight},
                            firstPanel, tile, sums);
}

/// The same of rows from `firstRow` on in global memory, which may be wider than shared memory has room for. They need
/// no zeros behind them.
template <int kRows, int kWidth, int kBlocks, int kColumns>
LATHE_DEVICE void dot(int rows, Global<const float, kWidth> input, int firstRow,
                      Global<const bf16, kBlocks, 8, 32> weight, int firstPanel, Shared<float, kRows, kColumns> &tile,
                      DotSums<kRows, kColumns> &sums LATHE_HERE) {
  LATHE_CALL;
  static_assert(detail::ceil_div(kWidth, 32) == kBlocks, "a weight of as many blocks");
  detail::dot_panels<kRows>(rows, detail::GlobalRows<kWidth>{input, firstRow}, detail::Bf16Panels<kBlocks>{weight},
                            firstPanel, tile, sums);
}

/// The same of codes with a scale for each group of 32 or 64 along k and each column, `scales` (panel, group, column):
/// a group's product is a chain of mma_bf16 from 0 (codes are exact in bf16), and a span's sum = fma(product, scale,
/// sum), groups in order. Within a block a column's codes are permuted: place p holds element p / 8 % 2 * 32 + p / 16 *
/// 8 + p % 8, so that each lane has codes of both groups of 32.
template <int kRows, class Scale, int kInputRows, int kStride, int kBlocks, int kGroups, int kColumns>
LATHE_DEVICE void dot(int rows, const Shared<bf16, kInputRows, kStride> &input,
                      Global<const signed char, kBlocks, 8, 64> weight, Global<const Scale, kGroups, 8> scales,
                      int firstPanel, Shared<float, kRows, kColumns> &tile, DotSums<kRows, kColumns> &sums LATHE_HERE) {
  LATHE_CALL;
  static_assert(kStride >= kBlocks * 64 && kStride % 8 == 0, "rows of whole blocks");
  detail::dot_panels<kRows>(rows, detail::SharedRows<kInputRows, kStride>{input},
                            detail::BytePanels<Scale, kBlocks, kGroups>{weight, scales}, firstPanel, tile, sums);
}
template <int kRows, class Scale, int kWidth, int kBlocks, int kGroups, int kColumns>
LATHE_DEVICE void dot(int rows, Global<const float, kWidth> input, int firstRow,
                      Global<const signed char, kBlocks, 8, 64> weight, Global<const Scale, kGroups, 8> scales,
                      int firstPanel, Shared<float, kRows, kColumns> &tile, DotSums<kRows, kColumns> &sums LATHE_HERE) {
  LATHE_CALL;
  static_assert(detail::ceil_div(kWidth, 64) == kBlocks, "a weight of as many blocks");
  detail::dot_panels<kRows>(rows, detail::GlobalRows<kWidth>{input, firstRow},
                            detail::BytePanels<Scale, kBlocks, kGroups>{weight, scales}, firstPanel, tile, sums);
}

/// Element `element` of a column's block of such codes.
template <int kBlocks>
LATHE_DEVICE float code(Global<const signed char, kBlocks, 8, 64> weight, int panel, int block, int column,
                        int element LATHE_HERE) {
  LATHE_CALL;
  return static_cast<float>(weight(panel, block, column, element % 32 / 8 * 16 + element / 32 * 8 + element % 8));
}

/// The same in f32, nothing rounded.
template <int kRows, int kInputRows, int kStride, int kBlocks, int kColumns>
LATHE_DEVICE void dot(int rows, const Shared<float, kInputRows, kStride> &input,
                      Global<const float, kBlocks, 8, 16> weight, int firstPanel, Shared<float, kRows, kColumns> &tile,
                      DotSums<kRows, kColumns> &sums LATHE_HERE) {
  LATHE_CALL;
  static_assert(kStride >= kBlocks * 16 && kStride % 4 == 0, "rows of whole blocks");
  detail::dot_floats<kRows>(rows, input, weight, firstPanel, tile, sums);
}
template <int kRows, int kWidth, int kBlocks, int kColumns>
LATHE_DEVICE void dot(int rows, Global<const float, kWidth> input, int firstRow,
                      Global<const float, kBlocks, 8, 16> weight, int firstPanel, Shared<float, kRows, kColumns> &tile,
                      DotSums<kRows, kColumns> &sums LATHE_HERE) {
  LATHE_CALL;
  static_assert(detail::ceil_div(kWidth, 16) == kBlocks, "a weight of as many blocks");
  detail::dot_floats<kRows>(rows, detail::GlobalFloats<kWidth>{input, firstRow}, weight, firstPanel, tile, sums);
}

/// Asks for the weight's kColumns columns from 8 * firstPanel on to come nearer (L2), before it is known what they are
/// multiplied by: a kernel calls it before dependency_wait. All threads of the block.
template <int kColumns, class T, int kBlocks, int kBlock>
LATHE_DEVICE void prefetch_weight(Global<const T, kBlocks, 8, kBlock> weight, int firstPanel LATHE_HERE) {
  LATHE_CALL;
  constexpr int kLine = 128 / static_cast<int>(sizeof(T));
  for (int line = thread(); line < kColumns / 8 * kBlocks * 4; line += threads())
    prefetch(weight.at(firstPanel, 0, 0, 0) + line * kLine);
}

} // namespace lathe::device
