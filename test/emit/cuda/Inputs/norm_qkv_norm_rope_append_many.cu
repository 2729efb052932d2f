// norm_qkv_norm_rope_append_many
//   norm attn_norm, Qwen3-0.6B.toml:12
//   linear qkv, Qwen3-0.6B.toml:8
//   split qkv_parts, Qwen3-0.6B.toml:8
//   norm q_norm, Qwen3-0.6B.toml:13
//   norm k_norm, Qwen3-0.6B.toml:13
//   rope q_rope, Qwen3-0.6B.toml:19
//   rope k_rope, Qwen3-0.6B.toml:19
//   kv_append kv, Qwen3-0.6B.toml:9
// a block: 64 rows by one of 32 column tiles, 53248 bytes of shared memory; for 97 rows and more
// weights: 8388608 bytes, 262144 a tile; operations: 8388608 a row
// schedule: default, cuda.toml:53
#include "lathe/kernel.cuh"
using namespace lathe::device;

namespace {
constexpr int kThreads = 256;
struct Memory {
  Shared<bf16, 2, 2, 64, 32> input;
  Shared<float, 64, 16> inverse;
  Shared<float, 64, 128> tile;
};
} // namespace

extern "C" __global__ __launch_bounds__(kThreads, 1) void norm_qkv_norm_rope_append_many(Batch batch, Global<const float, 1024> x, Global<const bf16, 32, 8, 32> qkv_weight,
    Global<const float> attn_norm_gain, Global<const float> q_norm_gain, Global<const float> k_norm_gain, Global<const float, 256, 64> rope_low,
    Global<const float, 32, 64> rope_high, Global<bf16, 8, 32, 128> keys, Global<bf16, 8, 128, 32> values, Global<float, 2048> q_rope) {
  Memory &memory = shared_memory<Memory>();
  const int tile_2 = block_x();
  prefetch_weight<128>(qkv_weight, tile_2 * 16);
  dependency_wait();
  dependency_trigger();
  const int first = block_y() * 64;
  const int last = min(first + 64, batch.rows());
  if (first >= last) return;
  const int sum = first + group();
  // attn_norm
  for (int row = sum; row < last; row += 16) {
    float running = 0.0f;
    for (int warp_first = 0; warp_first < 256; warp_first += 32) {
      float running_2 = 0.0f;
      for (int attn_norm = 0; attn_norm < 32; attn_norm += 16) {
        float running_3 = 0.0f;
        for (int attn_norm_2 = warp_first + attn_norm; attn_norm_2 < 1024; attn_norm_2 += 256) {
          const float x_2 = x(row, attn_norm_2 + lane());
          running_3 = running_3 + x_2 * x_2;
        }
        running_2 = running_2 + group_sum(running_3);
      }
      running = running + running_2;
    }
    memory.inverse(row - first, lane()) = 1.0f / sqrtf((running / 1024.0f) + 1e-06f);
  }
  const int difference = last - first;
  // qkv
  auto sums = start_gemm<64, 128>(qkv_weight, tile_2 * 16, 512);
  for (int piece = 0; piece < 16; piece += 1) {
    for (int row_2 = sum; row_2 < last; row_2 += 16) {
      const int difference_2 = row_2 - first;
      for (int column = 0; column < 64; column += 16) {
        const int sum_2 = piece * 64 + column;
        memory.input(piece % 2, column / 32, difference_2, column % 32 + lane()) = to_bf16(x(row_2, sum_2 + lane()) * memory.inverse(difference_2, lane()) * attn_norm_gain(sum_2 + lane()));
      }
    }
    block_barrier();
    add_piece(sums, difference, memory.input, piece % 2, piece);
  }
  store_gemm(sums, difference, memory.tile);
  block_barrier();
  for (int row_3 = sum; row_3 < last; row_3 += 16) {
    const int difference_3 = row_3 - first;
    if (tile_2 >= 0 && tile_2 < 16) {
      // q_norm
      float running_4 = 0.0f;
      for (int column_2 = 0; column_2 < 128; column_2 += 16) {
        const float tile_3 = memory.tile(difference_3, column_2 + lane());
        running_4 = running_4 + tile_3 * tile_3;
      }
      const float quotient = 1.0f / sqrtf((group_sum(running_4) / 128.0f) + 1e-06f);
      for (int column_3 = 0; column_3 < 128; column_3 += 16)
        memory.tile(difference_3, column_3 + lane()) = memory.tile(difference_3, column_3 + lane()) * quotient * q_norm_gain(column_3 + lane());
      const int row_position = batch.row_position(row_3);
      // q_rope
      for (int column_4 = 0; column_4 < 64; column_4 += 16) {
        const float tile_4 = memory.tile(difference_3, column_4 + lane());
        const float tile_5 = memory.tile(difference_3, column_4 + 64 + lane());
        const float rope_low_2 = rope_low(0, row_position % 256, column_4 + lane());
        const float rope_low_3 = rope_low(1, row_position % 256, column_4 + lane());
        const float rope_high_2 = rope_high(0, row_position / 256, column_4 + lane());
        const float rope_high_3 = rope_high(1, row_position / 256, column_4 + lane());
        const float difference_4 = rope_high_2 * rope_low_2 - rope_high_3 * rope_low_3;
        const float sum_3 = rope_high_3 * rope_low_2 + rope_high_2 * rope_low_3;
        memory.tile(difference_3, column_4 + lane()) = tile_4 * difference_4 - tile_5 * sum_3;
        memory.tile(difference_3, column_4 + 64 + lane()) = tile_5 * difference_4 + tile_4 * sum_3;
      }
      for (int column_5 = 0; column_5 < 128; column_5 += 16)
        q_rope(row_3, tile_2 * 128 + column_5 + lane()) = float(memory.tile(difference_3, column_5 + lane()));
    }
    if (tile_2 >= 16 && tile_2 < 24) {
      // k_norm
      float running_5 = 0.0f;
      for (int column_6 = 0; column_6 < 128; column_6 += 16) {
        const float tile_6 = memory.tile(difference_3, column_6 + lane());
        running_5 = running_5 + tile_6 * tile_6;
      }
      const float quotient_2 = 1.0f / sqrtf((group_sum(running_5) / 128.0f) + 1e-06f);
      for (int column_7 = 0; column_7 < 128; column_7 += 16)
        memory.tile(difference_3, column_7 + lane()) = memory.tile(difference_3, column_7 + lane()) * quotient_2 * k_norm_gain(column_7 + lane());
      const int row_position_2 = batch.row_position(row_3);
      // k_rope
      for (int column_8 = 0; column_8 < 64; column_8 += 16) {
        const float tile_7 = memory.tile(difference_3, column_8 + lane());
        const float tile_8 = memory.tile(difference_3, column_8 + 64 + lane());
        const float rope_low_4 = rope_low(0, row_position_2 % 256, column_8 + lane());
        const float rope_low_5 = rope_low(1, row_position_2 % 256, column_8 + lane());
        const float rope_high_4 = rope_high(0, row_position_2 / 256, column_8 + lane());
        const float rope_high_5 = rope_high(1, row_position_2 / 256, column_8 + lane());
        const float difference_5 = rope_high_4 * rope_low_4 - rope_high_5 * rope_low_5;
        const float sum_4 = rope_high_5 * rope_low_4 + rope_high_4 * rope_low_5;
        memory.tile(difference_3, column_8 + lane()) = tile_7 * difference_5 - tile_8 * sum_4;
        memory.tile(difference_3, column_8 + 64 + lane()) = tile_8 * difference_5 + tile_7 * sum_4;
      }
      const int page_number = batch.page(batch.row_sequence(row_3), row_position_2 / 32);
      // kv
      for (int column_9 = 0; column_9 < 128; column_9 += 16)
        keys(page_number, tile_2 - 16, row_position_2 % 32, column_9 + lane()) = to_bf16(memory.tile(difference_3, column_9 + lane()));
    }
    if (tile_2 >= 24 && tile_2 < 32) {
      const int row_position_3 = batch.row_position(row_3);
      const int page_number_2 = batch.page(batch.row_sequence(row_3), row_position_3 / 32);
      for (int column_10 = 0; column_10 < 128; column_10 += 16)
        values(page_number_2, tile_2 - 24, column_10 + lane(), row_position_3 % 32) = to_bf16(memory.tile(difference_3, column_10 + lane()));
    }
  }
}
