// A kernel as the compiler prints it: norm, product, split, gated; bf16 weights.
#include "lathe/kernel.cuh"

using namespace lathe::device;

namespace {

constexpr int kThreads = 256;
constexpr int kRows = 8;
constexpr int kHidden = 192;
constexpr int kGated = 64;

struct Memory {
  Shared<bf16, kRows, kHidden + 32> input;
  Shared<float, kRows, 32> tile;
  DotSums<kRows, 32> sums;
  Shared<float, kThreads / 32> reduce;
};

} // namespace

extern "C" __global__ __launch_bounds__(kThreads, 1) void norm_gated(Batch batch, Global<const float, kHidden> x,
                                                                     Global<const float> gain,
                                                                     Global<const bf16, kHidden / 32, 8, 32> weight,
                                                                     Global<float, kGated> gated) {
  Memory &memory = shared_memory<Memory>();
  const int first = block_y() * kRows;
  const int last = min(first + kRows, batch.rows());
  for (int row = first; row < last; row += 1) {
    float squares = 0.0f;
    for (int column = thread(); column < kHidden; column += kThreads) {
      const float x0 = x(row, column);
      squares = squares + x0 * x0;
    }
    const float inverse = 1.0f / sqrtf(block_sum(squares, memory.reduce) / static_cast<float>(kHidden) + 1.0e-5f);
    for (int column = thread(); column < kHidden; column += kThreads)
      memory.input(row - first, column) = to_bf16(x(row, column) * inverse * gain(column));
  }
  block_barrier();
  dot<kRows>(last - first, memory.input, weight, block_x() * 4, memory.tile, memory.sums);
  block_barrier();
  for (int row = first + group(); row < last; row += groups()) {
    const float gate = memory.tile(row - first, lane());
    const float up = memory.tile(row - first, 16 + lane());
    gated(row, block_x() * 16 + lane()) = gate / (1.0f + sqrtf(1.0f + gate * gate)) * up;
  }
}
