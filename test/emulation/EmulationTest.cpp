// The instructions that Emulation.cpp stands for, against the CPU's own of another encoding and against plain loops. On
// a CPU that has them it is the CPU that is compared.
#include "runtime/CpuFeatures.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <random>
#include <thread>

using namespace lathe;

namespace {

bool runs(const char *tier) {
  auto tiers = machineTiers();
  return std::ranges::find(tiers, tier) != tiers.end();
}

template <size_t size> std::array<uint8_t, size> randomBytes(std::mt19937 &generator) {
  std::array<uint8_t, size> bytes;
  for (uint8_t &byte : bytes)
    byte = static_cast<uint8_t>(generator());
  return bytes;
}

// The operands of the VEX and the EVEX encoding: a register and memory, low and high numbers, sums that are also read.
#define LATHE_DOT(ENCODING)                                                                                            \
  __asm__ volatile("vmovdqu (%0), %%ymm3\n\tvmovdqu 32(%0), %%ymm12\n\tvmovdqu 64(%0), %%ymm9\n\t" ENCODING            \
                   " vpdpbusd %%ymm9, %%ymm12, %%ymm3\n\t" ENCODING " vpdpbusd 96(%0,%1,4), %%ymm3, %%ymm12\n\t"       \
                   "vmovdqu %%ymm3, (%2)\n\tvmovdqu %%ymm12, 32(%2)\n\tvmovdqu %%ymm9, 64(%2)\n\tvzeroupper"           \
                   :                                                                                                   \
                   : "r"(in), "r"(index), "r"(out)                                                                     \
                   : "memory", "xmm3", "xmm9", "xmm12")

void vexDot(const uint8_t *in, int64_t index, uint8_t *out) { LATHE_DOT("%{vex%}"); }
void evexDot(const uint8_t *in, int64_t index, uint8_t *out) { LATHE_DOT("%{evex%}"); }

} // namespace

TEST(Emulation, VexDotIsTheEvexOne) {
  if (!runs("avxvnni") || !runs("avx512vnni"))
    GTEST_SKIP() << "needs AVX-512 VNNI to compare with";
  auto compare = [](unsigned seed) {
    std::mt19937 generator(seed);
    for (int i = 0; i < 1000; ++i) {
      auto in = randomBytes<160>(generator);
      std::array<uint8_t, 96> vex{}, evex{};
      int64_t index = i % 8;
      vexDot(in.data(), index, vex.data());
      evexDot(in.data(), index, evex.data());
      ASSERT_EQ(vex, evex);
    }
  };
  std::thread other(compare, 1); // both meet instructions that are being replaced
  compare(2);
  other.join();
}

TEST(Emulation, TilesMultiplyBytes) {
  if (!runs("amx"))
    GTEST_SKIP() << "needs AVX-512 VNNI or AMX";
  constexpr int rows = 5, quads = 7, columns = 11, inputStride = 40, weightStride = 48, sumStride = 52;
  alignas(64) std::array<uint8_t, 64> shapes{1};
  auto shape = [&](int tile, int tileRows, int bytes) {
    shapes[16 + 2 * tile] = static_cast<uint8_t>(bytes), shapes[48 + tile] = static_cast<uint8_t>(tileRows);
  };
  shape(0, rows, 4 * columns), shape(3, rows, 4 * quads), shape(7, quads, 4 * columns);
  std::mt19937 generator(3);
  auto input = randomBytes<rows * inputStride>(generator);
  auto weight = randomBytes<quads * weightStride>(generator);
  std::array<int32_t, rows * sumStride / 4> sums{};
  __asm__ volatile("ldtilecfg (%0)\n\ttilezero %%tmm0\n\ttileloadd (%1,%2), %%tmm3\n\ttileloadd (%3,%4), %%tmm7\n\t"
                   "tdpbssd %%tmm7, %%tmm3, %%tmm0\n\ttilestored %%tmm0, (%5,%6)\n\ttileloadd (%5,%6), %%tmm0\n\t"
                   "tdpbssd %%tmm7, %%tmm3, %%tmm0\n\ttilestored %%tmm0, (%5,%6)\n\ttilerelease"
                   :
                   : "r"(shapes.data()), "r"(input.data()), "r"(int64_t{inputStride}), "r"(weight.data()),
                     "r"(int64_t{weightStride}), "r"(sums.data()), "r"(int64_t{sumStride})
                   : "memory");
  for (int m = 0; m < rows; ++m)
    for (int n = 0; n < columns; ++n) {
      int32_t want = 0;
      for (int k = 0; k < 4 * quads; ++k)
        want += static_cast<int8_t>(input[m * inputStride + k]) *
                static_cast<int8_t>(weight[k / 4 * weightStride + 4 * n + k % 4]);
      EXPECT_EQ(sums[m * sumStride / 4 + n], 2 * want) << m << ", " << n;
    }
  for (int m = 0; m < rows; ++m)
    for (int n = columns; n < sumStride / 4; ++n)
      EXPECT_EQ(sums[m * sumStride / 4 + n], 0) << "stored behind the tile's row";
}
