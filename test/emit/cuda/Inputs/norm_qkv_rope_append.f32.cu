// norm_qkv_rope_append
//   norm attn_norm, config.json:25
//   linear qkv, config.json:21
//   split qkv_parts, config.json:21
//   rope q_rope, config.json:28
//   rope k_rope, config.json:28
//   kv_append kv, config.json:23
// a block: 8 rows by one of 10 column tiles, 13856 bytes of shared memory
// weights: 122880 bytes, 12288 a tile; operations: 30720 a row
// schedule: default, cuda.toml:17
#include "lathe/kernel.cuh"
using namespace lathe::device;

namespace {
constexpr int kThreads = 256;
struct Memory {
  Shared<float, 8, 112> input;
  Shared<float, 8> partial;
  Shared<float, 8, 32> tile;
  DotSums<8, 32> sums;
};
} // namespace

extern "C" __global__ __launch_bounds__(kThreads, 1) void norm_qkv_rope_append(Batch batch, Global<const float, 96> x, Global<const float, 6, 8, 16> qkv_weight,
    Global<const float> qkv_bias, Global<const float> attn_norm_gain, Global<const float, 256, 16> rope_low, Global<const float, 1, 16> rope_high,
    Global<float, 2, 32, 32> keys, Global<float, 2, 32, 32> values, Global<float, 96> q_rope) {
  Memory &memory = shared_memory<Memory>();
  const int tile_2 = block_x();
  prefetch_weight<32>(qkv_weight, tile_2 * 4);
  dependency_wait();
  dependency_trigger();
  const int first = block_y() * 8;
  const int last = min(first + 8, batch.rows());
  if (first >= last) return;
  // qkv
  for (int row = first; row < last; row += 1) {
    const float x_2 = thread() < 96 ? float(x(row, thread())) : 0.0f;
    // attn_norm
    const float total = block_sum(x_2 * x_2 + 0.0f, memory.partial);
    if (thread() < 96)
      memory.input(row - first, thread()) = thread() < 96 ? x_2 * (1.0f / sqrtf((total / 96.0f) + 1e-06f)) * (thread() < 96 ? float(attn_norm_gain(thread())) : 0.0f) : 0.0f;
  }
  // qkv
  block_barrier();
  dot(last - first, memory.input, qkv_weight, tile_2 * 4, memory.tile, memory.sums);
  block_barrier();
  for (int row_2 = first + group(); row_2 < last; row_2 += 16) {
    const int difference = row_2 - first;
    if (tile_2 >= 0 && tile_2 < 6) {
      const int row_position = batch.row_position(row_2);
      // q_rope
      memory.tile(difference, lane()) = memory.tile(difference, lane()) + qkv_bias(tile_2 * 32 + lane());
      group_barrier();
      const float tile_3 = memory.tile(difference, lane());
      const float tile_4 = memory.tile(difference, 8 + lane());
      const float rope_low_2 = rope_low(0, row_position % 256, lane());
      const float rope_low_3 = rope_low(1, row_position % 256, lane());
      const float rope_high_2 = rope_high(0, row_position / 256, lane());
      const float rope_high_3 = rope_high(1, row_position / 256, lane());
      const float difference_2 = rope_high_2 * rope_low_2 - rope_high_3 * rope_low_3;
      const float sum = rope_high_3 * rope_low_2 + rope_high_2 * rope_low_3;
      group_barrier();
      if (lane() < 8)
        memory.tile(difference, lane()) = tile_3 * difference_2 - tile_4 * sum;
      memory.tile(difference, 8 + lane()) = tile_4 * difference_2 + tile_3 * sum;
      group_barrier();
      q_rope(row_2, tile_2 * 16 + lane()) = float(memory.tile(difference, lane()));
    }
    if (tile_2 >= 6 && tile_2 < 8) {
      const int row_position_2 = batch.row_position(row_2);
      // k_rope
      memory.tile(difference, lane()) = memory.tile(difference, lane()) + qkv_bias(tile_2 * 32 + lane());
      group_barrier();
      const float tile_5 = memory.tile(difference, lane());
      const float tile_6 = memory.tile(difference, 8 + lane());
      const float rope_low_4 = rope_low(0, row_position_2 % 256, lane());
      const float rope_low_5 = rope_low(1, row_position_2 % 256, lane());
      const float rope_high_4 = rope_high(0, row_position_2 / 256, lane());
      const float rope_high_5 = rope_high(1, row_position_2 / 256, lane());
      const float difference_3 = rope_high_4 * rope_low_4 - rope_high_5 * rope_low_5;
      const float sum_2 = rope_high_5 * rope_low_4 + rope_high_4 * rope_low_5;
      group_barrier();
      if (lane() < 8)
        memory.tile(difference, lane()) = tile_5 * difference_3 - tile_6 * sum_2;
      memory.tile(difference, 8 + lane()) = tile_6 * difference_3 + tile_5 * sum_2;
      group_barrier();
      const int page_number = batch.page(batch.row_sequence(row_2), row_position_2 / 32);
      // kv
      for (int column = 0; column < 32; column += 16)
        keys(page_number, tile_2 - 6, row_position_2 % 32, column + lane()) = float(memory.tile(difference, column + lane()));
    }
    if (tile_2 >= 8 && tile_2 < 10) {
      const int row_position_3 = batch.row_position(row_2);
      const int page_number_2 = batch.page(batch.row_sequence(row_2), row_position_3 / 32);
      for (int column_2 = 0; column_2 < 32; column_2 += 16)
        values(page_number_2, tile_2 - 8, column_2 + lane(), row_position_3 % 32) = memory.tile(difference, column_2 + lane()) + qkv_bias(tile_2 * 32 + column_2 + lane());
    }
  }
}
