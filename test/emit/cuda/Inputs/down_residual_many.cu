// down_residual_many
//   linear down, Qwen3-0.6B.toml:5
//   addf x, Qwen3-0.6B.toml:5
// a block: 64 rows by 2 of 32 column tiles, 32768 bytes of shared memory; for 97 rows and more
// weights: 6291456 bytes, 196608 a tile; operations: 6291456 a row
// schedule: default, cuda.toml:53
#include "lathe/kernel.cuh"
using namespace lathe::device;

namespace {
constexpr int kThreads = 256;
struct Memory {
  Shared<bf16, 2, 2, 64, 32> input;
  Shared<float, 128, 32> tile;
};
} // namespace

extern "C" __global__ __launch_bounds__(kThreads, 1) void down_residual_many(Batch batch, Global<const float, 3072> gated, Global<const float, 1024> x,
    Global<const bf16, 96, 8, 32> down_weight, Global<float, 1024> x_2) {
  Memory &memory = shared_memory<Memory>();
  const int first_tile = block_x() * 2;
  prefetch_weight<64>(down_weight, first_tile * 4);
  dependency_wait();
  dependency_trigger();
  const int first = block_y() * 64;
  const int last = min(first + 64, batch.rows());
  if (first >= last) return;
  const int last_tile = min(block_x() * 2 + 2, 32);
  const int difference = last - first;
  // down
  auto sums = start_gemm<64, 64>(down_weight, first_tile * 4, 128);
  for (int piece = 0; piece < 48; piece += 1) {
    for (int row = first + group(); row < last; row += 16) {
      const int difference_2 = row - first;
      for (int column = 0; column < 64; column += 16)
        memory.input(piece % 2, column / 32, difference_2, column % 32 + lane()) = to_bf16(gated(row, piece * 64 + column + lane()));
    }
    block_barrier();
    add_piece(sums, difference, memory.input, piece % 2, piece);
  }
  store_gemm(sums, difference, memory.tile);
  block_barrier();
  for (int tile_2 = first_tile; tile_2 < last_tile; tile_2 += 1) {
    for (int row_2 = first + group(); row_2 < last; row_2 += 16) {
      const int sum = (tile_2 - first_tile) * 64 + (row_2 - first);
      // x
      for (int column_2 = 0; column_2 < 32; column_2 += 16) {
        const int sum_2 = tile_2 * 32 + column_2;
        x_2(row_2, sum_2 + lane()) = x(row_2, sum_2 + lane()) + memory.tile(sum, column_2 + lane());
      }
    }
  }
}
