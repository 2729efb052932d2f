// A shared object that looks like libcuda.so.1 to whoever opens it: every function is there, and CUDA is 12.4 unless
// FAKE_CUDA says "old" or names a function that is missing.
#include <cstdint>
#include <cstdlib>
#include <cstring>

static int nothing() { return 0; }
static int version(int *version) {
  const char *how = std::getenv("FAKE_CUDA");
  *version = how && std::strcmp(how, "old") == 0 ? 12020 : 12040;
  return 0;
}

extern "C" int cuGetProcAddress_v2(const char *symbol, void **function, int wanted, uint64_t flags, int *status) {
  const char *missing = std::getenv("FAKE_CUDA");
  if ((missing && std::strcmp(symbol, missing) == 0) || wanted < 2000 || flags != 1) {
    *function = nullptr;
    *status = 1;
    return 500;
  }
  *status = 0;
  bool asked = std::strcmp(symbol, "cuDriverGetVersion") == 0;
  *function = asked ? reinterpret_cast<void *>(version) : reinterpret_cast<void *>(nothing);
  return 0;
}
