// norm_gate_up_gated_many
//   norm mlp_norm, Qwen3-0.6B.toml:12
//   linear gate_up, Qwen3-0.6B.toml:6
//   split gate_up_parts, Qwen3-0.6B.toml:6
//   gated gated, Qwen3-0.6B.toml:1
// a block: 64 rows by 4 of 192 column tiles, 53248 bytes of shared memory; for 97 rows and more
// weights: 6684672 bytes, 34816 a tile; operations: 12582912 a row
// schedule: default, cuda.toml:62
#include "lathe/kernel.cuh"
using namespace lathe::device;

namespace {
constexpr int kThreads = 256;
struct Memory {
  Shared<bf16, 2, 2, 64, 32> input;
  Shared<float, 64, 16> inverse;
  Shared<float, 256, 32> tile;
};
} // namespace

extern "C" __global__ __launch_bounds__(kThreads, 1) void norm_gate_up_gated_many(Batch batch, Global<const float, 1024> x, Global<const signed char, 16, 8, 64> gate_up_weight,
    Global<const bf16, 32, 8> gate_up_weight_scales, Global<const float> mlp_norm_gain, Global<float, 3072> gated) {
  Memory &memory = shared_memory<Memory>();
  const int first_tile = block_x() * 4;
  prefetch_weight<128>(gate_up_weight, first_tile * 4);
  dependency_wait();
  dependency_trigger();
  const int first = block_y() * 64;
  const int last = min(first + 64, batch.rows());
  if (first >= last) return;
  const int last_tile = min(block_x() * 4 + 4, 192);
  const int sum = first + group();
  // mlp_norm
  for (int row = sum; row < last; row += 16) {
    float running = 0.0f;
    for (int warp_first = 0; warp_first < 256; warp_first += 32) {
      float running_2 = 0.0f;
      for (int mlp_norm = 0; mlp_norm < 32; mlp_norm += 16) {
        float running_3 = 0.0f;
        for (int mlp_norm_2 = warp_first + mlp_norm; mlp_norm_2 < 1024; mlp_norm_2 += 256) {
          const float x_2 = x(row, mlp_norm_2 + lane());
          running_3 = running_3 + x_2 * x_2;
        }
        running_2 = running_2 + group_sum(running_3);
      }
      running = running + running_2;
    }
    memory.inverse(row - first, lane()) = 1.0f / sqrtf((running / 1024.0f) + 1e-06f);
  }
  const int difference = last - first;
  // gate_up
  auto sums = start_gemm<64, 128>(gate_up_weight, gate_up_weight_scales, first_tile * 4, 768);
  for (int piece = 0; piece < 16; piece += 1) {
    for (int row_2 = sum; row_2 < last; row_2 += 16) {
      const int difference_2 = row_2 - first;
      for (int column = 0; column < 64; column += 16) {
        const int sum_2 = piece * 64 + column;
        memory.input(piece % 2, column / 32, difference_2, column % 32 + lane()) = to_bf16(x(row_2, sum_2 + lane()) * memory.inverse(difference_2, lane()) * mlp_norm_gain(sum_2 + lane()));
      }
    }
    block_barrier();
    add_piece(sums, difference, memory.input, piece % 2, piece);
  }
  store_gemm(sums, difference, memory.tile);
  block_barrier();
  for (int tile_2 = first_tile; tile_2 < last_tile; tile_2 += 1) {
    for (int row_3 = sum; row_3 < last; row_3 += 16) {
      const int sum_3 = (tile_2 - first_tile) * 64 + (row_3 - first);
      const float tile_3 = memory.tile(sum_3, lane());
      // gated
      gated(row_3, tile_2 * 16 + lane()) = tile_3 / (exponential(-tile_3) + 1.0f) * memory.tile(sum_3, 16 + lane());
    }
  }
}
