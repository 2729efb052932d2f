// A stand-in for libdnnl.so.3 with its few gemm functions, which does what $FAKE_ONEDNN says:
//
//   (empty)      the right numbers, in the order in which our kernels add
//   backwards    floats added from the last to the first
//   saturate     bytes multiplied as unsigned by signed and added in pairs of 16 bits, as without VNNI
//   openmp, tbb  says that it was built for those threads (and has no TBB)
//   old          says that it is oneDNN 2.7
//   fail N       the first N products are right, all later ones report status 1
//
// $FAKE_ONEDNN_CALLS names a file that gets the number of products when the process ends.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

struct Version {
  int major, minor, patch;
  const char *hash;
  unsigned cpuRuntime, gpuRuntime;
};

struct Calls {
  std::atomic<long> count{0};
  ~Calls() {
    const char *path = std::getenv("FAKE_ONEDNN_CALLS");
    if (FILE *file = path ? std::fopen(path, "w") : nullptr) {
      std::fprintf(file, "%ld\n", count.load());
      std::fclose(file);
    }
  }
} calls;

bool says(const char *word) {
  const char *text = std::getenv("FAKE_ONEDNN");
  return text && std::strncmp(text, word, std::strlen(word)) == 0;
}

int count() {
  long number = ++calls.count;
  return says("fail ") && number > std::atol(std::getenv("FAKE_ONEDNN") + 5);
}

} // namespace

extern "C" {

const Version *dnnl_version() {
  static Version version;
  version = {says("old") ? 2 : 3, 7, 1, "fake", says("openmp") ? 2u : says("tbb") ? 4u : 1u, 0};
  return &version;
}

int dnnl_sgemm(char, char, int64_t m, int64_t n, int64_t k, float, const float *a, int64_t lda, const float *b,
               int64_t ldb, float beta, float *c, int64_t ldc) {
  if (int bad = count())
    return bad;
  bool backwards = says("backwards");
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      float sum = 0;
      for (int64_t q = 0; q < k; ++q) {
        int64_t at = backwards ? k - 1 - q : q;
        sum = __builtin_fmaf(a[i * lda + at], b[at * ldb + j], sum);
      }
      c[i * ldc + j] = beta == 0.0f ? sum : c[i * ldc + j] + sum;
    }
  return 0;
}

/// Only B transposed, and no offsets.
int dnnl_gemm_s8s8s32(char, char, char, int64_t m, int64_t n, int64_t k, float, const int8_t *a, int64_t lda, int8_t,
                      const int8_t *b, int64_t ldb, int8_t, float, int32_t *c, int64_t ldc, const int32_t *) {
  if (int bad = count())
    return bad;
  bool saturate = says("saturate");
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      int32_t sum = 0;
      for (int64_t q = 0; q < k; q += 2) {
        int32_t pair = 0, shift = 0;
        for (int64_t at = q; at < std::min(q + 2, k); ++at)
          pair += (a[i * lda + at] + 128) * b[j * ldb + at], shift += 128 * b[j * ldb + at];
        sum += (saturate ? std::clamp(pair, -32768, 32767) : pair) - shift;
      }
      c[i * ldc + j] = sum;
    }
  return 0;
}
}
