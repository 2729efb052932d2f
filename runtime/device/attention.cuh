//===- attention.cuh - products of attention over the paged KV store ---------===//
//
// Keys are (page, head, position, dim), values (page, head, dim, position), pages of 32 positions, dims a multiple of
// 32 (behind a head's own, zeros). Both are the operand of mma with 16 rows, read 16 bytes a lane from global memory as
// dot.cuh describes: positions by dims of keys, dims by positions of values. Queries are the operand with 8 rows.
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
#pragma unroll
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
  // Warps take 16 dims; where there are more warps, they share the queries.
  constexpr int kStrips = kDim / 16, kParts = detail::least(kQueries / 8, detail::most(1, 8 / kStrips));
  constexpr int kTiles = detail::ceil_div(kQueries / 8, kParts), kStage = 4;
  for (int piece = warp(); piece < kStrips * kParts; piece += warps()) {
    const int strip = piece % kStrips, first = piece / kStrips * kTiles * 8;
    if (first >= count)
      continue;
    float sum[kTiles][4] = {};
    for (int begin = firstPage; begin < endPage; begin += kStage) {
      Bytes16 value[kStage][2];
#pragma unroll
      for (int s = 0; s < kStage; ++s)
        if (begin + s < endPage) {
          const auto at = values.at(batch.page(sequence, begin + s), head, strip * 16, 0) + warp_lane() * 8;
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
          detail::load_weights(x, weights, first, count, (page - chunk * kChunkPages) * kPage);
          detail::multiply_block(sum, value[s][0], value[s][1], x);
        }
    }
#pragma unroll
    for (int t = 0; t < kTiles; ++t)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int query = first + t * 8 + warp_lane() % 4 * 2 + i % 2;
        if (query < count)
          outputs(query, strip * 16 + i / 2 * 8 + warp_lane() / 4) = sum[t][i];
      }
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
