// norm_qkv_norm_rope_append
//   norm attn_norm, Qwen3-0.6B.toml:12
//   linear qkv, Qwen3-0.6B.toml:8
//   split qkv_parts, Qwen3-0.6B.toml:8
//   norm q_norm, Qwen3-0.6B.toml:13
//   norm k_norm, Qwen3-0.6B.toml:13
//   rope q_rope, Qwen3-0.6B.toml:19
//   rope k_rope, Qwen3-0.6B.toml:19
//   kv_append kv, Qwen3-0.6B.toml:9
// a block: 24 rows by one of 32 column tiles, 96800 bytes of shared memory
// weights: 8388608 bytes, 262144 a tile; operations: 8388608 a row
// schedule: default, cuda.toml:25
#include "lathe/kernel.cuh"
using namespace lathe::device;

namespace {
constexpr int kThreads = 256;
struct Memory {
  Shared<bf16, 24, 1056> input;
  Shared<float, 8> partial;
  Shared<float, 24, 128> tile;
  DotSums<24, 128> sums;
};
} // namespace

extern "C" __global__ __launch_bounds__(kThreads, 1) void norm_qkv_norm_rope_append(Batch batch, Global<const float, 1024> x, Global<const bf16, 32, 8, 32> qkv_weight,
    Global<const float> attn_norm_gain, Global<const float> q_norm_gain, Global<const float> k_norm_gain, Global<const float, 256, 64> rope_low,
    Global<const float, 32, 64> rope_high, Global<signed char, 8, 136, 32> keys, Global<signed char, 8, 128, 32> values, Global<float, 2048> q_rope) {
  Memory &memory = shared_memory<Memory>();
  const int tile_2 = block_x();
  prefetch_weight<128>(qkv_weight, tile_2 * 16);
  dependency_wait();
  dependency_trigger();
  const int first = block_y() * 24;
  const int last = min(first + 24, batch.rows());
  if (first >= last) return;
  // qkv
  for (int row = first; row < last; row += 1) {
    const int difference = row - first;
    // attn_norm
    float running = 0.0f;
    for (int attn_norm = 0; attn_norm < 1024; attn_norm += 256) {
      const float x_2 = x(row, attn_norm + thread());
      running = running + x_2 * x_2;
    }
    const float quotient = 1.0f / sqrtf((block_sum(running, memory.partial) / 1024.0f) + 1e-06f);
    // qkv
    for (int qkv = 0; qkv < 1024; qkv += 256)
      memory.input(difference, qkv + thread()) = to_bf16(x(row, qkv + thread()) * quotient * attn_norm_gain(qkv + thread()));
  }
  block_barrier();
  dot(last - first, memory.input, qkv_weight, tile_2 * 16, memory.tile, memory.sums);
  block_barrier();
  for (int row_2 = first + group(); row_2 < last; row_2 += 16) {
    const int difference_2 = row_2 - first;
    if (tile_2 >= 0 && tile_2 < 16) {
      // q_norm
      float running_2 = 0.0f;
      for (int column = 0; column < 128; column += 16) {
        const float tile_3 = memory.tile(difference_2, column + lane());
        running_2 = running_2 + tile_3 * tile_3;
      }
      const float quotient_2 = 1.0f / sqrtf((group_sum(running_2) / 128.0f) + 1e-06f);
      for (int column_2 = 0; column_2 < 128; column_2 += 16)
        memory.tile(difference_2, column_2 + lane()) = memory.tile(difference_2, column_2 + lane()) * quotient_2 * q_norm_gain(column_2 + lane());
      const int row_position = batch.row_position(row_2);
      // q_rope
      for (int column_3 = 0; column_3 < 64; column_3 += 16) {
        const float tile_4 = memory.tile(difference_2, column_3 + lane());
        const float tile_5 = memory.tile(difference_2, column_3 + 64 + lane());
        const float rope_low_2 = rope_low(0, row_position % 256, column_3 + lane());
        const float rope_low_3 = rope_low(1, row_position % 256, column_3 + lane());
        const float rope_high_2 = rope_high(0, row_position / 256, column_3 + lane());
        const float rope_high_3 = rope_high(1, row_position / 256, column_3 + lane());
        const float difference_3 = rope_high_2 * rope_low_2 - rope_high_3 * rope_low_3;
        const float sum = rope_high_3 * rope_low_2 + rope_high_2 * rope_low_3;
        memory.tile(difference_2, column_3 + lane()) = tile_4 * difference_3 - tile_5 * sum;
        memory.tile(difference_2, column_3 + 64 + lane()) = tile_5 * difference_3 + tile_4 * sum;
      }
      for (int column_4 = 0; column_4 < 128; column_4 += 16)
        q_rope(row_2, tile_2 * 128 + column_4 + lane()) = float(memory.tile(difference_2, column_4 + lane()));
    }
    if (tile_2 >= 16 && tile_2 < 24) {
      // k_norm
      float running_3 = 0.0f;
      for (int column_5 = 0; column_5 < 128; column_5 += 16) {
        const float tile_6 = memory.tile(difference_2, column_5 + lane());
        running_3 = running_3 + tile_6 * tile_6;
      }
      const float quotient_3 = 1.0f / sqrtf((group_sum(running_3) / 128.0f) + 1e-06f);
      for (int column_6 = 0; column_6 < 128; column_6 += 16)
        memory.tile(difference_2, column_6 + lane()) = memory.tile(difference_2, column_6 + lane()) * quotient_3 * k_norm_gain(column_6 + lane());
      const int row_position_2 = batch.row_position(row_2);
      // k_rope
      for (int column_7 = 0; column_7 < 64; column_7 += 16) {
        const float tile_7 = memory.tile(difference_2, column_7 + lane());
        const float tile_8 = memory.tile(difference_2, column_7 + 64 + lane());
        const float rope_low_4 = rope_low(0, row_position_2 % 256, column_7 + lane());
        const float rope_low_5 = rope_low(1, row_position_2 % 256, column_7 + lane());
        const float rope_high_4 = rope_high(0, row_position_2 / 256, column_7 + lane());
        const float rope_high_5 = rope_high(1, row_position_2 / 256, column_7 + lane());
        const float difference_4 = rope_high_4 * rope_low_4 - rope_high_5 * rope_low_5;
        const float sum_2 = rope_high_5 * rope_low_4 + rope_high_4 * rope_low_5;
        memory.tile(difference_2, column_7 + lane()) = tile_7 * difference_4 - tile_8 * sum_2;
        memory.tile(difference_2, column_7 + 64 + lane()) = tile_8 * difference_4 + tile_7 * sum_2;
      }
      const int page_number = batch.page(batch.row_sequence(row_2), row_position_2 / 32);
      // kv
      float running_4 = 0.0f;
      for (int column_8 = 0; column_8 < 128; column_8 += 16)
        running_4 = fmaxf(running_4, fabsf(memory.tile(difference_2, column_8 + lane())));
      const float total = group_max(running_4);
      const bool holds = total > 1e-30f;
      const float chosen = holds ? 127.0f / total : 0.0f;
      store_key_scale(keys, page_number, tile_2 - 16, row_position_2, holds ? total / 127.0f : 0.0f);
      for (int column_9 = 0; column_9 < 128; column_9 += 16)
        store_key_code(keys, page_number, tile_2 - 16, row_position_2, column_9 + lane(), static_cast<signed char>(rintf(memory.tile(difference_2, column_9 + lane()) * chosen)));
    }
    if (tile_2 >= 24 && tile_2 < 32) {
      const int row_position_3 = batch.row_position(row_2);
      const int page_number_2 = batch.page(batch.row_sequence(row_2), row_position_3 / 32);
      float running_5 = 0.0f;
      for (int column_10 = 0; column_10 < 128; column_10 += 16)
        running_5 = fmaxf(running_5, fabsf(memory.tile(difference_2, column_10 + lane())));
      const float total_2 = group_max(running_5);
      const bool holds_2 = total_2 > 1e-30f;
      const float chosen_2 = holds_2 ? 127.0f / total_2 : 0.0f;
      store_value_scale(keys, page_number_2, tile_2 - 24, row_position_3, holds_2 ? total_2 / 127.0f : 0.0f);
      for (int column_11 = 0; column_11 < 128; column_11 += 16)
        store_value_code(values, page_number_2, tile_2 - 24, row_position_3, column_11 + lane(), static_cast<signed char>(rintf(memory.tile(difference_2, column_11 + lane()) * chosen_2)));
    }
  }
}
