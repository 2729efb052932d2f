//===- CudaDevice.h - a GPU, and what is owned on it -------------------------===//
//
// Each object frees what it owns; all must go before their CudaDevice does. Calls are made by the thread that the
// device is current on (`CudaDevice::use`).
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/CudaDriver.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

namespace lathe {

class CudaDevice {
public:
  /// Retains the device's primary context and makes it the calling thread's.
  static Result<std::unique_ptr<CudaDevice>> open(const CudaDriver &driver, int ordinal = 0);
  ~CudaDevice();
  CudaDevice(const CudaDevice &) = delete;
  CudaDevice &operator=(const CudaDevice &) = delete;

  /// Makes it the calling thread's.
  Result<void> use() const;

  const CudaDriver &driver;
  int ordinal = 0;
  std::string name;   ///< "NVIDIA H100 80GB HBM3"
  int capability = 0; ///< 90: compute capability 9.0
  int multiprocessors = 0;
  int64_t sharedBytes = 0; ///< shared memory of a block at most
  int64_t l2Bytes = 0;
  uint64_t freeBytes = 0, totalBytes = 0; ///< of memory, when it was opened

private:
  explicit CudaDevice(const CudaDriver &driver) : driver(driver) {}
  cuda::Context context = nullptr;
};

/// A handle of the driver's that is destroyed by one call.
template <typename Handle, auto Destroy> class CudaOwned {
public:
  CudaOwned() = default;
  CudaOwned(const CudaDriver &driver, Handle handle) : driver(&driver), handle(handle) {}
  CudaOwned(CudaOwned &&other) noexcept { *this = std::move(other); }
  CudaOwned &operator=(CudaOwned &&other) noexcept {
    std::swap(driver, other.driver);
    std::swap(handle, other.handle);
    return *this;
  }
  ~CudaOwned() {
    if (handle)
      driver->release<Destroy>(handle);
  }
  Handle get() const { return handle; }

private:
  const CudaDriver *driver = nullptr;
  Handle handle = {};
};

using CudaStream = CudaOwned<cuda::Stream, &cuda::Calls::streamDestroy>;
using CudaEvent = CudaOwned<cuda::Event, &cuda::Calls::eventDestroy>;
using CudaMemory = CudaOwned<cuda::Address, &cuda::Calls::memoryFree>;
using CudaHostMemory = CudaOwned<void *, &cuda::Calls::hostFree>;
using CudaLibrary = CudaOwned<cuda::Library, &cuda::Calls::libraryUnload>;
using CudaGraphDescription = CudaOwned<cuda::Graph, &cuda::Calls::graphDestroy>;
using CudaGraphExec = CudaOwned<cuda::GraphExec, &cuda::Calls::execDestroy>;

/// A stream that waits for no other.
Result<CudaStream> createStream(const CudaDevice &device);
Result<CudaEvent> createEvent(const CudaDevice &device, bool timing);
/// Memory of the device, of a multiple of 256 bytes' alignment. `what` is for messages: "the KV pool".
Result<CudaMemory> allocateMemory(const CudaDevice &device, uint64_t bytes, std::string_view what);
/// Page-locked memory of the host, which copies need no help of the processor for.
Result<CudaHostMemory> allocateHostMemory(const CudaDevice &device, uint64_t bytes, std::string_view what);
/// Loads a cubin or PTX text, which must stay where it is until then only. `file` is for messages.
Result<CudaLibrary> loadLibrary(const CudaDevice &device, std::span<const std::byte> image, const std::string &file);
/// A kernel of a library, ready for blocks with `sharedBytes` of dynamic shared memory.
Result<cuda::KernelHandle> findKernel(const CudaDevice &device, const CudaLibrary &library, const std::string &symbol,
                                      int64_t sharedBytes);

} // namespace lathe
