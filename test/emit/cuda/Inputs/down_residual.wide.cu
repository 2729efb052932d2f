// down_residual
//   linear down, Llama-3.2-1B.toml:5
//   addf x, Llama-3.2-1B.toml:5
// a block: 8 rows by one of 64 column tiles, 10240 bytes of shared memory
// weights: 33554432 bytes, 524288 a tile; operations: 33554432 a row
// schedule: default, cuda.toml:25
#include "lathe/kernel.cuh"
using namespace lathe::device;

namespace {
constexpr int kThreads = 256;
struct Memory {
  Shared<float, 8, 32> tile;
  DotSums<8, 32> sums;
};
} // namespace

extern "C" __global__ __launch_bounds__(kThreads, 1) void down_residual(Batch batch, Global<const float, 8192> gated, Global<const float, 2048> x,
    Global<const bf16, 256, 8, 32> down_weight, Global<float, 2048> x_2) {
  Memory &memory = shared_memory<Memory>();
  const int tile_2 = block_x();
  prefetch_weight<32>(down_weight, tile_2 * 4);
  dependency_wait();
  dependency_trigger();
  const int first = block_y() * 8;
  const int last = min(first + 8, batch.rows());
  if (first >= last) return;
  // down
  dot(last - first, gated, first, down_weight, tile_2 * 4, memory.tile, memory.sums);
  block_barrier();
  for (int row = first + group(); row < last; row += 16) {
    const int difference = row - first;
    // x
    for (int column = 0; column < 32; column += 16) {
      const int sum = tile_2 * 32 + column;
      x_2(row, sum + lane()) = x(row, sum + lane()) + memory.tile(difference, column + lane());
    }
  }
}
