#include "runtime/MemoryProbe.h"

#include "runtime/Arena.h"
#include "runtime/CpuFeatures.h"

#include <algorithm>
#include <chrono>
#include <emmintrin.h>
#include <vector>

namespace lathe {
namespace {

constexpr uint64_t kProbeBytes = 1 << 30, kStep = 256;
constexpr int kPasses = 6;

/// Reads every line; the sum keeps the loads from being left out.
uint64_t readAll(const std::byte *begin, const std::byte *end) {
  __m128i sums[4] = {};
  for (; begin + kStep <= end; begin += kStep)
    for (uint64_t i = 0; i < kStep; i += 64)
      for (int lane = 0; lane < 4; ++lane)
        sums[lane] =
            _mm_xor_si128(sums[lane], _mm_load_si128(reinterpret_cast<const __m128i *>(begin + i + 16 * lane)));
  __m128i sum = _mm_xor_si128(_mm_xor_si128(sums[0], sums[1]), _mm_xor_si128(sums[2], sums[3]));
  return static_cast<uint64_t>(_mm_cvtsi128_si64(sum));
}

struct alignas(128) Result64 {
  uint64_t value = 0;
};

} // namespace

double probeReadBandwidth(CpuPool &pool) {
  uint64_t bytes = std::min(kProbeBytes, availableMemory() / 4);
  int64_t workers = pool.workers();
  uint64_t share = bytes / static_cast<uint64_t>(workers) / 4096 * 4096;
  if (share == 0)
    return 0;
  auto arena = Arena::create(share * static_cast<uint64_t>(workers), "the bandwidth probe", true);
  if (!arena)
    return 0;
  std::byte *base = arena->data();
  // Each worker touches its own part: untouched memory would all be one page of zeros.
  pool.run([&](int64_t worker) {
    for (uint64_t at = 0; at < share; at += 4096)
      base[static_cast<uint64_t>(worker) * share + at] = std::byte(worker + 1);
  });
  std::vector<Result64> sums(workers);
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    auto begin = std::chrono::steady_clock::now();
    pool.run([&](int64_t worker) {
      const std::byte *mine = base + static_cast<uint64_t>(worker) * share;
      sums[worker].value += readAll(mine, mine + share);
    });
    double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    best = std::max(best, double(share) * double(workers) / seconds);
  }
  volatile uint64_t seen = 0;
  for (const Result64 &sum : sums)
    seen = seen + sum.value;
  return best;
}

} // namespace lathe
