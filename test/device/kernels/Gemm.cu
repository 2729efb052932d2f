// Products of many rows, a piece of k at a time: pieces to shared memory, the sums out. A line a shape.
#include "lathe/kernel.cuh"

using namespace lathe::device;

namespace {

constexpr int kThreads = 256, kDepth = 64;

template <int kRows, int kColumns> struct Memory {
  Shared<bf16, 2, kDepth / 32, kRows, 32> input;
  Shared<float, kColumns / 32 * kRows, 32> tile;
};

template <int kRows, int kWidth, int kColumns, int kBlock, class... Weight>
LATHE_DEVICE void product(const Batch &batch, Global<const float, kWidth> x, Global<float, 128> out,
                          const Weight &...weight) {
  constexpr int kPadded = (kWidth + kBlock - 1) / kBlock * kBlock;
  auto &memory = shared_memory<Memory<kRows, kColumns>>();
  const int first = block_y() * kRows;
  const int last = min(first + kRows, batch.rows());
  auto sums = start_gemm<kRows, kColumns>(weight..., block_x() * (kColumns / 8), 128 / 8);
  for (int piece = 0; piece * kDepth < kPadded; piece += 1) {
    for (int slot = group(); slot < last - first; slot += 16)
      for (int column = lane(); column < min(kDepth, kPadded - piece * kDepth); column += 16) {
        float value = 0.0f;
        if (piece * kDepth + column < kWidth)
          value = x(first + slot, piece * kDepth + column);
        memory.input(piece % 2, column / 32, slot, column % 32) = to_bf16(value);
      }
    block_barrier();
    add_piece(sums, last - first, memory.input, piece % 2, piece);
  }
  store_gemm(sums, last - first, memory.tile);
  block_barrier();
  for (int index = thread(); index < (last - first) * kColumns; index += kThreads) {
    const int row = index / kColumns, column = index % kColumns;
    if (block_x() * kColumns + column < 128)
      out(first + row, block_x() * kColumns + column) = memory.tile(column / 32 * kRows + row, column % 32);
  }
}

} // namespace

#define GEMM_KERNEL(NAME, ROWS, WIDTH, COLUMNS)                                                                        \
  extern "C" __global__ __launch_bounds__(kThreads, 1) void NAME(Batch batch, Global<const float, WIDTH> x,            \
                                                                 Global<const bf16, (WIDTH + 31) / 32, 8, 32> weight,  \
                                                                 Global<float, 128> out) {                             \
    product<ROWS, WIDTH, COLUMNS, 32>(batch, x, out, weight);                                                          \
  }

#define BYTES_KERNEL(NAME, SCALE, GROUP, ROWS, WIDTH, COLUMNS)                                                         \
  extern "C" __global__ __launch_bounds__(kThreads, 1) void NAME(                                                      \
      Batch batch, Global<const float, WIDTH> x, Global<const signed char, (WIDTH + 63) / 64, 8, 64> weight,           \
      Global<const SCALE, (WIDTH + 63) / 64 * 64 / GROUP, 8> scales, Global<float, 128> out) {                         \
    product<ROWS, WIDTH, COLUMNS, 64>(batch, x, out, weight, scales);                                                  \
  }

GEMM_KERNEL(gemm_bf16_75_64_96, 64, 75, 96)
GEMM_KERNEL(gemm_bf16_160_24_64, 24, 160, 64)
GEMM_KERNEL(gemm_bf16_544_128_32, 128, 544, 32)
GEMM_KERNEL(gemm_bf16_600_64_128, 64, 600, 128)
GEMM_KERNEL(gemm_bf16_600_128_128, 128, 600, 128)
BYTES_KERNEL(gemm_bytes_bf1632_160_64_64, bf16, 32, 64, 160, 64)
BYTES_KERNEL(gemm_bytes_bf1632_600_64_128, bf16, 32, 64, 600, 128)
BYTES_KERNEL(gemm_bytes_float64_544_24_32, float, 64, 24, 544, 32)
BYTES_KERNEL(gemm_bytes_float64_600_64_96, float, 64, 64, 600, 96)
