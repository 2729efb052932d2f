// The kernel that measures how fast memory is read.
#include "test/device/Launching.h"

using namespace lathe::device::testing;

TEST(ReadBandwidth, EveryWordIsReadOnceWhateverTheOrder) {
  constexpr size_t kBlocks = 3, kBlockWords = 16 * 256 * 4;
  Buffer<uint32_t> memory(kBlocks * kBlockWords);
  std::mt19937 random(1);
  for (size_t i = 0; i < memory.size(); ++i)
    memory[i] = static_cast<uint32_t>(random());
  for (unsigned long long seed = 0; seed < 4; ++seed) {
    Buffer<int> sums(kBlocks * 8);
    ASSERT_EQ(Launch("read_bandwidth", kBlocks, 1).buffer(memory).buffer(sums).seed(seed).run(), "");
    for (size_t block = 0; block < kBlocks; ++block)
      for (size_t warp = 0; warp < 8; ++warp) {
        uint32_t want = 0;
        for (size_t load = 0; load < 16; ++load)
          for (size_t word = 0; word < 128; ++word)
            want ^= memory[block * kBlockWords + load * 1024 + warp * 128 + word];
        EXPECT_EQ(static_cast<uint32_t>(sums[block * 8 + warp]), want) << "warp " << warp << " of block " << block;
      }
  }
}
