//===- fragments.cuh - operands of products, as lanes hold them --------------===//
//
// Weights (panels) and rows of input, from wherever they are, as fragments of mma. dot.cuh says how they are packed.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "lathe/views.cuh"

namespace lathe::device::detail {

/// sum[16 features][8 rows] += the product of 32 columns of two panels and of kTiles tiles of 8 rows.
template <int kTiles>
LATHE_DEVICE void multiply_block(float (&sum)[kTiles][4], const Bytes16 &lower, const Bytes16 &upper,
                                 const Bytes16 (&x)[kTiles]) {
#pragma unroll
  for (int step = 0; step < 2; ++step) {
    const unsigned a[4] = {lower.word[2 * step], upper.word[2 * step], lower.word[2 * step + 1],
                           upper.word[2 * step + 1]};
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
      const unsigned b[2] = {x[t].word[2 * step], x[t].word[2 * step + 1]};
      mma_bf16(sum[t], a, b);
    }
  }
}

/// 16 bytes of a weight. kAgain: the multiprocessor's own cache keeps them, for other warps that want them soon.
template <bool kAgain, class Address> LATHE_DEVICE Bytes16 load_weight(Address from) {
  if constexpr (kAgain)
    return load_cached_16(from);
  else
    return load_streaming_16(from);
}

/// What a lane holds of 8 features by one block of bf16.
template <int kBlocks> struct Bf16Panels {
  static constexpr int kBlockCount = kBlocks, kBlock = 32;
  struct Piece {
    Bytes16 bytes;
  };
  Global<const bf16, kBlocks, 8, 32> weight;

  /// kAgain: other warps of the block load the same.
  template <bool kAgain = false> LATHE_DEVICE void load(Piece &piece, int panel, int block) const {
    piece.bytes = load_weight<kAgain>(weight.at(panel, block, 0, 0) + warp_lane() * 8);
  }
  template <int kTiles>
  LATHE_DEVICE void multiply(float (&sum)[kTiles][4], const Piece &lower, const Piece &upper,
                             const Bytes16 (&x)[1][kTiles]) const {
    multiply_block(sum, lower.bytes, upper.bytes, x[0]);
  }
};

LATHE_DEVICE float scale_of(float scale) { return scale; }
LATHE_DEVICE float scale_of(bf16 scale) { return to_float(scale); }
LATHE_DEVICE float scale_of(f16 scale) { return to_float(scale); }

/// The first or the last 8 of 16 codes as bf16.
LATHE_DEVICE Bytes16 widen_half(const Bytes16 &codes, int half) {
  unsigned low[2], high[2];
  widen_bytes(codes.word[2 * half], low);
  widen_bytes(codes.word[2 * half + 1], high);
  return {{low[0], low[1], high[0], high[1]}};
}

/// What a lane holds of 8 features by one block of bytes, and the scales of its feature. The lane's first 8 codes are
/// of the block's first 32 columns, the others of its last.
template <class Scale, int kBlocks, int kGroups> struct BytePanels {
  static constexpr int kBlockCount = kBlocks, kBlock = 64, kGroup = kBlocks * 64 / kGroups;
  static constexpr int kScales = kBlock / kGroup;
  static_assert(kGroups * kGroup == kBlocks * kBlock && (kGroup == 32 || kGroup == 64), "groups of 32 or 64");
  struct Piece {
    Bytes16 codes;
    float scale[kScales];
  };
  Global<const signed char, kBlocks, 8, 64> weight;
  Global<const Scale, kGroups, 8> scales;

  template <bool kAgain = false> LATHE_DEVICE void load(Piece &piece, int panel, int block) const {
    piece.codes = load_weight<kAgain>(weight.at(panel, block, 0, 0) + warp_lane() * 16);
#pragma unroll
    for (int i = 0; i < kScales; ++i)
      piece.scale[i] = scale_of(scales(panel, block * kScales + i, warp_lane() / 4));
  }
  template <int kTiles>
  LATHE_DEVICE void multiply(float (&sum)[kTiles][4], const Piece &lower, const Piece &upper,
                             const Bytes16 (&x)[2][kTiles]) const {
#pragma unroll
    for (int group = 0; group < kScales; ++group) {
      float product[kTiles][4] = {};
#pragma unroll
      for (int half = group * 2 / kScales; half < (group + 1) * 2 / kScales; ++half)
        multiply_block(product, widen_half(lower.codes, half), widen_half(upper.codes, half), x[half]);
#pragma unroll
      for (int t = 0; t < kTiles; ++t)
#pragma unroll
        for (int i = 0; i < 4; ++i)
          sum[t][i] = fma(product[t][i], i < 2 ? lower.scale[group] : upper.scale[group], sum[t][i]);
    }
  }
};

//===--- Rows ---------------------------------------------------------------===//

/// The lane's 8 columns from `column` on of a row, as bf16, from shared memory.
template <int kInputRows, int kStride> struct SharedRows {
  struct Ahead {}; ///< shared memory is near
  const Shared<bf16, kInputRows, kStride> &input;

  LATHE_DEVICE void fetch(Ahead &, int, int) const {}
  LATHE_DEVICE Bytes16 take(const Ahead &, int row, int column) const { return load_shared_16(input.at(row, column)); }
};

/// Four floats of a row; columns behind it are zeros.
template <int kWidth> LATHE_DEVICE Bytes16 load_four(Global<const float, kWidth> input, int row, int column) {
  Bytes16 x = {{0, 0, 0, 0}};
  if constexpr (kWidth % 4 == 0) {
    if (column < kWidth)
      x = load_global_16(input.at(row, column));
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      if (column + i < kWidth)
        x.word[i] = bits_of(input(row, column + i));
  }
  return x;
}
template <int kRows, int kStride>
LATHE_DEVICE Bytes16 load_four(const Shared<float, kRows, kStride> &input, int row, int column) {
  return load_shared_16(input.at(row, column));
}

/// The same from floats in global memory, rounded; asked for before they are needed.
template <int kWidth> struct GlobalRows {
  struct Ahead {
    Bytes16 four[2];
  };
  Global<const float, kWidth> input;
  int firstRow;

  LATHE_DEVICE void fetch(Ahead &ahead, int row, int column) const {
#pragma unroll
    for (int half = 0; half < 2; ++half)
      ahead.four[half] = load_four(input, firstRow + row, column + 4 * half);
  }
  LATHE_DEVICE Bytes16 take(const Ahead &ahead, int, int) const {
    Bytes16 x;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const unsigned (&four)[4] = ahead.four[half].word;
      x.word[2 * half] = pack_bf16(float_of(four[0]), float_of(four[1]));
      x.word[2 * half + 1] = pack_bf16(float_of(four[2]), float_of(four[3]));
    }
    return x;
  }
};

/// Floats in global memory as they are, for weights of f32.
template <int kWidth> struct GlobalFloats {
  Global<const float, kWidth> input;
  int firstRow;
};
template <int kWidth> LATHE_DEVICE Bytes16 load_four(const GlobalFloats<kWidth> &rows, int row, int column) {
  return load_four(rows.input, rows.firstRow + row, column);
}

} // namespace lathe::device::detail
