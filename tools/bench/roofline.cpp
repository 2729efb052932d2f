// What this machine can do at most, measured by loops that share nothing with Lathe: bytes a second that pinned threads
// read from memory, and INT8 multiply-adds a second. Prints one JSON object.
//
//   g++ -std=c++20 -O2 -pthread roofline.cpp -o roofline
//   roofline [THREADS [MEBIBYTES [PASSES [PAGES]]]]    2 threads, 2048 MiB, 7 passes, pages: all, 4k or 2m
//   roofline busy CPU                                  keeps one CPU busy until it is ended
//
// Reading is tried with and without huge pages, software prefetch and several streams a thread, since no one of them
// is best on every CPU; the best pass of all counts.
#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <immintrin.h>
#include <pthread.h>
#include <sched.h>
#include <string>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

std::vector<int> allowedCpus() {
  cpu_set_t set;
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof set, &set) == 0)
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
      if (CPU_ISSET(cpu, &set))
        cpus.push_back(cpu);
  return cpus;
}

void pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

/// Seconds of the fastest of `passes` in which every thread runs `work(thread)` once, from the first start to the last
/// end.
double fastest(const std::vector<int> &cpus, int passes, const std::function<void(int)> &work) {
  int count = static_cast<int>(cpus.size());
  double best = 1e30;
  Clock::time_point begin;
  std::barrier start(count, [&]() noexcept { begin = Clock::now(); });
  std::barrier end(
      count, [&]() noexcept { best = std::min(best, std::chrono::duration<double>(Clock::now() - begin).count()); });
  std::vector<std::thread> team;
  for (int thread = 0; thread < count; ++thread)
    team.emplace_back([&, thread] {
      pin(cpus[thread]);
      for (int pass = 0; pass < passes; ++pass) {
        start.arrive_and_wait();
        work(thread);
        end.arrive_and_wait();
      }
    });
  for (std::thread &thread : team)
    thread.join();
  return best;
}

std::atomic<uint64_t> sink; // what loops compute ends here, so that none is left out

// ---- reading -------------------------------------------------------------------------------------------------------

/// GCC keeps a small array in registers only where every loop over it is unrolled.
#define UNROLLED _Pragma("GCC unroll 16") for

#define READER(NAME, TARGET, VECTOR, ZERO, LOAD, XOR, STORE)                                                           \
  template <int streams, uint64_t ahead>                                                                               \
  __attribute__((target(TARGET))) uint64_t NAME(const std::byte *data, uint64_t bytes) {                               \
    constexpr int kLoads = 8, kBytes = sizeof(VECTOR);                                                                 \
    VECTOR sums[kLoads];                                                                                               \
    UNROLLED(int i = 0; i < kLoads; ++i) sums[i] = ZERO();                                                             \
    uint64_t run = bytes / streams;                                                                                    \
    for (uint64_t at = 0; at < run; at += kLoads * kBytes)                                                             \
      UNROLLED(int stream = 0; stream < streams; ++stream) {                                                           \
        const std::byte *from = data + stream * run + at;                                                              \
        UNROLLED(int i = 0; i < kLoads; ++i) {                                                                         \
          if constexpr (ahead > 0)                                                                                     \
            if (i * kBytes % 64 == 0)                                                                                  \
              _mm_prefetch(reinterpret_cast<const char *>(from + i * kBytes + ahead), _MM_HINT_T0);                    \
          sums[i] = XOR(sums[i], LOAD(reinterpret_cast<const VECTOR *>(from + i * kBytes)));                           \
        }                                                                                                              \
      }                                                                                                                \
    UNROLLED(int i = 1; i < kLoads; ++i) sums[0] = XOR(sums[0], sums[i]);                                              \
    uint64_t words[sizeof(VECTOR) / 8];                                                                                \
    STORE(reinterpret_cast<VECTOR *>(words), sums[0]);                                                                 \
    return words[0];                                                                                                   \
  }

READER(readZmm, "avx512f", __m512i, _mm512_setzero_si512, _mm512_load_si512, _mm512_xor_si512, _mm512_storeu_si512)
READER(readYmm, "avx2", __m256i, _mm256_setzero_si256, _mm256_load_si256, _mm256_xor_si256, _mm256_storeu_si256)

/// Reads `bytes` once, as so many runs side by side, so many bytes prefetched.
struct Reader {
  int streams;
  int ahead;
  uint64_t (*zmm)(const std::byte *data, uint64_t bytes);
  uint64_t (*ymm)(const std::byte *data, uint64_t bytes);
};

