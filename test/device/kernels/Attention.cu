// Products of attention alone: queries to shared memory, scores out; weights to shared memory, outputs out. A block
// takes a head (x) and a chunk (y).
#include "lathe/kernel.cuh"

using namespace lathe::device;

namespace {

constexpr int kThreads = 256;
constexpr int kHeads = 2;

/// What the settings hold.
enum { kSequence, kPositions, kFirstSeen, kQueryCount };

template <class T> struct Format;
template <> struct Format<float> {
  static constexpr int kPad = 4;
  LATHE_DEVICE static float from(float x) { return x; }
};
template <> struct Format<bf16> {
  static constexpr int kPad = 32;
  LATHE_DEVICE static bf16 from(float x) { return to_bf16(x); }
};

template <class T, int kDim, int kQueries> struct Memory {
  Shared<T, kQueries, kDim + Format<T>::kPad> queries;
  Shared<float, kQueries, kChunk + 4> scores;
  Shared<float, kQueries, kDim> outputs;
};

template <class T, int kDim, int kQueries>
LATHE_DEVICE void products(const Batch &batch, Global<const int> settings, Global<const float, kHeads, kDim> queries,
                           Global<const T, kHeads, kPage, kDim> keys, Global<const T, kHeads, kDim, kPage> values,
                           Global<const float, kHeads, 1024> weights, Global<float, kHeads, 1024> scores,
                           Global<float, kHeads, 4, kDim> outputs) {
  auto &memory = shared_memory<Memory<T, kDim, kQueries>>();
  const int sequence = settings(kSequence);
  const int positions = settings(kPositions);
  const int count = settings(kQueryCount);
  const int head = block_x();
  const int chunk = block_y();
  const int first_page = max(chunk * kChunkPages, settings(kFirstSeen) / kPage);
  const int end_page = min(chunk * kChunkPages + kChunkPages, (positions - 1) / kPage + 1);
  for (int index = thread(); index < count * kDim; index += kThreads)
    memory.queries(index / kDim, index % kDim) = Format<T>::from(queries(index / kDim, head, index % kDim));
  block_barrier();
  score_chunk(batch, keys, sequence, head, chunk, first_page, end_page, count, memory.queries, memory.scores);
  block_barrier();
  const int begin = first_page * kPage;
  const int width = (end_page - first_page) * kPage;
  for (int query = 0; query < count; query += 1)
    for (int column = thread(); column < width; column += kThreads) {
      const int at = begin - chunk * kChunk + column;
      scores(query, head, begin + column) = memory.scores(query, at);
      memory.scores(query, at) = weights(query, head, begin + column);
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
      Batch batch, Global<const int> settings, Global<const float, kHeads, DIM> queries,                               \
      Global<const T, kHeads, kPage, DIM> keys, Global<const T, kHeads, DIM, kPage> values,                            \
      Global<const float, kHeads, 1024> weights, Global<float, kHeads, 1024> scores,                                   \
      Global<float, kHeads, 4, DIM> outputs) {                                                                         \
    products<T, DIM, QUERIES>(batch, settings, queries, keys, values, weights, scores, outputs);                       \
  }

ATTENTION_KERNEL(bf16_32_8, bf16, 32, 8)
ATTENTION_KERNEL(bf16_64_8, bf16, 64, 8)
ATTENTION_KERNEL(bf16_64_24, bf16, 64, 24)
ATTENTION_KERNEL(bf16_96_16, bf16, 96, 16)
ATTENTION_KERNEL(bf16_128_8, bf16, 128, 8)
ATTENTION_KERNEL(bf16_128_64, bf16, 128, 64)
ATTENTION_KERNEL(float_32_8, float, 32, 8)
ATTENTION_KERNEL(float_64_8, float, 64, 8)
ATTENTION_KERNEL(float_64_24, float, 64, 24)
ATTENTION_KERNEL(float_128_16, float, 128, 16)
