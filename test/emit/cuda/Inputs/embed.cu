// embed
//   embed x, Qwen3-0.6B.toml:4
// a block: 1 rows by one of 1 column tiles, 0 bytes of shared memory
// schedule: default, cuda.toml:39
#include "lathe/kernel.cuh"
using namespace lathe::device;

namespace {
constexpr int kThreads = 256;
} // namespace

extern "C" __global__ __launch_bounds__(kThreads, 1) void embed(Batch batch, Global<const bf16, 32, 8, 32> embed_weight, Global<float, 1024> x) {
  dependency_wait();
  dependency_trigger();
  const int first = block_y() * 1;
  const int last = min(first + 1, batch.rows());
  if (first >= last) return;
  // x
  for (int row = first; row < last; row += 1) {
    const int token_ids = batch.token_id(row);
    for (int number = group(); number < 32; number += 16) {
      x(row, number * 32 + lane()) = to_float(embed_weight(token_ids / 8, number, token_ids % 8, lane()));
      x(row, number * 32 + 16 + lane()) = to_float(embed_weight(token_ids / 8, number, token_ids % 8, 16 + lane()));
    }
  }
}
