#include "runtime/PeakProbe.h"

#include "runtime/CpuFeatures.h"
#include "runtime/ProbePasses.h"
#include "runtime/TierName.h"

#include <algorithm>
#include <atomic>
#include <immintrin.h>

namespace lathe {
namespace {

constexpr int64_t kRounds = 1'000'000, kTileRounds = 100'000;
constexpr int kPasses = 20;

// The loops are assembly: g++ 12 copies accumulators from register to register, which costs half of the peak.
#define LATHE_LOOP(LIST, STEP) "1:\n\t.irp n, " LIST "\n\t" STEP "\n\t.endr\n\tdec %0\n\tjnz 1b\n\tvzeroupper"
#define LATHE_XMM                                                                                                      \
  "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",     \
      "xmm13", "xmm14", "xmm15"

// Operands are whatever the registers hold: integer instructions take equally long for all.
// Twelve to fourteen sums hide the latency of four or five cycles at up to two instructions a cycle.

/// Each returns the multiply-adds it did.
double multiplyAvx512Vnni() {
  int64_t rounds = kRounds;
  __asm__ volatile(LATHE_LOOP("0,1,2,3,4,5,6,7,8,9,10,11,12,13", "vpdpbusd %%zmm14, %%zmm15, %%zmm\\n")
                   : "+r"(rounds)
                   :
                   : LATHE_XMM);
  return 14.0 * 64 * kRounds;
}

double multiplyAvxVnni() {
  int64_t rounds = kRounds;
  __asm__ volatile(LATHE_LOOP("0,1,2,3,4,5,6,7,8,9,10,11,12,13", "%{vex%} vpdpbusd %%ymm14, %%ymm15, %%ymm\\n")
                   : "+r"(rounds)
                   :
                   : LATHE_XMM);
  return 14.0 * 32 * kRounds;
}

double multiplyAvx2() {
  int64_t rounds = kRounds;
  __asm__ volatile(LATHE_LOOP("0,1,2,3,4,5,6,7,8,9,10,11",
                              "vpmaddubsw %%ymm14, %%ymm15, %%ymm12\n\tvpmaddwd %%ymm13, %%ymm12, %%ymm12\n\t"
                              "vpaddd %%ymm12, %%ymm\\n, %%ymm\\n")
                   : "+r"(rounds)
                   :
                   : LATHE_XMM);
  return 12.0 * 32 * kRounds;
}

/// What ldtilecfg reads: palette 1, eight tiles of 16 rows of 64 bytes.
struct alignas(64) TileConfig {
  uint8_t palette = 1, startRow = 0, reserved[14] = {};
  uint16_t rowBytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

__attribute__((target("amx-tile,amx-int8"))) double multiplyAmx() {
  TileConfig config;
  _tile_loadconfig(&config);
  int64_t rounds = kTileRounds;
  __asm__ volatile(".irp n, 0,1,2,3,4,5,6,7\n\ttilezero %%tmm\\n\n\t.endr\n"
                   "1:\n\t.irp n, 0,1,2,3,4,5\n\ttdpbusd %%tmm7, %%tmm6, %%tmm\\n\n\t.endr\n\tdec %0\n\tjnz 1b"
                   : "+r"(rounds)
                   :
                   : "cc");
  _tile_release();
  return 6.0 * 16 * 16 * 64 * kTileRounds;
}

using Multiply = double (*)();

Multiply chooseMultiply(std::string_view tier) {
  tier = baseOfTier(tier);
  std::vector<std::string> tiers = machineTiers();
  if (std::ranges::find(tiers, tier) == tiers.end())
    return nullptr;
  return tier == "amx"          ? multiplyAmx
         : tier == "avx512vnni" ? multiplyAvx512Vnni
         : tier == "avxvnni"    ? multiplyAvxVnni
         : tier == "x86-64-v3"  ? multiplyAvx2
                                : nullptr;
}

} // namespace

double probeInt8Peak(CpuPool &pool, std::string_view tier) {
  Multiply multiply = chooseMultiply(tier);
  if (!multiply)
    return 0;
  std::atomic<double> count = 0;
  double seconds = fastestPass(pool, kPasses, [&](int64_t, int) { count = multiply(); });
  return 2 * count * double(pool.workers()) / seconds;
}

} // namespace lathe
