// Draws a token of each row of logits, rows of different lengths.
#include "lathe/kernel.cuh"
#include "lathe/sample.cuh"

using namespace lathe::device;

namespace {
constexpr int kThreads = 512;
struct Memory {
  DrawScratch<kThreads / 32> scratch;
};
} // namespace

extern "C" __global__ __launch_bounds__(kThreads, 1) void sample(Batch batch, Global<const float, 5004> logits,
                                                                 Global<const int> counts, Global<int> tokens) {
  Memory &memory = shared_memory<Memory>();
  dependency_wait();
  const int row = block_y();
  if (row >= batch.logit_rows())
    return;
  const int token = draw_token(batch, logits, row, counts(row), memory.scratch);
  if (thread() == 0)
    tokens(row) = token;
}
