// A shared object that stands for libcuda.so.1 and computes: the stand-in for the driver (FakeDriver), whose launches
// run by the code that cuda-host has of the same kernels. Programs open it as $LATHE_CUDA. What the machine is stands
// in the environment:
//   FAKE_CUDA_KERNELS     a shared object with lathe_host_launch: an artifact's kernels/cuda-host-sm_80.so
//   FAKE_CUDA_CAPABILITY  80
//   FAKE_CUDA_MEMORY      bytes
//   FAKE_CUDA_FAIL        cuMemAlloc:3:2, the fourth call of that name fails with error 2
//   FAKE_CUDA_LOG         a file that gets the names of all calls, and at the end what leaked or was misused
#include "test/cuda/FakeDriver.h"

#include "runtime/device/host/launch.h"

#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <fmt/format.h>

namespace lathe::cuda {
namespace {

class Machine {
public:
  Machine() {
    if (const char *capability = std::getenv("FAKE_CUDA_CAPABILITY"))
      fake.capability = std::atoi(capability);
    if (const char *memory = std::getenv("FAKE_CUDA_MEMORY"))
      fake.memory = std::strtoull(memory, nullptr, 10);
    if (const char *failure = std::getenv("FAKE_CUDA_FAIL")) {
      std::string symbol(failure);
      size_t colon = symbol.find(':');
      int count = 0, error = 0;
      std::sscanf(failure + colon, ":%d:%d", &count, &error);
      fake.failAt(count, error, symbol.substr(0, colon));
    }
    if (const char *path = std::getenv("FAKE_CUDA_KERNELS"))
      if (void *kernels = dlopen(path, RTLD_NOW | RTLD_LOCAL))
        launch = reinterpret_cast<device::HostLaunchFn>(dlsym(kernels, "lathe_host_launch"));
    fake.kernelBody = [this](const FakeDriver::Launched &launched) { run(launched); };
  }
  ~Machine() {
    const char *path = std::getenv("FAKE_CUDA_LOG");
    std::FILE *file = path ? std::fopen(path, "w") : nullptr;
    if (!file)
      return;
    for (const std::string &name : fake.log)
      std::fprintf(file, "%s\n", name.c_str());
    for (const std::string &leak : fake.leaks())
      std::fprintf(file, "leak: %s\n", leak.c_str());
    for (const std::string &call : fake.misuse)
      std::fprintf(file, "misuse: %s\n", call.c_str());
    std::fclose(file);
  }

  FakeDriver fake;

private:
  device::HostLaunchFn launch = nullptr;

  void run(const FakeDriver::Launched &launched) {
    fake.launched.clear(); // nobody looks, and there are many
    if (!launch)
      return;
    auto batch = launched.parameter<device::BatchData>(0);
    std::vector<void *> buffers;
    std::vector<unsigned long long> bytes;
    for (size_t i = 1; i < launched.parameters.size(); ++i) {
      auto address = launched.parameter<Address>(i);
      buffers.push_back(reinterpret_cast<void *>(address));
      bytes.push_back(fake.room(address));
    }
    device::HostLaunch call{.kernel = launched.kernel.c_str(),
                            .gridX = static_cast<int>(launched.gridX),
                            .gridY = static_cast<int>(launched.gridY),
                            .buffers = buffers.data(),
                            .bytes = bytes.data(),
                            .bufferCount = static_cast<int>(buffers.size()),
                            .batch = batch,
                            .batchBytes = {},
                            .counterBytes = fake.room(reinterpret_cast<Address>(batch.counters)),
                            .drawnBytes = fake.room(reinterpret_cast<Address>(batch.drawn)),
                            .seed = 0,
                            .check = false,
                            .dependent = false};
    for (int i = 0; i < device::kBatchArrays; ++i)
      call.batchBytes[i] = fake.room(reinterpret_cast<Address>(batch.arrays[i]));
    if (const char *report = launch(&call)) {
      std::fprintf(stderr, "%s\n", report);
      std::abort();
    }
  }
};

} // namespace
} // namespace lathe::cuda

extern "C" int cuGetProcAddress_v2(const char *symbol, void **function, int, uint64_t, int *status) {
  using namespace lathe::cuda;
  static Machine machine;
  const Calls &calls = machine.fake.calls();
  *status = 0;
#define LATHE_FIND(name, driverName, version, ...)                                                                     \
  if (std::string_view(symbol) == #driverName) {                                                                       \
    *function = reinterpret_cast<void *>(calls.name);                                                                  \
    return 0;                                                                                                          \
  }
  LATHE_CUDA_CALLS(LATHE_FIND)
#undef LATHE_FIND
  *function = nullptr;
  *status = 1;
  return kNotFound;
}
