#include "runtime/MemoryProbe.h"

#include "runtime/Arena.h"
#include "runtime/CpuFeatures.h"
#include "runtime/ProbePasses.h"

#include <algorithm>
#include <immintrin.h>
#include <vector>

namespace lathe {
namespace {

constexpr uint64_t kProbeBytes = uint64_t(2) << 30, kHugePage = 2 << 20, kStep = 512;
constexpr int kPassesEach = 3;

/// Reads every line of `begin` to `end`; what it returns keeps the loads from being left out.
using Reader = uint64_t (*)(const std::byte *begin, const std::byte *end);

// Prefetches stand in the loops themselves: g++ leaves out calls of a function that does nothing else.
template <uint64_t ahead> uint64_t readBaseline(const std::byte *begin, const std::byte *end) {
  __m128i sum = _mm_setzero_si128();
  for (; begin + kStep <= end; begin += kStep)
    for (uint64_t i = 0; i < kStep; i += 16) {
      if (ahead && i % 64 == 0)
        _mm_prefetch(reinterpret_cast<const char *>(begin + i + ahead), _MM_HINT_T0);
      sum = _mm_xor_si128(sum, _mm_load_si128(reinterpret_cast<const __m128i *>(begin + i)));
    }
  return static_cast<uint64_t>(_mm_cvtsi128_si64(sum));
}

template <uint64_t ahead>
__attribute__((target("avx2"))) uint64_t readAvx2(const std::byte *begin, const std::byte *end) {
  __m256i sum = _mm256_setzero_si256();
  for (; begin + kStep <= end; begin += kStep)
    for (uint64_t i = 0; i < kStep; i += 32) {
      if (ahead && i % 64 == 0)
        _mm_prefetch(reinterpret_cast<const char *>(begin + i + ahead), _MM_HINT_T0);
      sum = _mm256_xor_si256(sum, _mm256_load_si256(reinterpret_cast<const __m256i *>(begin + i)));
    }
  return static_cast<uint64_t>(_mm256_extract_epi64(sum, 0));
}

template <uint64_t ahead>
__attribute__((target("avx512f"))) uint64_t readAvx512(const std::byte *begin, const std::byte *end) {
  __m512i sum = _mm512_setzero_si512();
  for (; begin + kStep <= end; begin += kStep)
    for (uint64_t i = 0; i < kStep; i += 64) {
      if (ahead)
        _mm_prefetch(reinterpret_cast<const char *>(begin + i + ahead), _MM_HINT_T0);
      sum = _mm512_xor_si512(sum, _mm512_load_si512(begin + i));
    }
  return static_cast<uint64_t>(_mm_cvtsi128_si64(_mm512_castsi512_si128(sum)));
}

/// With the widest loads among those that a tier of this machine has. Whether prefetching helps, and how far ahead,
/// differs between CPUs.
std::vector<Reader> chooseReaders() {
  std::vector<std::string> tiers = machineTiers();
  if (tiers.empty())
    return {readBaseline<0>, readBaseline<4096>, readBaseline<8192>};
  if (std::ranges::find(tiers, "avx512vnni") == tiers.end())
    return {readAvx2<0>, readAvx2<4096>, readAvx2<8192>};
  return {readAvx512<0>, readAvx512<4096>, readAvx512<8192>};
}

struct alignas(128) Result64 {
  uint64_t value = 0;
};

} // namespace

double probeReadBandwidth(CpuPool &pool) {
  uint64_t bytes = std::min(kProbeBytes, availableMemory() / 4);
  int64_t workers = pool.workers();
  uint64_t share = bytes / static_cast<uint64_t>(workers) / kHugePage * kHugePage;
  if (share == 0)
    return 0;
  auto arena = Arena::create(share * static_cast<uint64_t>(workers) + kHugePage, "the bandwidth probe", true);
  if (!arena)
    return 0;
  std::byte *base = arena->data() + (kHugePage - reinterpret_cast<uintptr_t>(arena->data()) % kHugePage) % kHugePage;
  auto mine = [&](int64_t worker) { return base + static_cast<uint64_t>(worker) * share; };
  // Each worker touches its own part: untouched memory would all be one page of zeros.
  fastestPass(pool, 1, [&](int64_t worker, int) {
    for (uint64_t at = 0; at < share; at += 4096)
      mine(worker)[at] = std::byte(worker + 1);
  });
  std::vector<Result64> sums(workers);
  std::vector<Reader> readers = chooseReaders();
  int passes = kPassesEach * static_cast<int>(readers.size());
  double seconds = fastestPass(pool, passes, [&](int64_t worker, int pass) {
    sums[worker].value += readers[pass % readers.size()](mine(worker), mine(worker) + share);
  });
  volatile uint64_t seen = 0;
  for (const Result64 &sum : sums)
    seen = seen + sum.value;
  return double(share) * double(workers) / seconds;
}

} // namespace lathe
