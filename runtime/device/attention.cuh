//===- attention.cuh - products of attention over the paged KV store ---------===//
//
// Keys are (page, head, position, dim), values (page, head, dim, position), pages of 32 positions, dims a multiple of
// 32 (behind a head's own, zeros). Both are the operand of mma with 16 rows, read 16 bytes a lane from global memory as
// dot.cuh describes: positions by dims of keys, dims by positions of values. Queries are the operand with 8 rows.
//
// Pages of int8 are codes in the order in which lanes take them: 16 bytes a lane, 512 a load of a warp, without gaps.
// Keys: 16 positions by 32 dims, dims first, and in these lane 4 r + j has dims 8 j to 8 j + 7 of position r, then of
// position r + 8. Values: the same with 16 dims and the page's 32 positions. Behind the codes of a head's keys stand
// the f32 scales of the page's keys, position r + 8 i as number 4 r + i, and those of its values in order.
//
// A chunk is kChunk positions that begin at a multiple of it. Masks, softmax and the joining of chunks are the
// kernel's. Slots behind a sequence's last position may hold anything, NaN too.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "lathe/batch.cuh"
#include "lathe/dot.cuh"

namespace lathe::device {

constexpr int kPage = 32;
constexpr int kChunk = 256;
constexpr int kChunkPages = kChunk / kPage;
constexpr int kScaleBytes = 8; // a position's, of its key and of its value

namespace detail {

/// The lane's part of 32 dims from `dim` on of kTiles tiles of 8 queries; queries behind `count` count as zeros.
template <int kTiles, int kQueries, int kStride>
LATHE_DEVICE void load_queries(Bytes16 (&x)[kTiles], const Shared<bf16, kQueries, kStride> &queries, int count,
                               int dim) {
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
    const int query = t * 8 + warp_lane() / 4;
    x[t] = {{0, 0, 0, 0}};
    if (query < count)
      x[t] = load_shared_16(queries.at(query, dim + warp_lane() % 4 * 8));
  }
}

} // namespace detail

/// scores[query][position - chunk * kChunk] = Σ_dim queries[query][dim] * keys[position][dim], for query < count and
/// the positions of pages [firstPage, endPage) of the sequence, all within the chunk. A chain of mma_bf16 over blocks
/// of 32 dims in order. All threads of the block; barriers as of `dot`. A stride of `queries` of 32 more than a
/// multiple of 64 and one of `scores` of 4 more than a multiple of 32 have no bank conflicts.
template <int kHeads, int kDim, int kQueries, int kStride, int kScores>
LATHE_DEVICE void score_chunk(const Batch &batch, Global<const bf16, kHeads, kPage, kDim> keys, int sequence, int head,
                              int chunk, int firstPage, int endPage, int count,
                              const Shared<bf16, kQueries, kStride> &queries,
                              Shared<float, kQueries, kScores> &scores LATHE_HERE) {
  LATHE_CALL;
  static_assert(kDim % 32 == 0 && kStride >= kDim && kStride % 8 == 0 && kQueries % 8 == 0 && kScores >= kChunk,
                "whole blocks of dims and tiles of 8 queries");
  constexpr int kTiles = kQueries / 8, kBlocks = kDim / 32;
  for (int page = firstPage + warp(); page < endPage; page += warps()) {
    const auto at = keys.at(batch.page(sequence, page), head, 0, 0) + (warp_lane() / 4 * kDim + warp_lane() % 4 * 8);
    float sum[2][kTiles][4] = {};
#pragma unroll 1 // more at a time take the registers of a second block of the multiprocessor
    for (int block = 0; block < kBlocks; ++block) {
      Bytes16 key[4], x[kTiles];
#pragma unroll
      for (int p = 0; p < 4; ++p)
        key[p] = load_global_16(at + (p * 8 * kDim + block * 32));
      detail::load_queries(x, queries, count, block * 32);
#pragma unroll
      for (int half = 0; half < 2; ++half)
        detail::multiply_block(sum[half], key[2 * half], key[2 * half + 1], x);
    }
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
      for (int t = 0; t < kTiles; ++t)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int query = t * 8 + warp_lane() % 4 * 2 + i % 2;
          const int position = half * 16 + i / 2 * 8 + warp_lane() / 4;
          if (query < count)
            scores(query, (page - chunk * kChunkPages) * kPage + position) = sum[half][t][i];
        }
  }
}

namespace detail {

/// Zeros in place of the positions of 8 that are not valid.
LATHE_DEVICE void keep_valid(Bytes16 &positions, int valid) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (2 * i >= valid)
      positions.word[i] = 0;
    else if (2 * i + 1 >= valid)
      positions.word[i] &= 0xffffu;
  }
}

