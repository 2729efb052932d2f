// Draws a token of each row, as a kernel behind the head would.
#include "lathe/kernel.cuh"
#include "lathe/sample.cuh"

using namespace lathe::device;

namespace {
constexpr int kThreads = 256;
struct Memory {
  DrawScratch<kThreads / 32> scratch;
};

LATHE_DEVICE Chance word_pair(int low, int high) {
  return static_cast<Chance>(static_cast<unsigned>(high)) << 32 | static_cast<unsigned>(low);
}
} // namespace

extern "C" __global__ __launch_bounds__(kThreads, 1) void sample(Batch batch, Global<const float, 5003> logits,
                                                                 Global<const int, 10> draws, Global<int> tokens) {
  Memory &memory = shared_memory<Memory>();
  const int row = block_y();
  if (row >= batch.logit_rows())
    return;
  const int count = draws(row, 0);
  const Draw draw = {draws(row, 1), float_of(static_cast<unsigned>(draws(row, 2))),
                     word_pair(draws(row, 4), draws(row, 5)), word_pair(draws(row, 6), draws(row, 7)),
                     word_pair(draws(row, 8), draws(row, 9))};
  const int token = draw_token(logits, row, count, draw, memory.scratch);
  if (thread() == 0)
    tokens(row) = token;
}
