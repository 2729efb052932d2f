// Products alone: the input of a block's rows to shared memory, dot, the tile out. A line a shape.
#include "lathe/kernel.cuh"

using namespace lathe::device;

namespace {

constexpr int kThreads = 256;

template <class T> struct Format;
template <> struct Format<float> {
  static constexpr int kBlock = 16, kPad = 4;
  LATHE_DEVICE static float from(float x) { return x; }
};
template <> struct Format<bf16> {
  static constexpr int kBlock = 32, kPad = 32;
  LATHE_DEVICE static bf16 from(float x) { return to_bf16(x); }
};

template <class T, int kRows, int kWidth, int kColumns> struct Memory {
  static constexpr int kBlocks = (kWidth + Format<T>::kBlock - 1) / Format<T>::kBlock;
  static constexpr int kPadded = kBlocks * Format<T>::kBlock;
  Shared<T, kRows, kPadded + Format<T>::kPad> input;
  Shared<float, kRows, kColumns> tile;
  DotSums<kRows, kColumns> sums;
};

template <class T, int kRows, int kWidth, int kColumns>
LATHE_DEVICE void product(const Batch &batch, Global<const float, kWidth> x,
                          Global<const T, Memory<T, kRows, kWidth, kColumns>::kBlocks, 8, Format<T>::kBlock> weight,
                          Global<float, 128> out) {
  using M = Memory<T, kRows, kWidth, kColumns>;
  M &memory = shared_memory<M>();
  const int first = block_y() * kRows;
  const int last = min(first + kRows, batch.rows());
  for (int row = first; row < last; row += 1)
    for (int column = thread(); column < M::kPadded; column += kThreads) {
      float value = 0.0f;
      if (column < kWidth)
        value = x(row, column);
      memory.input(row - first, column) = Format<T>::from(value);
    }
  block_barrier();
  dot<kRows>(last - first, memory.input, weight, block_x() * (kColumns / 8), memory.tile, memory.sums);
  block_barrier();
  for (int index = thread(); index < (last - first) * kColumns; index += kThreads)
    out(first + index / kColumns, block_x() * kColumns + index % kColumns) =
        memory.tile(index / kColumns, index % kColumns);
}

/// Rows straight from global memory.
template <class T, int kRows, int kWidth, int kColumns>
LATHE_DEVICE void global_product(const Batch &batch, Global<const float, kWidth> x,
                                 Global<const T, Memory<T, 8, kWidth, 8>::kBlocks, 8, Format<T>::kBlock> weight,
                                 Global<float, 128> out) {
  struct Sums {
    Shared<float, kRows, kColumns> tile;
    DotSums<kRows, kColumns> sums;
  };
  Sums &memory = shared_memory<Sums>();
  prefetch_weight<kColumns>(weight, block_x() * (kColumns / 8));
  dependency_wait();
  const int first = block_y() * kRows;
  const int last = min(first + kRows, batch.rows());
  dot<kRows>(last - first, x, first, weight, block_x() * (kColumns / 8), memory.tile, memory.sums);
  block_barrier();
  for (int index = thread(); index < (last - first) * kColumns; index += kThreads)
    out(first + index / kColumns, block_x() * kColumns + index % kColumns) =
        memory.tile(index / kColumns, index % kColumns);
}

} // namespace

#define DOT_KERNEL(NAME, T, ROWS, WIDTH, COLUMNS)                                                                      \
  extern "C" __global__ __launch_bounds__(kThreads, 1) void NAME(                                                      \
      Batch batch, Global<const float, WIDTH> x,                                                                       \
      Global<const T, Memory<T, ROWS, WIDTH, COLUMNS>::kBlocks, 8, Format<T>::kBlock> weight,                          \
      Global<float, 128> out) {                                                                                        \
    product<T, ROWS, WIDTH, COLUMNS>(batch, x, weight, out);                                                           \
  }

#define GLOBAL_KERNEL(NAME, T, ROWS, WIDTH, COLUMNS)                                                                   \
  extern "C" __global__ __launch_bounds__(kThreads, 1) void NAME(                                                      \
      Batch batch, Global<const float, WIDTH> x,                                                                       \
      Global<const T, Memory<T, 8, WIDTH, 8>::kBlocks, 8, Format<T>::kBlock> weight, Global<float, 128> out) {         \
    global_product<T, ROWS, WIDTH, COLUMNS>(batch, x, weight, out);                                                    \
  }

