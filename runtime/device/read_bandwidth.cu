// Reads memory once, 64 KiB a block, and keeps what shows that all of it was read: how fast a GPU reads is the roof of
// a decode step, which reads every weight once. A thread has 16 loads of 16 bytes, of which none waits for another. The
// same for all models; runtime/CudaProbe.h runs it.
#include "lathe/kernel.cuh"

using namespace lathe::device;

namespace {
constexpr int kThreads = 256;
constexpr int kLoads = 16;
constexpr int kWarps = kThreads / 32;
} // namespace

/// A block reads memory(block, …) and writes the exclusive or of the words that each of its warps read.
extern "C" __global__
__launch_bounds__(kThreads) void read_bandwidth(Batch, Global<const unsigned, kLoads, kThreads, 4> memory,
                                                Global<int, kWarps> sums) {
  Bytes16 parts[kLoads];
#pragma unroll
  for (int i = 0; i < kLoads; ++i)
    parts[i] = load_streaming_16(memory.at(block_x(), i, thread(), 0));
  unsigned sum = 0;
#pragma unroll
  for (int i = 0; i < kLoads; ++i)
    sum ^= parts[i].word[0] ^ parts[i].word[1] ^ parts[i].word[2] ^ parts[i].word[3];
  int folded = static_cast<int>(sum);
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2)
    folded ^= shuffle_xor(folded, mask);
  if (warp_lane() == 0)
    sums(block_x(), warp()) = folded;
}