/// The lane's part of the weights of 32 positions from `column` on, rounded to bf16; as load_queries.
template <int kTiles, int kQueries, int kScores>
LATHE_DEVICE void load_weights(Bytes16 (&x)[kTiles], const Shared<float, kQueries, kScores> &weights, int first,
                               int count, int column) {
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
    const int query = first + t * 8 + warp_lane() / 4;
    x[t] = {{0, 0, 0, 0}};
    if (query >= count)
      continue;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const Bytes16 part = load_shared_16(weights.at(query, column + warp_lane() % 4 * 8 + 4 * half));
      x[t].word[2 * half] = pack_bf16(float_of(part.word[0]), float_of(part.word[1]));
      x[t].word[2 * half + 1] = pack_bf16(float_of(part.word[2]), float_of(part.word[3]));
    }
  }
}

/// What a warp makes of the weighted values: 16 dims; where there are more warps, they share the queries.
template <int kDim, int kQueries> struct WeighShare {
  static constexpr int kStrips = kDim / 16, kParts = least(kQueries / 8, most(1, 8 / kStrips));
  static constexpr int kTiles = ceil_div(kQueries / 8, kParts), kPieces = kStrips * kParts;
  int strip, first; ///< of dims; query

  LATHE_DEVICE explicit WeighShare(int piece) : strip(piece % kStrips), first(piece / kStrips * kTiles * 8) {}

  template <int kOutputs>
  LATHE_DEVICE void store(const float (&sum)[kTiles][4], int count, Shared<float, kQueries, kOutputs> &outputs) const {
#pragma unroll
    for (int t = 0; t < kTiles; ++t)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int query = first + t * 8 + warp_lane() % 4 * 2 + i % 2;
        if (query < count)
          outputs(query, strip * 16 + i / 2 * 8 + warp_lane() / 4) = sum[t][i];
      }
  }
};

} // namespace detail

/// outputs[query][dim] = Σ_position weights[query][position - chunk * kChunk] * values[dim][position], over the
/// positions below `positions` of pages [firstPage, endPage), all within the chunk; weights are rounded to bf16. One
/// chain of mma_bf16 over the pages in order. `weights` are read up to the end of the last page and must be 0 from
/// `positions` on. All threads of the block; barriers as of `dot`.
template <int kHeads, int kDim, int kQueries, int kScores, int kOutputs>
LATHE_DEVICE void weigh_chunk(const Batch &batch, Global<const bf16, kHeads, kDim, kPage> values, int sequence,
                              int head, int chunk, int firstPage, int endPage, int positions, int count,
                              const Shared<float, kQueries, kScores> &weights,
                              Shared<float, kQueries, kOutputs> &outputs LATHE_HERE) {
  LATHE_CALL;
  static_assert(kDim % 32 == 0 && kOutputs >= kDim && kQueries % 8 == 0 && kScores >= kChunk && kScores % 4 == 0,
                "whole dims, and a chunk of weights");
  using Share = detail::WeighShare<kDim, kQueries>;
  constexpr int kTiles = Share::kTiles, kStage = 2;
  for (int piece = warp(); piece < Share::kPieces; piece += warps()) {
    const Share share(piece);
    if (share.first >= count)
      continue;
    float sum[kTiles][4] = {};
    for (int begin = firstPage; begin < endPage; begin += kStage) {
      Bytes16 value[kStage][2];
#pragma unroll
      for (int s = 0; s < kStage; ++s)
        if (begin + s < endPage) {
          const auto at = values.at(batch.page(sequence, begin + s), head, share.strip * 16, 0) + warp_lane() * 8;
          value[s][0] = load_global_16(at);
          value[s][1] = load_global_16(at + 8 * kPage);
        }
#pragma unroll
      for (int s = 0; s < kStage; ++s)
        if (begin + s < endPage) {
          const int page = begin + s, valid = positions - page * kPage - warp_lane() % 4 * 8;
          if (valid < 8) {
            detail::keep_valid(value[s][0], valid);
            detail::keep_valid(value[s][1], valid);
          }
          Bytes16 x[kTiles];
          detail::load_weights(x, weights, share.first, count, (page - chunk * kChunkPages) * kPage);
          detail::multiply_block(sum, value[s][0], value[s][1], x);
        }
    }
    share.store(sum, count, outputs);
  }
}

//===--- int8 ---------------------------------------------------------------===//

namespace detail {

/// Where a page has the code of row 16 i + r by column 32 b + c, of rows of kColumns.
template <int kColumns> LATHE_DEVICE int code_place(int row, int column) {
  const int tile = row / 16 * (kColumns / 32) + column / 32, lane = row % 8 * 4 + column % 32 / 8;
  return (tile * 32 + lane) * 16 + row % 16 / 8 * 8 + column % 8;
}

} // namespace detail

