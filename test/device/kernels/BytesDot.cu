// Products alone with codes and scales: as Dot.cu.
#include "lathe/kernel.cuh"

using namespace lathe::device;

namespace {

constexpr int kThreads = 256;

template <int kRows, int kWidth, int kColumns> struct Memory {
  static constexpr int kBlocks = (kWidth + 63) / 64;
  Shared<bf16, kRows, kBlocks * 64 + 32> input;
  Shared<float, kRows, kColumns> tile;
  DotSums<kRows, kColumns> sums;
};

template <class Scale, int kGroup, int kRows, int kWidth, int kColumns>
LATHE_DEVICE void product(const Batch &batch, Global<const float, kWidth> x,
                          Global<const signed char, (kWidth + 63) / 64, 8, 64> weight,
                          Global<const Scale, (kWidth + 63) / 64 * 64 / kGroup, 8> scales, Global<float, 128> out) {
  auto &memory = shared_memory<Memory<kRows, kWidth, kColumns>>();
  const int first = block_y() * kRows;
  const int last = min(first + kRows, batch.rows());
  for (int row = first; row < last; row += 1)
    for (int column = thread(); column < (kWidth + 63) / 64 * 64; column += kThreads) {
      float value = 0.0f;
      if (column < kWidth)
        value = x(row, column);
      memory.input(row - first, column) = to_bf16(value);
    }
  block_barrier();
  dot<kRows>(last - first, memory.input, weight, scales, block_x() * (kColumns / 8), memory.tile, memory.sums);
  block_barrier();
  for (int index = thread(); index < (last - first) * kColumns; index += kThreads)
    out(first + index / kColumns, block_x() * kColumns + index % kColumns) =
        memory.tile(index / kColumns, index % kColumns);
}

} // namespace

#define BYTES_KERNEL(NAME, SCALE, GROUP, ROWS, WIDTH, COLUMNS)                                                         \
  extern "C" __global__ __launch_bounds__(kThreads, 1) void NAME(                                                      \
      Batch batch, Global<const float, WIDTH> x, Global<const signed char, (WIDTH + 63) / 64, 8, 64> weight,           \
      Global<const SCALE, (WIDTH + 63) / 64 * 64 / GROUP, 8> scales, Global<float, 128> out) {                         \
    product<SCALE, GROUP, ROWS, WIDTH, COLUMNS>(batch, x, weight, scales, out);                                        \
  }

BYTES_KERNEL(bytes_bf1632_40_8_16, bf16, 32, 8, 40, 16)
BYTES_KERNEL(bytes_bf1632_40_24_32, bf16, 32, 24, 40, 32)
BYTES_KERNEL(bytes_float64_40_8_16, float, 64, 8, 40, 16)
BYTES_KERNEL(bytes_float64_40_24_32, float, 64, 24, 40, 32)
BYTES_KERNEL(bytes_bf1632_160_8_64, bf16, 32, 8, 160, 64)
BYTES_KERNEL(bytes_bf1632_160_24_128, bf16, 32, 24, 160, 128)
BYTES_KERNEL(bytes_float64_160_8_64, float, 64, 8, 160, 64)
BYTES_KERNEL(bytes_float64_160_24_128, float, 64, 24, 160, 128)
BYTES_KERNEL(bytes_bf1632_544_16_64, bf16, 32, 16, 544, 64)
BYTES_KERNEL(bytes_bf1632_544_40_32, bf16, 32, 40, 544, 32)
BYTES_KERNEL(bytes_float64_544_16_64, float, 64, 16, 544, 64)
BYTES_KERNEL(bytes_float64_544_40_32, float, 64, 40, 544, 32)
BYTES_KERNEL(bytes_bf1632_600_8_32, bf16, 32, 8, 600, 32)
BYTES_KERNEL(bytes_bf1632_600_16_128, bf16, 32, 16, 600, 128)
BYTES_KERNEL(bytes_bf1632_600_40_64, bf16, 32, 40, 600, 64)
BYTES_KERNEL(bytes_float64_600_8_32, float, 64, 8, 600, 32)
BYTES_KERNEL(bytes_float64_600_16_128, float, 64, 16, 600, 128)
BYTES_KERNEL(bytes_float64_600_40_64, float, 64, 40, 600, 64)

BYTES_KERNEL(bytes_f1632_600_8_32, f16, 32, 8, 600, 32)

/// Rows straight from global memory.
extern "C" __global__ __launch_bounds__(kThreads, 1) void global_bytes_bf1632_600_8_32(
    Batch batch, Global<const float, 600> x, Global<const signed char, 10, 8, 64> weight,
    Global<const bf16, 20, 8> scales, Global<float, 128> out) {
  struct Sums {
    Shared<float, 8, 32> tile;
    DotSums<8, 32> sums;
  };
  Sums &memory = shared_memory<Sums>();
  const int first = block_y() * 8;
  const int last = min(first + 8, batch.rows());
  dot<8>(last - first, x, first, weight, scales, block_x() * 4, memory.tile, memory.sums);
  block_barrier();
  for (int index = thread(); index < (last - first) * 32; index += kThreads)
    out(first + index / 32, block_x() * 32 + index % 32) = memory.tile(index / 32, index % 32);
}
