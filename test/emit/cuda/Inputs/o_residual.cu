// o_residual
//   linear o, Qwen3-0.6B.toml:5
//   addf x, Qwen3-0.6B.toml:5
// a block: 8 rows by one of 32 column tiles, 43520 bytes of shared memory
// weights: 4194304 bytes, 131072 a tile; operations: 4194304 a row
// schedule: default, cuda.toml:25
#include "lathe/kernel.cuh"
using namespace lathe::device;

namespace {
constexpr int kThreads = 256;
struct Memory {
  Shared<bf16, 8, 2080> input;
  Shared<float, 8, 32> tile;
  DotSums<8, 32> sums;
};
} // namespace

extern "C" __global__ __launch_bounds__(kThreads, 1) void o_residual(Batch batch, Global<const float, 2048> attn, Global<const float, 1024> x,
    Global<const bf16, 64, 8, 32> o_weight, Global<float, 1024> x_2) {
  Memory &memory = shared_memory<Memory>();
  const int tile_2 = block_x();
  prefetch_weight<32>(o_weight, tile_2 * 4);
  dependency_wait();
  dependency_trigger();
  const int first = block_y() * 8;
  const int last = min(first + 8, batch.rows());
  if (first >= last) return;
  // o
  for (int row = first; row < last; row += 1) {
    const int difference = row - first;
    for (int o = 0; o < 2048; o += 256)
      memory.input(difference, o + thread()) = to_bf16(attn(row, o + thread()));
  }
  block_barrier();
  dot(last - first, memory.input, o_weight, tile_2 * 4, memory.tile, memory.sums);
  block_barrier();
  for (int row_2 = first + group(); row_2 < last; row_2 += 16) {
    const int difference_2 = row_2 - first;
    // x
    for (int column = 0; column < 32; column += 16) {
      const int sum = tile_2 * 32 + column;
      x_2(row_2, sum + lane()) = x(row_2, sum + lane()) + memory.tile(difference_2, column + lane());
    }
  }
}
