// norm_logits
//   select_rows x, Qwen3-0.6B.toml:1
//   norm final_norm, Qwen3-0.6B.toml:12
//   linear logits, Qwen3-0.6B.toml:14
// a block: 24 rows by one of 4748 column tiles, 63008 bytes of shared memory
// weights: 311164928 bytes, 65536 a tile; operations: 311164928 a row
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

extern "C" __global__ __launch_bounds__(kThreads, 1) void norm_logits(Batch batch, Global<const float, 1024> x, Global<const bf16, 32, 8, 32> embed_weight,
    Global<const float> final_norm_gain, Global<float, 151936> logits) {
  Memory &memory = shared_memory<Memory>();
  const int tile_2 = block_x();
  prefetch_weight<32>(embed_weight, tile_2 * 4);
  dependency_wait();
  dependency_trigger();
  const int first = block_y() * 24;
  const int last = min(first + 24, batch.logit_rows());
  if (first >= last) return;
  // logits
  for (int row = first; row < last; row += 1) {
    const int difference = row - first;
    const int logit_row = batch.logit_row(row);
    // final_norm
    float running = 0.0f;
    for (int final_norm = 0; final_norm < 1024; final_norm += 256) {
      const float x_2 = x(logit_row, final_norm + thread());
      running = running + x_2 * x_2;
    }
    const float quotient = 1.0f / sqrtf((block_sum(running, memory.partial) / 1024.0f) + 1e-06f);
    // logits
    for (int logits_2 = 0; logits_2 < 1024; logits_2 += 256)
      memory.input(difference, logits_2 + thread()) = to_bf16(x(logit_row, logits_2 + thread()) * quotient * final_norm_gain(logits_2 + thread()));
  }
  block_barrier();
  dot(last - first, memory.input, embed_weight, tile_2 * 4, memory.tile, memory.sums);
  block_barrier();
  for (int row_2 = first + group(); row_2 < last; row_2 += 16) {
    const int difference_2 = row_2 - first;
    for (int column = 0; column < 32; column += 16)
      logits(row_2, tile_2 * 32 + column + lane()) = float(memory.tile(difference_2, column + lane()));
  }
}
