// Products of attention alone: queries to shared memory, scores out; weights to shared memory, outputs out. A block
// takes a head (x) and a chunk (y).
#include "lathe/kernel.cuh"

using namespace lathe::device;

namespace {

constexpr int kThreads = 256;
constexpr int kHeads = 2;

/// What the settings hold.
enum { kSequence, kPositions, kFirstSeen, kQueryCount };

/// Pages of an element, and what queries are beside it.
template <class T, int kDim> struct Pages {
  using Query = T;
  using Keys = Global<const T, kHeads, kPage, kDim>;
  using Values = Global<const T, kHeads, kDim, kPage>;
};
template <int kDim> struct Pages<signed char, kDim> {
  using Query = bf16;
  using Keys = Global<const signed char, kHeads, kDim + kScaleBytes, kPage>;
  using Values = Global<const signed char, kHeads, kDim, kPage>;
};

template <class Query> struct Format;
template <> struct Format<float> {
  static constexpr int kPad = 4;
  LATHE_DEVICE static float from(float x) { return x; }
};
template <> struct Format<bf16> {
  static constexpr int kPad = 32;
  LATHE_DEVICE static bf16 from(float x) { return to_bf16(x); }
};

template <class Query, int kDim, int kQueries> struct Memory {
  Shared<Query, kQueries, kDim + Format<Query>::kPad> queries;
  Shared<float, kQueries, kChunk + 4> scores;
  Shared<float, kQueries, kDim> outputs;
  Shared<float, kChunk> value_scales;
};

/// A weight times the scale of its value, where the weight is not 0.
template <class T, class Memory> LATHE_DEVICE float scaled(float weight, const Memory &memory, int column) {
  if constexpr (sizeof(T) == 1)
    return weight != 0.0f ? weight * memory.value_scales(column) : 0.0f;
  return weight;
}

template <class T, int kDim, int kQueries>
LATHE_DEVICE void products(const Batch &batch, Global<const int> settings, Global<const float, kHeads, kDim> queries,
                           typename Pages<T, kDim>::Keys keys, typename Pages<T, kDim>::Values values,
                           Global<const float, kHeads, 1024> weights, Global<float, kHeads, 1024> scores,
                           Global<float, kHeads, 4, kDim> outputs) {
  using Query = typename Pages<T, kDim>::Query;
  auto &memory = shared_memory<Memory<Query, kDim, kQueries>>();
  const int sequence = settings(kSequence);
  const int positions = settings(kPositions);
  const int count = settings(kQueryCount);
  const int head = block_x();
  const int chunk = block_y();
  const int first_page = max(chunk * kChunkPages, settings(kFirstSeen) / kPage);
  const int end_page = min(chunk * kChunkPages + kChunkPages, (positions - 1) / kPage + 1);
  for (int index = thread(); index < count * kDim; index += kThreads)
    memory.queries(index / kDim, index % kDim) = Format<Query>::from(queries(index / kDim, head, index % kDim));
  block_barrier();
  if constexpr (sizeof(T) == 1)
    score_chunk(batch, keys, sequence, head, chunk, first_page, end_page, count, memory.queries, memory.scores,
                memory.value_scales);
  else
    score_chunk(batch, keys, sequence, head, chunk, first_page, end_page, count, memory.queries, memory.scores);
  block_barrier();
  const int begin = first_page * kPage;
  const int width = (end_page - first_page) * kPage;
  for (int query = 0; query < count; query += 1)
    for (int column = thread(); column < width; column += kThreads) {
      const int at = begin - chunk * kChunk + column;
      scores(query, head, begin + column) = memory.scores(query, at);
      memory.scores(query, at) = scaled<T>(weights(query, head, begin + column), memory, at);
    }
  block_barrier();
  weigh_chunk(batch, values, sequence, head, chunk, first_page, end_page, positions, count, memory.scores,
              memory.outputs);
  block_barrier();
  for (int index = thread(); index < count * kDim; index += kThreads)
    outputs(index / kDim, head, chunk, index % kDim) = memory.outputs(index / kDim, index % kDim);
}

} // namespace

#define ATTENTION_KERNEL(NAME, T, DIM, QUERIES)                                                                        \
  extern "C" __global__ __launch_bounds__(kThreads, 1) void NAME(                                                      \
      Batch batch, Global<const int> settings, Global<const float, kHeads, DIM> queries, Pages<T, DIM>::Keys keys,     \
      Pages<T, DIM>::Values values, Global<const float, kHeads, 1024> weights, Global<float, kHeads, 1024> scores,     \
      Global<float, kHeads, 4, DIM> outputs) {                                                                         \
    products<T, DIM, QUERIES>(batch, settings, queries, keys, values, weights, scores, outputs);                       \
  }

ATTENTION_KERNEL(bf16_32_8, bf16, 32, 8)
ATTENTION_KERNEL(bf16_64_8, bf16, 64, 8)
ATTENTION_KERNEL(bf16_64_24, bf16, 64, 24)
ATTENTION_KERNEL(bf16_96_16, bf16, 96, 16)
ATTENTION_KERNEL(bf16_128_8, bf16, 128, 8)
ATTENTION_KERNEL(bf16_128_64, bf16, 128, 64)
ATTENTION_KERNEL(bytes_32_8, signed char, 32, 8)
ATTENTION_KERNEL(bytes_64_8, signed char, 64, 8)
ATTENTION_KERNEL(bytes_64_24, signed char, 64, 24)
ATTENTION_KERNEL(bytes_96_16, signed char, 96, 16)
ATTENTION_KERNEL(bytes_128_64, signed char, 128, 64)
ATTENTION_KERNEL(bytes_256_16, signed char, 256, 16)
ATTENTION_KERNEL(bf16_256_16, bf16, 256, 16)
ATTENTION_KERNEL(float_32_8, float, 32, 8)
ATTENTION_KERNEL(float_64_8, float, 64, 8)
ATTENTION_KERNEL(float_64_24, float, 64, 24)
ATTENTION_KERNEL(float_128_16, float, 128, 16)
