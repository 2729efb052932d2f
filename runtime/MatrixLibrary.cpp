#include "runtime/MatrixLibrary.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <filesystem>
#include <mutex>
#include <set>
#include <tuple>
#include <vector>

namespace lathe {
namespace {

constexpr int64_t kColumns = 32;
/// Every number of rows up to this is tried, then every sixteenth.
constexpr int64_t kEveryRows = 64, kRowsStep = 16;
constexpr int kMostNeeded = 16, kMostDepth = 4; ///< libraries that one may need, and those that they need

/// dnnl_version_t; more may follow.
struct Version {
  int major, minor, patch;
  const char *hash;
  unsigned cpuRuntime, gpuRuntime;
};
/// DNNL_RUNTIME_SEQ, TBB and DPCPP (whose CPU side runs on TBB too).
constexpr unsigned kSequential = 1, kTbb = 4, kDpcpp = 512;

/// tbb::global_control of oneTBB's binary interface, as its header lays it out.
struct TbbControl {
  size_t value;
  intptr_t reserved;
  int parameter; ///< 0: max_allowed_parallelism
};
constexpr const char *kTbbCreate = "_ZN3tbb6detail2r16createERNS0_2d114global_controlE";

/// Opens a library. Where one that it needs is not found but lies beside it, that is opened first: wheels of PyPI have
/// them all in one folder, and the loader then knows it by its name. Null: `why` says what is missing.
void *openWithNeighbours(const std::filesystem::path &path, std::string &why, int depth = 0) {
  for (int attempt = 0; attempt < kMostNeeded; ++attempt) {
    if (void *handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL))
      return handle;
    const char *text = dlerror();
    why = text ? text : "unknown reason";
    std::string missing = why.substr(0, why.find(':'));
    std::string ignored; // the first reason is the one that helps
    if (depth == kMostDepth || !path.has_parent_path() || missing.empty() || missing.find('/') != std::string::npos ||
        !openWithNeighbours(path.parent_path() / missing, ignored, depth + 1))
      return nullptr;
  }
  return nullptr;
}

/// Keeps the library's products on the threads that ask for them.
Result<void> holdThreads(void *handle, unsigned runtime, const std::string &title) {
  if (runtime == kSequential)
    return {};
  using Create = void (*)(TbbControl &);
  auto create = reinterpret_cast<Create>(runtime == kTbb || runtime == kDpcpp ? dlsym(handle, kTbbCreate) : nullptr);
  if (!create)
    return fail(
        ExitCode::mismatch,
        "{} brings threads of its own that cannot be held back (CPU runtime {}): use one built for TBB, DPC++ or "
        "without threads, such as PyPI's onednn==2026.1.0",
        title, runtime);
  static TbbControl control{1, 0, 0}; // for the rest of the process; nothing else here uses TBB
  static std::once_flag once;
  std::call_once(once, [&] { create(control); });
  return {};
}

/// Small numbers in an order that looks like none.
class Numbers {
public:
  uint32_t next() { return static_cast<uint32_t>((state = state * 6364136223846793005u + 1442695040888963407u) >> 33); }
  float real() { return (static_cast<float>(next() % 65536) - 32768.0f) / 16384.0f; }

private:
  uint64_t state = 1;
};

/// What kern.dot says a product of floats is, in its order.
__attribute__((target("fma"))) void referenceRow(int64_t k, const float *input, const float *weight, float *into) {
  std::fill_n(into, kColumns, 0.0f);
  for (int64_t begin = 0; begin < k; begin += kSumSpan) {
    float sums[kColumns] = {};
    for (int64_t q = begin; q < std::min(k, begin + kSumSpan); ++q)
      for (int64_t j = 0; j < kColumns; ++j)
        sums[j] = __builtin_fmaf(input[q], weight[q * kColumns + j], sums[j]);
    for (int64_t j = 0; j < kColumns; ++j)
      into[j] = into[j] + sums[j];
  }
}

/// Calls `tryRows` with the numbers of rows that are tried.
template <typename Try> bool forRowCounts(int64_t least, int64_t most, Try tryRows) {
  for (int64_t rows = least; rows <= most;
       rows += rows < kEveryRows ? 1 : std::min(kRowsStep, std::max<int64_t>(1, most - rows)))
    if (!tryRows(rows))
      return false;
  return true;
}

} // namespace

