#include "runtime/CudaDriver.h"

#include <cstdlib>
#include <dlfcn.h>
#include <mutex>

namespace lathe {
namespace {

/// cuGraphAddDependencies with edge data.
constexpr int kLeastVersion = 12030;

struct Symbol {
  const char *name;
  int version;
};
constexpr Symbol kSymbols[] = {
#define LATHE_CUDA_SYMBOL(name, symbol, version, ...) {#symbol, version},
    LATHE_CUDA_CALLS(LATHE_CUDA_SYMBOL)
#undef LATHE_CUDA_SYMBOL
};
using Pointer = void (*)();
static_assert(sizeof(cuda::Calls) == std::size(kSymbols) * sizeof(Pointer), "a table of nothing but functions");

/// cuGetProcAddress_v2 of CUDA 12.0.
using GetProcAddress = int (*)(const char *symbol, void **function, int version, uint64_t flags, int *status);

/// What an error means to people, and what helps.
struct Advice {
  ExitCode code;
  const char *text;
};
Advice adviceFor(int result) {
  switch (result) {
  case cuda::kOutOfMemory:
    return {ExitCode::resource, "; lower -c or the batch, or free memory of the GPU (nvidia-smi shows who has it)"};
  case cuda::kNoDevice:
  case cuda::kInvalidDevice:
    return {ExitCode::mismatch, "; nvidia-smi lists the GPUs, CUDA_VISIBLE_DEVICES may hide them"};
  case cuda::kInvalidImage:
  case cuda::kNoBinaryForGpu:
  case cuda::kInvalidPtx:
  case cuda::kUnsupportedPtxVersion:
    return {ExitCode::mismatch, "; the code is for another GPU or a newer driver: compile the model with --target "
                                "cuda:sm_N of this GPU, or update the driver"};
  case cuda::kSystemNotReady:
  case cuda::kSystemDriverMismatch:
  case cuda::kCompatNotSupported:
    return {ExitCode::mismatch, "; the NVIDIA driver's kernel module and libcuda.so.1 do not fit: restart the machine, "
                                "or install one driver"};
  case cuda::kInvalidValue:
  case cuda::kInvalidHandle:
  case cuda::kInvalidContext:
  case cuda::kNotInitialized:
    return {ExitCode::internal, ""};
  default:
    break;
  }
  if (result >= cuda::kIllegalAddress && result < 800)
    return {ExitCode::internal, "; a kernel went wrong, and the GPU's context is lost: run it under compute-sanitizer"};
  return {ExitCode::runtime, ""};
}

} // namespace

const char *CudaDriver::nameOf(const void *member) const {
  auto offset = static_cast<const char *>(member) - reinterpret_cast<const char *>(&table);
  return kSymbols[static_cast<size_t>(offset) / sizeof(Pointer)].name;
}

Error CudaDriver::error(const char *function, int result, std::string_view what) const {
  const char *name = nullptr, *text = nullptr;
  if (table.errorName(result, &name) != 0 || !name)
    name = "unknown error";
  if (table.errorText(result, &text) != 0 || !text)
    text = "no description";
  Advice advice = adviceFor(result);
  return {advice.code, fmt::format("{} ({}): {} ({}: {}){}", function, what, name, result, text, advice.text)};
}

Result<std::unique_ptr<CudaDriver>> CudaDriver::over(const cuda::Calls &calls) {
  std::unique_ptr<CudaDriver> driver(new CudaDriver(calls));
  if (auto done = driver->call<&cuda::Calls::init>("the first call", 0u); !done)
    return propagate(done);
  if (auto done = driver->call<&cuda::Calls::driverVersion>("its version", &driver->cudaVersion); !done)
    return propagate(done);
  if (driver->cudaVersion < kLeastVersion)
    return fail(ExitCode::mismatch,
                "the NVIDIA driver is of CUDA {}.{}: expected 12.3 or newer (driver 545); update it",
                driver->cudaVersion / 1000, driver->cudaVersion % 1000 / 10);
  return driver;
}

Result<std::unique_ptr<CudaDriver>> CudaDriver::open(const std::string &path) {
  void *handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    const char *why = dlerror();
    return fail(ExitCode::mismatch,
                "no NVIDIA driver: {} cannot be loaded ({}); install the driver, or in a container pass the GPU "
                "through, or use --device cpu with an artifact for it; `lathe doctor` says what is there",
                path, why ? why : "unknown reason");
  }
  auto find = reinterpret_cast<GetProcAddress>(dlsym(handle, "cuGetProcAddress_v2"));
  if (!find)
    return fail(ExitCode::mismatch,
                "{} is no NVIDIA driver of CUDA 12.3 or newer (driver 545): it has no "
                "cuGetProcAddress_v2; update the driver",
                path);
  cuda::Calls calls;
  auto *functions = reinterpret_cast<Pointer *>(&calls);
  for (size_t i = 0; i < std::size(kSymbols); ++i) {
    void *function = nullptr;
    int status = 0;
    if (find(kSymbols[i].name, &function, kSymbols[i].version, cuda::kProcLegacyStream, &status) != 0 || !function)
      return fail(ExitCode::mismatch, "{} has no {} of CUDA {}.{}; update the driver", path, kSymbols[i].name,
                  kSymbols[i].version / 1000, kSymbols[i].version % 1000 / 10);
    functions[i] = reinterpret_cast<Pointer>(function);
  }
  return over(calls);
}

Result<const CudaDriver *> CudaDriver::load() {
  static std::mutex mutex;
  static std::unique_ptr<CudaDriver> loaded;
  std::lock_guard lock(mutex);
  if (loaded)
    return loaded.get();
  const char *given = std::getenv("LATHE_CUDA");
  auto opened = open(given && *given ? given : "libcuda.so.1");
  if (!opened)
    return propagate(opened);
  loaded = std::move(*opened);
  return loaded.get();
}

} // namespace lathe