/// The code of dim `dim` of a position's key, or value, to its place in the position's page.
template <int kHeads, int kRows>
LATHE_DEVICE void store_key_code(Global<signed char, kHeads, kRows, kPage> keys, int page, int head, int position,
                                 int dim, signed char code LATHE_HERE) {
  LATHE_CALL;
  const int place = detail::code_place<kRows - kScaleBytes>(position % kPage, dim);
  keys(page, head, place / kPage, place % kPage) = code;
}
template <int kHeads, int kDim>
LATHE_DEVICE void store_value_code(Global<signed char, kHeads, kDim, kPage> values, int page, int head, int position,
                                   int dim, signed char code LATHE_HERE) {
  LATHE_CALL;
  const int place = detail::code_place<kPage>(dim, position % kPage);
  values(page, head, place / kPage, place % kPage) = code;
}

/// The scale of a position's key, or value, to its place. All threads of the group.
template <int kHeads, int kRows>
LATHE_DEVICE void store_key_scale(Global<signed char, kHeads, kRows, kPage> keys, int page, int head, int position,
                                  float scale LATHE_HERE) {
  LATHE_CALL;
  const int place = (position % 8 * 4 + position % kPage / 8) * 4 + lane();
  if (lane() < 4)
    keys(page, head, kRows - kScaleBytes + place / kPage, place % kPage) =
        static_cast<signed char>(bits_of(scale) >> (8 * lane()));
}
template <int kHeads, int kRows>
LATHE_DEVICE void store_value_scale(Global<signed char, kHeads, kRows, kPage> keys, int page, int head, int position,
                                    float scale LATHE_HERE) {
  LATHE_CALL;
  const int place = position % kPage * 4 + lane();
  if (lane() < 4)
    keys(page, head, kRows - kScaleBytes / 2 + place / kPage, place % kPage) =
        static_cast<signed char>(bits_of(scale) >> (8 * lane()));
}

/// As above, with keys of int8: a chain over the codes, then times the key's scale. Also gives the scales of the values
/// of these positions, which weights are to be multiplied by; of slots that hold nothing both are what stands there.
template <int kHeads, int kRows, int kQueries, int kStride, int kScores>
LATHE_DEVICE void score_chunk(const Batch &batch, Global<const signed char, kHeads, kRows, kPage> keys, int sequence,
                              int head, int chunk, int firstPage, int endPage, int count,
                              const Shared<bf16, kQueries, kStride> &queries, Shared<float, kQueries, kScores> &scores,
                              Shared<float, kChunk> &valueScales LATHE_HERE) {
  LATHE_CALL;
  constexpr int kDim = kRows - kScaleBytes, kTiles = kQueries / 8, kBlocks = kDim / 32;
  static_assert(kDim % 32 == 0 && kStride >= kDim && kStride % 8 == 0 && kQueries % 8 == 0 && kScores >= kChunk,
                "whole blocks of dims and tiles of 8 queries");
  for (int page = firstPage + warp(); page < endPage; page += warps()) {
    const int physical = batch.page(sequence, page), column = (page - chunk * kChunkPages) * kPage;
    const auto at = keys.at(physical, head, 0, 0) + warp_lane() * 16;
    const auto scalesAt = keys.at(physical, head, kDim, 0);
    const Bytes16 keyScale = load_global_16(scalesAt + warp_lane() / 4 * 16);
    const Bytes16 valueScale = load_global_16(scalesAt + (kPage * 4 + warp_lane() % 8 * 16));
    float sum[2][kTiles][4] = {};
#pragma unroll 1
    for (int block = 0; block < kBlocks; ++block) {
      Bytes16 key[2], x[kTiles];
#pragma unroll
      for (int half = 0; half < 2; ++half)
        key[half] = load_global_16(at + (half * kBlocks + block) * 512);
      detail::load_queries(x, queries, count, block * 32);
#pragma unroll
      for (int half = 0; half < 2; ++half)
        detail::multiply_block(sum[half], detail::widen_half(key[half], 0), detail::widen_half(key[half], 1), x);
    }
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
      for (int t = 0; t < kTiles; ++t)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int query = t * 8 + warp_lane() % 4 * 2 + i % 2;
          const int position = half * 16 + i / 2 * 8 + warp_lane() / 4;
          if (query < count)
            scores(query, column + position) = sum[half][t][i] * float_of(keyScale.word[half * 2 + i / 2]);
        }
    if (warp_lane() < kPage / 4)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        valueScales(column + warp_lane() * 4 + i) = float_of(valueScale.word[i]);
  }
}