Result<std::unique_ptr<MatrixLibrary>> MatrixLibrary::open(const std::string &path) {
  std::string why;
  void *handle = openWithNeighbours(path, why);
  if (!handle)
    return fail(ExitCode::mismatch, "{} cannot be loaded: {}", path, why);
  auto version = reinterpret_cast<const Version *(*)()>(dlsym(handle, "dnnl_version"));
  std::unique_ptr<MatrixLibrary> library(new MatrixLibrary);
  library->sgemm = reinterpret_cast<Sgemm>(dlsym(handle, "dnnl_sgemm"));
  library->gemmS8 = reinterpret_cast<GemmS8>(dlsym(handle, "dnnl_gemm_s8s8s32"));
  if (!version || !library->sgemm || !library->gemmS8)
    return fail(ExitCode::mismatch,
                "{} is not oneDNN 3 with its gemm functions: dnnl_version, dnnl_sgemm or "
                "dnnl_gemm_s8s8s32 is missing",
                path);
  const Version &is = *version();
  library->title = fmt::format("oneDNN {}.{}.{}", is.major, is.minor, is.patch);
  if (is.major != 3)
    return fail(ExitCode::mismatch, "{}: expected oneDNN 3, found {}", path, library->title);
  if (auto held = holdThreads(handle, is.cpuRuntime, library->title); !held)
    return propagate(held);

  library->floats = [](const LatheLibrary *self, int64_t rows, int64_t k, const float *input, int64_t inputStride,
                       const float *weight, float *into, int64_t intoStride) {
    auto *own = static_cast<const MatrixLibrary *>(self);
    for (int64_t row = 0; row < rows; ++row)
      std::fill_n(into + row * intoStride, kColumns, 0.0f);
    for (int64_t begin = 0; begin < k; begin += kSumSpan)
      if (int bad = own->sgemm('N', 'N', rows, kColumns, std::min(kSumSpan, k - begin), 1.0f, input + begin,
                               inputStride, weight + begin * kColumns, kColumns, 1.0f, into, intoStride))
        own->status.store(bad);
  };
  library->bytes = [](const LatheLibrary *self, int64_t rows, int64_t k, const int8_t *input, int64_t inputStride,
                      const int8_t *weight, int64_t weightStride, int32_t *into) {
    auto *own = static_cast<const MatrixLibrary *>(self);
    const int32_t nothing = 0;
    if (int bad = own->gemmS8('N', 'T', 'F', rows, kColumns, k, 1.0f, input, inputStride, 0, weight, weightStride, 0,
                              0.0f, into, kColumns, &nothing))
      own->status.store(bad);
  };
  return library;
}

Result<void> MatrixLibrary::checkFloats(const LibraryUse &use, int64_t mostRows) const {
  Numbers numbers;
  std::vector<float> input(static_cast<size_t>(mostRows * use.k)), weight(static_cast<size_t>(use.k * kColumns)),
      want(static_cast<size_t>(mostRows * kColumns)), got(want.size());
  for (std::vector<float> *all : {&input, &weight})
    for (float &value : *all)
      value = numbers.real();
  for (int64_t row = 0; row < mostRows; ++row)
    referenceRow(use.k, input.data() + row * use.k, weight.data(), want.data() + row * kColumns);
  int64_t rows = 0;
  bool equal = forRowCounts(use.rows, mostRows, [&](int64_t count) {
    rows = count;
    std::fill(got.begin(), got.end(), -1.0f);
    floats(this, count, use.k, input.data(), use.k, weight.data(), got.data(), kColumns);
    return std::memcmp(got.data(), want.data(), static_cast<size_t>(count * kColumns) * sizeof(float)) == 0;
  });
  if (equal)
    return {};
  return fail(
      ExitCode::mismatch,
      "{} adds up products of {} rows of {} floats in another order on this machine, so results would depend on "
      "the batch; compile the model with a table of schedules without library",
      title, rows, use.k);
}

