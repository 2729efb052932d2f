// norm_gate_up_gated
//   norm mlp_norm, Qwen3-0.6B.toml:12
//   linear gate_up, Qwen3-0.6B.toml:6
//   split gate_up_parts, Qwen3-0.6B.toml:6
//   gated gated, Qwen3-0.6B.toml:1
// a block: 24 rows by one of 192 column tiles, 63008 bytes of shared memory
// weights: 12582912 bytes, 65536 a tile; operations: 12582912 a row
// schedule: default, cuda.toml:25
#include "lathe/kernel.cuh"
using namespace lathe::device;

namespace {
constexpr int kThreads = 256;
struct Memory {
  Shared<bf16, 24, 1056> input;
  Shared<float, 8> partial;
  Shared<float, 24, 32> tile;
  DotSums<24, 32> sums;
};
} // namespace

extern "C" __global__ __launch_bounds__(kThreads, 1) void norm_gate_up_gated(Batch batch, Global<const float, 1024> x, Global<const bf16, 32, 8, 32> gate_up_weight,
    Global<const float> mlp_norm_gain, Global<float, 3072> gated) {
  Memory &memory = shared_memory<Memory>();
  const int tile_2 = block_x();
  prefetch_weight<32>(gate_up_weight, tile_2 * 4);
  dependency_wait();
  dependency_trigger();
  const int first = block_y() * 24;
  const int last = min(first + 24, batch.rows());
  if (first >= last) return;
  // gate_up
  for (int row = first; row < last; row += 1) {
    const int difference = row - first;
    // mlp_norm
    float running = 0.0f;
    for (int mlp_norm = 0; mlp_norm < 1024; mlp_norm += 256) {
      const float x_2 = x(row, mlp_norm + thread());
      running = running + x_2 * x_2;
    }
    const float quotient = 1.0f / sqrtf((block_sum(running, memory.partial) / 1024.0f) + 1e-06f);
    // gate_up
    for (int gate_up = 0; gate_up < 1024; gate_up += 256)
      memory.input(difference, gate_up + thread()) = to_bf16(x(row, gate_up + thread()) * quotient * mlp_norm_gain(gate_up + thread()));
  }
  block_barrier();
  dot(last - first, memory.input, gate_up_weight, tile_2 * 4, memory.tile, memory.sums);
  block_barrier();
  for (int row_2 = first + group(); row_2 < last; row_2 += 16) {
    const int difference_2 = row_2 - first;
    const float tile_3 = memory.tile(difference_2, lane());
    // gated
    gated(row_2, tile_2 * 16 + lane()) = tile_3 / (exponential(-tile_3) + 1.0f) * memory.tile(difference_2, 16 + lane());
  }
}
