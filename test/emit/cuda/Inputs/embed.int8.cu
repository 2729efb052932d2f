// embed
//   embed x, Qwen3-0.6B.toml:4
// a block: 1 rows by one of 1 column tiles, 0 bytes of shared memory
// schedule: default, cuda.toml:39
#include "lathe/kernel.cuh"
using namespace lathe::device;

namespace {
constexpr int kThreads = 256;
} // namespace

extern "C" __global__ __launch_bounds__(kThreads, 1) void embed(Batch batch, Global<const signed char, 16, 8, 64> embed_weight,
    Global<const bf16, 32, 8> embed_weight_scales, Global<float, 1024> x) {
  dependency_wait();
  dependency_trigger();
  const int first = block_y() * 1;
  const int last = min(first + 1, batch.rows());
  if (first >= last) return;
  // x
  for (int row = first; row < last; row += 1) {
    const int token_ids = batch.token_id(row);
    for (int number = group(); number < 16; number += 16) {
      x(row, number * 64 + lane()) = code(embed_weight, token_ids / 8, number, token_ids % 8, lane()) * to_float(embed_weight_scales(token_ids / 8, number * 2, token_ids % 8));
      x(row, number * 64 + 16 + lane()) = code(embed_weight, token_ids / 8, number, token_ids % 8, 16 + lane()) * to_float(embed_weight_scales(token_ids / 8, number * 2, token_ids % 8));
      const int sum = number * 2 + 1;
      x(row, number * 64 + 32 + lane()) = code(embed_weight, token_ids / 8, number, token_ids % 8, 32 + lane()) * to_float(embed_weight_scales(token_ids / 8, sum, token_ids % 8));
      x(row, number * 64 + 48 + lane()) = code(embed_weight, token_ids / 8, number, token_ids % 8, 48 + lane()) * to_float(embed_weight_scales(token_ids / 8, sum, token_ids % 8));
    }
  }
}
