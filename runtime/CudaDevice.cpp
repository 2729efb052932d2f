#include "runtime/CudaDevice.h"

#include <cstring>

namespace lathe {

using cuda::Calls;

namespace {

/// Shared memory that a block may have without asking.
constexpr int64_t kSharedUnasked = 48 << 10;

} // namespace

Result<std::unique_ptr<CudaDevice>> CudaDevice::open(const CudaDriver &driver, int ordinal) {
  int count = 0;
  if (auto done = driver.call<&Calls::deviceCount>("the number of GPUs", &count); !done)
    return propagate(done);
  if (ordinal < 0 || ordinal >= count)
    return fail(ExitCode::mismatch,
                "GPU {}: the driver sees {}; nvidia-smi lists the GPUs, CUDA_VISIBLE_DEVICES may "
                "hide them",
                ordinal, count);
  std::unique_ptr<CudaDevice> device(new CudaDevice(driver));
  if (auto done = driver.call<&Calls::deviceGet>("a GPU", &device->ordinal, ordinal); !done)
    return propagate(done);
  char name[256] = "";
  if (auto done = driver.call<&Calls::deviceName>("a GPU", name, static_cast<int>(sizeof name), device->ordinal); !done)
    return propagate(done);
  name[sizeof name - 1] = '\0';
  device->name = name;
  int major = 0, minor = 0, shared = 0, l2 = 0;
  for (auto [attribute, value] : {std::pair(cuda::kCapabilityMajor, &major),
                                  {cuda::kCapabilityMinor, &minor},
                                  {cuda::kMultiprocessors, &device->multiprocessors},
                                  {cuda::kSharedPerBlockOptin, &shared},
                                  {cuda::kL2Bytes, &l2}})
    if (auto done = driver.call<&Calls::deviceAttribute>(device->name, value, attribute, device->ordinal); !done)
      return propagate(done);
  device->capability = major * 10 + minor;
  device->sharedBytes = shared;
  device->l2Bytes = l2;
  if (auto done = driver.call<&Calls::contextRetain>(device->name, &device->context, device->ordinal); !done)
    return propagate(done);
  if (auto done = device->use(); !done)
    return propagate(done);
  size_t free = 0, total = 0;
  if (auto done = driver.call<&Calls::memoryInfo>(device->name, &free, &total); !done)
    return propagate(done);
  device->freeBytes = free, device->totalBytes = total;
  return device;
}

CudaDevice::~CudaDevice() {
  if (context)
    driver.release<&Calls::contextRelease>(ordinal);
}

Result<void> CudaDevice::use() const { return driver.call<&Calls::contextSet>(name, context); }

Result<CudaStream> createStream(const CudaDevice &device) {
  cuda::Stream stream = nullptr;
  if (auto done = device.driver.call<&Calls::streamCreate>("a stream", &stream, cuda::kStreamNonBlocking); !done)
    return propagate(done);
  return CudaStream(device.driver, stream);
}

Result<CudaEvent> createEvent(const CudaDevice &device, bool timing) {
  cuda::Event event = nullptr;
  unsigned flags = timing ? 0 : cuda::kEventDisableTiming;
  if (auto done = device.driver.call<&Calls::eventCreate>("an event", &event, flags); !done)
    return propagate(done);
  return CudaEvent(device.driver, event);
}

Result<CudaMemory> allocateMemory(const CudaDevice &device, uint64_t bytes, std::string_view what) {
  cuda::Address address = 0;
  if (auto done = device.driver.call<&Calls::memoryAlloc>(fmt::format("{} bytes for {}", bytes, what), &address, bytes);
      !done)
    return propagate(done);
  return CudaMemory(device.driver, address);
}

Result<CudaHostMemory> allocateHostMemory(const CudaDevice &device, uint64_t bytes, std::string_view what) {
  void *memory = nullptr;
  if (auto done = device.driver.call<&Calls::hostAlloc>(fmt::format("{} bytes for {}", bytes, what), &memory, bytes,
                                                        cuda::kHostPortable);
      !done)
    return propagate(done);
  return CudaHostMemory(device.driver, memory);
}

Result<CudaLibrary> loadLibrary(const CudaDevice &device, std::span<const std::byte> image, const std::string &file) {
  cuda::Library library = nullptr;
  // PTX is text that ends with a 0 for the driver, and a member of an artifact does not.
  std::string text;
  const void *code = image.data();
  if (image.size() < 4 || std::memcmp(image.data(),
                                      "\x7f"
                                      "ELF",
                                      4) != 0) {
    text.assign(reinterpret_cast<const char *>(image.data()), image.size());
    code = text.c_str();
  }
  if (auto done =
          device.driver.call<&Calls::libraryLoad>(file, &library, code, nullptr, nullptr, 0u, nullptr, nullptr, 0u);
      !done)
    return propagate(done);
  return CudaLibrary(device.driver, library);
}

Result<cuda::KernelHandle> findKernel(const CudaDevice &device, const CudaLibrary &library, const std::string &symbol,
                                      int64_t sharedBytes) {
  cuda::KernelHandle kernel = nullptr;
  if (auto done = device.driver.call<&Calls::libraryKernel>(symbol, &kernel, library.get(), symbol.c_str()); !done)
    return propagate(done);
  int fixed = 0;
  if (auto done = device.driver.call<&Calls::kernelAttribute>(symbol, &fixed, cuda::kFunctionSharedBytes, kernel,
                                                              device.ordinal);
      !done)
    return propagate(done);
  if (fixed + sharedBytes > device.sharedBytes)
    return fail(ExitCode::mismatch, "kernel {}: a block takes {} bytes of shared memory, {} has {}", symbol,
                fixed + sharedBytes, device.name, device.sharedBytes);
  if (fixed + sharedBytes > kSharedUnasked)
    if (auto done = device.driver.call<&Calls::kernelSetAttribute>(
            symbol, cuda::kFunctionMaxDynamicShared, static_cast<int>(sharedBytes), kernel, device.ordinal);
        !done)
      return propagate(done);
  return kernel;
}

} // namespace lathe