/// As above, with values of int8 and weights that have taken in their scales. A slot that holds nothing has a code, and
/// its weight is 0.
template <int kHeads, int kDim, int kQueries, int kScores, int kOutputs>
LATHE_DEVICE void weigh_chunk(const Batch &batch, Global<const signed char, kHeads, kDim, kPage> values, int sequence,
                              int head, int chunk, int firstPage, int endPage, int, int count,
                              const Shared<float, kQueries, kScores> &weights,
                              Shared<float, kQueries, kOutputs> &outputs LATHE_HERE) {
  LATHE_CALL;
  static_assert(kDim % 32 == 0 && kOutputs >= kDim && kQueries % 8 == 0 && kScores >= kChunk && kScores % 4 == 0,
                "whole dims, and a chunk of weights");
  using Share = detail::WeighShare<kDim, kQueries>;
  constexpr int kTiles = Share::kTiles, kStage = 4;
  for (int piece = warp(); piece < Share::kPieces; piece += warps()) {
    const Share share(piece);
    if (share.first >= count)
      continue;
    float sum[kTiles][4] = {};
    for (int begin = firstPage; begin < endPage; begin += kStage) {
      Bytes16 value[kStage];
#pragma unroll
      for (int s = 0; s < kStage; ++s)
        if (begin + s < endPage)
          value[s] =
              load_global_16(values.at(batch.page(sequence, begin + s), head, share.strip * 16, 0) + warp_lane() * 16);
#pragma unroll
      for (int s = 0; s < kStage; ++s)
        if (begin + s < endPage) {
          Bytes16 x[kTiles];
          detail::load_weights(x, weights, share.first, count, (begin + s - chunk * kChunkPages) * kPage);
          detail::multiply_block(sum, detail::widen_half(value[s], 0), detail::widen_half(value[s], 1), x);
        }
    }
    share.store(sum, count, outputs);
  }
}

//===--- f32 ----------------------------------------------------------------===//

/// As above, with a chain of fma in order of dims: a thread takes a position.
template <int kHeads, int kDim, int kQueries, int kStride, int kScores>
LATHE_DEVICE void score_chunk(const Batch &batch, Global<const float, kHeads, kPage, kDim> keys, int sequence, int head,
                              int chunk, int firstPage, int endPage, int count,
                              const Shared<float, kQueries, kStride> &queries,
                              Shared<float, kQueries, kScores> &scores LATHE_HERE) {
  LATHE_CALL;
  static_assert(kDim % 4 == 0 && kStride >= kDim && kStride % 4 == 0 && kScores >= kChunk,
                "whole dims, and a chunk of scores");
  for (int page = firstPage + warp(); page < endPage; page += warps()) {
    const auto at = keys.at(batch.page(sequence, page), head, warp_lane(), 0);
    for (int first = 0; first < count; first += 8) {
      float sum[8] = {};
      for (int dim = 0; dim < kDim; dim += 4) {
        const Bytes16 key = load_global_16(at + dim);
#pragma unroll
        for (int q = 0; q < 8; ++q) {
          if (first + q >= count)
            continue;
          const Bytes16 x = load_shared_16(queries.at(first + q, dim));
#pragma unroll
          for (int i = 0; i < 4; ++i)
            sum[q] = fma(float_of(x.word[i]), float_of(key.word[i]), sum[q]);
        }
      }
#pragma unroll
      for (int q = 0; q < 8; ++q)
        if (first + q < count)
          scores(first + q, (page - chunk * kChunkPages) * kPage + warp_lane()) = sum[q];
    }
  }
}

/// As above, with a chain of fma in order of positions: a thread takes a dim of a query.
template <int kHeads, int kDim, int kQueries, int kScores, int kOutputs>
LATHE_DEVICE void weigh_chunk(const Batch &batch, Global<const float, kHeads, kDim, kPage> values, int sequence,
                              int head, int chunk, int firstPage, int endPage, int positions, int count,
                              const Shared<float, kQueries, kScores> &weights,
                              Shared<float, kQueries, kOutputs> &outputs LATHE_HERE) {
  LATHE_CALL;
  static_assert(kOutputs >= kDim && kScores >= kChunk && kScores % 4 == 0, "whole dims, and a chunk of weights");
  for (int index = thread(); index < count * kDim; index += threads()) {
    const int query = index / kDim, dim = index % kDim;
    float sum = 0.0f;
    for (int page = firstPage; page < endPage; ++page) {
      const auto at = values.at(batch.page(sequence, page), head, dim, 0);
      const int valid = min(kPage, positions - page * kPage);
      for (int position = 0; position < valid; position += 4) {
        const Bytes16 value = load_global_16(at + position);
        const Bytes16 weight = load_shared_16(weights.at(query, (page - chunk * kChunkPages) * kPage + position));
#pragma unroll
        for (int i = 0; i < 4; ++i)
          if (position + i < valid)
            sum = fma(float_of(weight.word[i]), float_of(value.word[i]), sum);
      }
    }
    outputs(query, dim) = sum;
  }
}

} // namespace lathe::device