#define BOTH(STREAMS, AHEAD) {STREAMS, AHEAD, readZmm<STREAMS, AHEAD>, readYmm<STREAMS, AHEAD>}
constexpr Reader kReaders[] = {BOTH(1, 0), BOTH(1, 512), BOTH(1, 4096), BOTH(1, 8192),
                               BOTH(2, 0), BOTH(2, 512), BOTH(4, 512)};

struct Read {
  double bytesPerSecond = 0;
  uint64_t bytes = 0;
  std::string how;
};

/// `pages`: "4k", "2m" or "all", which tries both.
Read probeReading(const std::vector<int> &cpus, uint64_t wanted, int passes, const std::string &pages) {
  bool wide = __builtin_cpu_supports("avx512f");
  uint64_t share = wanted / cpus.size() / 16384 * 16384, bytes = share * cpus.size();
  Read best{0, bytes, ""};
  for (bool huge : {false, true}) {
    if (pages == (huge ? "4k" : "2m"))
      continue;
    void *base =
        mmap(nullptr, bytes + (2 << 20), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
      return best;
    madvise(base, bytes + (2 << 20), huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    std::byte *data = static_cast<std::byte *>(base);
    fastest(cpus, 1, [&](int thread) { // pages never written would all be one page of zeros
      std::memset(data + thread * share, thread + 1, share);
    });
    for (const Reader &reader : kReaders) {
      auto read = wide ? reader.zmm : reader.ymm;
      double seconds = fastest(cpus, passes, [&](int thread) { sink += read(data + thread * share, share); });
      double rate = double(bytes) / seconds;
      std::fprintf(stderr, "read, %s pages, %d streams, %4d bytes ahead: %.1f GB/s\n", huge ? "2 MiB" : "4 KiB",
                   reader.streams, reader.ahead, rate * 1e-9);
      if (rate > best.bytesPerSecond)
        best = {rate, bytes,
                std::string(huge ? "2 MiB" : "4 KiB") + " pages, " + std::to_string(reader.streams) +
                    " streams a thread, " +
                    (reader.ahead ? "prefetch " + std::to_string(reader.ahead) + " bytes ahead" : "no prefetch")};
    }
    munmap(base, bytes + (2 << 20));
  }
  return best;
}

// ---- INT8 ----------------------------------------------------------------------------------------------------------

constexpr int64_t kRounds = 1'000'000;

/// `kRounds` times STEP for every register of LIST (as many as hide the latency), in assembly: compilers copy
/// accumulators about. a and b are the registers 14 and 15.
#define MULTIPLIER(NAME, TARGET, WIDTH, COUNT, LIST, STEP)                                                             \
  __attribute__((target(TARGET))) double NAME() {                                                                      \
    int64_t rounds = kRounds;                                                                                          \
    static const uint32_t operands[2] = {0x01020304, 0x7f0180ff};                                                      \
    __asm__ volatile("vpbroadcastd %1, %%" WIDTH "14\n\tvpbroadcastd %2, %%" WIDTH "15\n"                              \
                     "1:\n\t.irp n," LIST "\n\t" STEP "\n\t.endr\n\tdec %0\n\tjnz 1b\n\tvzeroupper"                    \
                     : "+r"(rounds)                                                                                    \
                     : "m"(operands[0]), "m"(operands[1])                                                              \
                     : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",  \
                       "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");                                                   \
    return COUNT * kRounds;                                                                                            \
  }

MULTIPLIER(multiplyZmm, "avx512f,avx512vnni", "zmm", 14.0 * 64, "0,1,2,3,4,5,6,7,8,9,10,11,12,13",
           "vpdpbusd %%zmm14, %%zmm15, %%zmm\\n")
MULTIPLIER(multiplyYmm, "avx2,avxvnni", "ymm", 14.0 * 32, "0,1,2,3,4,5,6,7,8,9,10,11,12,13",
           "%{vex%} vpdpbusd %%ymm14, %%ymm15, %%ymm\\n")
MULTIPLIER(
    multiplyAvx2, "avx2", "ymm", 12.0 * 32, "0,1,2,3,4,5,6,7,8,9,10,11",
    "vpmaddubsw %%ymm14, %%ymm15, %%ymm12\n\tvpmaddwd %%ymm14, %%ymm12, %%ymm12\n\tvpaddd %%ymm12, %%ymm\\n, %%ymm\\n")

/// What ldtilecfg reads: palette 1, every tile 16 rows of 64 bytes.
struct alignas(64) TileConfig {
  uint8_t palette = 1, startRow = 0, reserved[14] = {};
  uint16_t columnBytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

__attribute__((target("amx-tile,amx-int8"))) double multiplyAmx() {
  TileConfig config;
  alignas(64) int32_t out[16 * 16];
  _tile_loadconfig(&config);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  constexpr int64_t rounds = kRounds / 8;
  for (int64_t round = 0; round < rounds; ++round) {
    _tile_dpbusd(0, 6, 7);
    _tile_dpbusd(1, 6, 7);
    _tile_dpbusd(2, 6, 7);
    _tile_dpbusd(3, 6, 7);
    _tile_dpbusd(4, 6, 7);
    _tile_dpbusd(5, 6, 7);
  }
  _tile_stored(0, out, 64);
  sink += static_cast<uint64_t>(out[0]);
  _tile_release();
  return 6.0 * 16 * 16 * 64 * rounds;
}

/// Linux lets a process use the tile registers only after it asked (arch_prctl(2), ARCH_REQ_XCOMP_PERM, XTILEDATA).
bool mayUseTiles() { return syscall(SYS_arch_prctl, 0x1023, 18) == 0; }

bool flagged(const char *flag) {
  std::FILE *file = std::fopen("/proc/cpuinfo", "r");
  char line[16384];
  bool found = false;
  while (file && !found && std::fgets(line, sizeof line, file))
    found = std::strncmp(line, "flags", 5) == 0 && std::strstr(line, (" " + std::string(flag) + " ").c_str());
  if (file)
    std::fclose(file);
  return found;
}

struct Peak {
  std::string instruction;
  double perSecond = 0;
};

std::vector<Peak> probeInt8(const std::vector<int> &cpus, int passes) {
  std::vector<Peak> peaks;
  auto add = [&](const char *instruction, double (*multiply)()) {
    std::atomic<double> count = 0;
    double seconds = fastest(cpus, passes, [&](int) { count = multiply(); });
    peaks.push_back({instruction, count * double(cpus.size()) / seconds});
  };
  if (flagged("amx_int8") && mayUseTiles())
    add("amx tdpbusd", multiplyAmx);
  if (flagged("avx512_vnni"))
    add("avx512 vpdpbusd", multiplyZmm);
  if (flagged("avx_vnni"))
    add("avx vpdpbusd", multiplyYmm);
  if (flagged("avx2"))
    add("avx2 vpmaddubsw", multiplyAvx2);
  return peaks;
}

} // namespace

int main(int argc, char **argv) {
  auto argument = [&](int index, int preset) { return argc > index ? std::atoi(argv[index]) : preset; };
  if (argc == 3 && std::string(argv[1]) == "busy") {
    pin(argument(2, 0));
    for (uint64_t i = 0;; ++i)
      sink = i;
  }
  int threads = argument(1, 2), mebibytes = argument(2, 2048), passes = argument(3, 7);
  std::string pages = argc > 4 ? argv[4] : "all";
  std::vector<int> cpus = allowedCpus();
  if (threads < 1 || mebibytes < 1 || passes < 1 || cpus.empty() ||
      (pages != "all" && pages != "4k" && pages != "2m")) {
    std::fprintf(stderr, "usage: roofline [THREADS [MEBIBYTES [PASSES [all|4k|2m]]]] | roofline busy CPU\n");
    return 2;
  }
  cpus.resize(std::min<size_t>(cpus.size(), threads));
  Read read = probeReading(cpus, uint64_t(mebibytes) << 20, passes, pages);
  // Passes of milliseconds: among many, one is not interrupted.
  std::vector<Peak> peaks = probeInt8(cpus, 4 * passes);
  std::printf("{\"threads\": %zu, \"read_bytes\": %llu, \"read_gbs\": %.2f, \"read_how\": "
              "\"%s\", \"int8\": {",
              cpus.size(), static_cast<unsigned long long>(read.bytes), read.bytesPerSecond * 1e-9, read.how.c_str());
  for (size_t i = 0; i < peaks.size(); ++i)
    std::printf("%s\"%s\": %.1f", i ? ", " : "", peaks[i].instruction.c_str(), peaks[i].perSecond * 1e-9);
  std::printf("}}\n");
}
