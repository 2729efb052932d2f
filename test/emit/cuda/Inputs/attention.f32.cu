// attention
//   attention attn, config.json:21
// a block: a KV head of an item, 26880 bytes of shared memory
// operations: 384 a row and position
// schedule: default, cuda.toml:33
#include "lathe/kernel.cuh"
using namespace lathe::device;

namespace {
constexpr int kThreads = 256;
struct Memory {
  Shared<float, 16, 32> queries;
  Shared<float, 16, 260> scores;
  Shared<float, 16, 32> products;
  Shared<float, 16, 32> outputs;
  Shared<float, 16, 16> maxima;
  Shared<float, 16, 16> sums;
  Shared<float, 16, 16> chunk_maxima;
  Shared<float, 16, 16> chunk_sums;
};
} // namespace

extern "C" __global__ __launch_bounds__(kThreads, 1) void attention(Batch batch, Global<const float, 96> q_rope, Global<const float, 2, 32, 32> keys,
    Global<const float, 2, 32, 32> values, Global<float, 288> partials, Global<float, 96> attn) {
  Memory &memory = shared_memory<Memory>();
  dependency_wait();
  dependency_trigger();
  const int first = block_y() * 1;
  const int last = min(first + 1, batch.items());
  if (first >= last) return;
  const int tile = block_x();
  const int item_row = batch.item_row(first);
  const int item_end = batch.item_end(first);
  const int difference = item_end - item_row;
  const int row_sequence = batch.row_sequence(item_row);
  const int row_position = batch.row_position(item_end - 1);
  // attn
  for (int q = group(); q < difference * 3; q += 16) {
    memory.queries(q, lane()) = q_rope(item_row + q / 3, (tile * 3 + q % 3) * 16 + lane()) * 0.25f;
    memory.queries(q, 16 + lane()) = 0.0f;
    for (int column = 0; column < 32; column += 16)
      memory.outputs(q, column + lane()) = 0.0f;
    memory.maxima(q, lane()) = -1e+30f;
    memory.sums(q, lane()) = 0.0f;
  }
  block_barrier();
  const int item_count = batch.item_count(first);
  const bool holds = item_count > 1;
  const int item_chunk_end = batch.item_chunk_end(first);
  const int item_record = batch.item_record(first);
  for (int attn_2 = max(batch.item_chunk(first), 0); attn_2 < item_chunk_end; attn_2 += 1) {
    const int sum = item_record + attn_2 * difference;
    const int larger = max(attn_2 * 8, 0);
    const int smaller = min(attn_2 * 8 + 8, row_position / 32 + 1);
    const int difference_2 = smaller - larger;
    score_chunk(batch, keys, row_sequence, tile, attn_2, larger, smaller, difference * 3, memory.queries, memory.scores);
    block_barrier();
    for (int q_2 = group(); q_2 < difference * 3; q_2 += 16) {
      const int sum_2 = (larger * 32) + lane();
      float running = -1e+30f;
      for (int attn_3 = 0; attn_3 < difference_2 * 32; attn_3 += 16) {
        const int sum_3 = attn_3 + (larger - attn_2 * 8) * 32;
        const float chosen = sum_2 + attn_3 <= batch.row_position(item_row + min(q_2, difference * 3 - 1) / 3) ? memory.scores(q_2, sum_3 + lane()) : -1e+30f;
        memory.scores(q_2, sum_3 + lane()) = chosen;
        running = running > chosen ? running : chosen;
      }
      const float total = group_max(running);
      float running_2 = 0.0f;
      for (int attn_4 = 0; attn_4 < difference_2 * 32; attn_4 += 16) {
        const int sum_4 = attn_4 + (larger - attn_2 * 8) * 32;
        const float scores_2 = memory.scores(q_2, sum_4 + lane());
        const float chosen_2 = scores_2 != -1e+30f ? exponential(scores_2 - total) : 0.0f;
        memory.scores(q_2, sum_4 + lane()) = chosen_2;
        running_2 = running_2 + chosen_2;
      }
      const float total_2 = group_sum(running_2);
      memory.chunk_maxima(q_2, lane()) = total;
      memory.chunk_sums(q_2, lane()) = total_2;
    }
    block_barrier();
    weigh_chunk(batch, values, row_sequence, tile, attn_2, larger, smaller, row_position + 1, difference * 3, memory.scores, memory.products);
    block_barrier();
    for (int q_3 = group(); q_3 < difference * 3; q_3 += 16) {
      const float chunk_maxima_2 = memory.chunk_maxima(q_3, lane());
      const float chunk_sums_2 = memory.chunk_sums(q_3, lane());
      if (holds) {
        for (int column_2 = 0; column_2 < 32; column_2 += 16)
          partials(sum + q_3 / 3, (tile * 3 + q_3 % 3) * 48 + column_2 + lane()) = float(memory.products(q_3, column_2 + lane()));
        if (lane() == 0) {
          const int sum_5 = sum + q_3 / 3;
          partials(sum_5, (tile * 3 + q_3 % 3) * 48 + 32) = chunk_maxima_2;
          partials(sum_5, (tile * 3 + q_3 % 3) * 48 + 33) = chunk_sums_2;
        }
      } else {
        const float maxima_2 = memory.maxima(q_3, lane());
        const float chosen_3 = maxima_2 > chunk_maxima_2 ? maxima_2 : chunk_maxima_2;
        const float power = exponential(maxima_2 - chosen_3);
        const float power_2 = exponential(chunk_maxima_2 - chosen_3);
        memory.sums(q_3, lane()) = fma(memory.sums(q_3, lane()), power, chunk_sums_2 * power_2);
        memory.maxima(q_3, lane()) = chosen_3;
        for (int column_3 = 0; column_3 < 32; column_3 += 16)
          memory.outputs(q_3, column_3 + lane()) = fma(memory.outputs(q_3, column_3 + lane()), power, memory.products(q_3, column_3 + lane()) * power_2);
      }
    }
  }
  bool ready;
  if (holds)
    ready = arrive(batch.counter(batch.item_counter(first) + tile), item_count);
  else
    ready = true;
  if (ready) {
    const int sum_6 = row_position / 256 + 1;
    for (int q_4 = group(); q_4 < difference * 3; q_4 += 16) {
      if (holds) {
        for (int attn_5 = 0; attn_5 < sum_6; attn_5 += 1) {
          const int sum_7 = item_record + attn_5 * difference + q_4 / 3;
          const float partials_2 = partials(sum_7, (tile * 3 + q_4 % 3) * 48 + 32);
          const float maxima_3 = memory.maxima(q_4, lane());
          const float chosen_4 = maxima_3 > partials_2 ? maxima_3 : partials_2;
          const float power_3 = exponential(maxima_3 - chosen_4);
          const float power_4 = exponential(partials_2 - chosen_4);
          memory.sums(q_4, lane()) = fma(memory.sums(q_4, lane()), power_3, partials(sum_7, (tile * 3 + q_4 % 3) * 48 + 33) * power_4);
          memory.maxima(q_4, lane()) = chosen_4;
          for (int column_4 = 0; column_4 < 32; column_4 += 16)
            memory.outputs(q_4, column_4 + lane()) = fma(memory.outputs(q_4, column_4 + lane()), power_3, partials(sum_7, (tile * 3 + q_4 % 3) * 48 + column_4 + lane()) * power_4);
        }
      }
      attn(item_row + q_4 / 3, (tile * 3 + q_4 % 3) * 16 + lane()) = memory.outputs(q_4, lane()) * (1.0f / memory.sums(q_4, lane()));
    }
  }
}