Result<void> MatrixLibrary::checkBytes(const LibraryUse &use, int64_t k, int64_t mostRows) const {
  Numbers numbers;
  std::vector<int8_t> input(static_cast<size_t>(mostRows * k)), weight(static_cast<size_t>(kColumns * k));
  std::vector<int32_t> want(static_cast<size_t>(mostRows * kColumns)), got(want.size());
  // Every fourth row and column holds nothing but the largest numbers: where two products are added in 16 bits they do
  // not fit.
  for (int64_t row = 0; row < mostRows; ++row)
    for (int64_t q = 0; q < k; ++q)
      input[row * k + q] = static_cast<int8_t>(row % 4 == 1   ? 127
                                               : row % 4 == 2 ? -127
                                                              : static_cast<int>(numbers.next() % 255) - 127);
  for (int64_t column = 0; column < kColumns; ++column)
    for (int64_t q = 0; q < k; ++q)
      weight[column * k + q] = static_cast<int8_t>(column % 4 == 1   ? 127
                                                   : column % 4 == 2 ? -128
                                                                     : static_cast<int>(numbers.next() % 256) - 128);
  for (int64_t row = 0; row < mostRows; ++row)
    for (int64_t column = 0; column < kColumns; ++column)
      for (int64_t q = 0; q < k; ++q)
        want[row * kColumns + column] += input[row * k + q] * weight[column * k + q];
  int64_t rows = 0;
  bool equal = forRowCounts(use.rows, mostRows, [&](int64_t count) {
    rows = count;
    std::fill(got.begin(), got.end(), -1);
    bytes(this, count, k, input.data(), k, weight.data(), k, got.data());
    return std::equal(got.begin(), got.begin() + count * kColumns, want.begin());
  });
  if (equal)
    return {};
  return fail(ExitCode::mismatch,
              "{} does not add up products of {} rows of {} bytes exactly on this machine (its sums saturate without "
              "VNNI); compile the model with a table of schedules without library",
              title, rows, k);
}

Result<void> MatrixLibrary::check(const LibraryUse &use, int64_t mostRows) const {
  if (use.unit == 0)
    return checkFloats(use, mostRows);
  for (int64_t k : {std::min(use.unit, use.k), use.k % use.unit})
    if (k != 0)
      if (auto exact = checkBytes(use, k, mostRows); !exact)
        return exact;
  return {};
}

Result<const MatrixLibrary *> MatrixLibrary::load() {
  static std::mutex mutex;
  static std::unique_ptr<MatrixLibrary> loaded;
  std::lock_guard lock(mutex);
  if (loaded)
    return loaded.get();
  std::vector<std::string> places{"libdnnl.so.3"};
  if (const char *path = std::getenv("LATHE_ONEDNN"); path && *path)
    places = {path};
  else if (const char *folder = std::getenv("VIRTUAL_ENV"); folder && *folder)
    places.push_back(std::string(folder) + "/lib/libdnnl.so.3");
  std::string why;
  for (const std::string &place : places) {
    auto opened = open(place);
    if (opened) {
      loaded = std::move(*opened);
      return loaded.get();
    }
    why += (why.empty() ? "" : ", and ") + opened.error().message;
  }
  return fail(ExitCode::mismatch,
              "a schedule leaves products to oneDNN, and {}; pip install onednn==2026.1.0 and set LATHE_ONEDNN to its "
              "libdnnl.so.3, or compile the model with a table of schedules without library",
              why);
}

Result<const MatrixLibrary *> MatrixLibrary::loadFor(const LibraryUse &use, int64_t mostRows) {
  static std::mutex mutex;
  static std::set<std::tuple<int64_t, int64_t, int64_t, int64_t>> right; ///< what has been tried
  auto library = load();
  if (!library)
    return library;
  std::lock_guard lock(mutex);
  std::tuple tried{use.rows, use.k, use.unit, mostRows};
  if (!right.contains(tried))
    if (auto same = (*library)->check(use, mostRows); !same)
      return propagate(same);
  right.insert(tried);
  return library;
}

} // namespace lathe