DOT_KERNEL(bf16_32_8_16, bf16, 8, 32, 16)
DOT_KERNEL(bf16_32_24_32, bf16, 24, 32, 32)
DOT_KERNEL(float_32_8_16, float, 8, 32, 16)
DOT_KERNEL(float_32_24_32, float, 24, 32, 32)
DOT_KERNEL(bf16_64_16_32, bf16, 16, 64, 32)
DOT_KERNEL(bf16_64_40_64, bf16, 40, 64, 64)
DOT_KERNEL(float_64_16_32, float, 16, 64, 32)
DOT_KERNEL(float_64_40_64, float, 40, 64, 64)
DOT_KERNEL(bf16_75_8_32, bf16, 8, 75, 32)
DOT_KERNEL(bf16_75_40_16, bf16, 40, 75, 16)
DOT_KERNEL(float_75_8_32, float, 8, 75, 32)
DOT_KERNEL(float_75_40_16, float, 40, 75, 16)
DOT_KERNEL(bf16_160_8_64, bf16, 8, 160, 64)
DOT_KERNEL(bf16_160_24_128, bf16, 24, 160, 128)
DOT_KERNEL(float_160_8_64, float, 8, 160, 64)
DOT_KERNEL(float_160_24_128, float, 24, 160, 128)
DOT_KERNEL(bf16_256_16_16, bf16, 16, 256, 16)
DOT_KERNEL(bf16_256_32_32, bf16, 32, 256, 32)
DOT_KERNEL(float_256_16_16, float, 16, 256, 16)
DOT_KERNEL(float_256_32_32, float, 32, 256, 32)
DOT_KERNEL(bf16_288_8_128, bf16, 8, 288, 128)
DOT_KERNEL(bf16_288_24_16, bf16, 24, 288, 16)
DOT_KERNEL(float_288_8_128, float, 8, 288, 128)
DOT_KERNEL(float_288_24_16, float, 24, 288, 16)
DOT_KERNEL(bf16_544_8_32, bf16, 8, 544, 32)
DOT_KERNEL(bf16_544_16_64, bf16, 16, 544, 64)
DOT_KERNEL(bf16_544_40_32, bf16, 40, 544, 32)
DOT_KERNEL(float_544_8_32, float, 8, 544, 32)
DOT_KERNEL(float_544_16_64, float, 16, 544, 64)
DOT_KERNEL(float_544_40_32, float, 40, 544, 32)
DOT_KERNEL(bf16_600_8_16, bf16, 8, 600, 16)
DOT_KERNEL(bf16_600_16_128, bf16, 16, 600, 128)
DOT_KERNEL(bf16_600_24_64, bf16, 24, 600, 64)
DOT_KERNEL(bf16_600_40_128, bf16, 40, 600, 128)
DOT_KERNEL(float_600_8_16, float, 8, 600, 16)
DOT_KERNEL(float_600_16_128, float, 16, 600, 128)
DOT_KERNEL(float_600_24_64, float, 24, 600, 64)
DOT_KERNEL(float_600_40_128, float, 40, 600, 128)
DOT_KERNEL(bf16_2200_8_16, bf16, 8, 2200, 16)
DOT_KERNEL(bf16_2200_16_32, bf16, 16, 2200, 32)
DOT_KERNEL(float_2200_8_16, float, 8, 2200, 16)
DOT_KERNEL(float_2200_16_32, float, 16, 2200, 32)

GLOBAL_KERNEL(global_bf16_75_8_32, bf16, 8, 75, 32)
GLOBAL_KERNEL(global_bf16_75_24_64, bf16, 24, 75, 64)
GLOBAL_KERNEL(global_float_75_8_32, float, 8, 75, 32)
GLOBAL_KERNEL(global_float_75_24_64, float, 24, 75, 64)
GLOBAL_KERNEL(global_bf16_600_8_16, bf16, 8, 600, 16)
GLOBAL_KERNEL(global_bf16_600_16_64, bf16, 16, 600, 64)
GLOBAL_KERNEL(global_bf16_600_40_128, bf16, 40, 600, 128)
GLOBAL_KERNEL(global_float_600_8_16, float, 8, 600, 16)
GLOBAL_KERNEL(global_float_600_16_64, float, 16, 600, 64)
GLOBAL_KERNEL(global_float_600_40_128, float, 40, 600, 128)
GLOBAL_KERNEL(global_bf16_2200_16_32, bf16, 16, 2200, 32)
GLOBAL_KERNEL(global_float_2200_16_32, float, 16, 2200, 32)
