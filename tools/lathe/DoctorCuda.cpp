#include "tools/lathe/Doctor.h"

#include "runtime/support/CudaToolkit.h"

#include <array>
#include <cstdlib>
#include <dlfcn.h>
#include <filesystem>
#include <fmt/format.h>
#include <memory>

namespace lathe {
namespace {

/// A library of which a few functions are asked for by name.
class Library {
public:
  explicit Library(const char *name) : handle(dlopen(name, RTLD_NOW | RTLD_LOCAL)) {}
  ~Library() {
    if (handle)
      dlclose(handle);
  }
  Library(const Library &) = delete;
  Library &operator=(const Library &) = delete;
  explicit operator bool() const { return handle; }
  template <typename Function> Function *find(const char *name) const {
    return reinterpret_cast<Function *>(dlsym(handle, name));
  }

private:
  void *handle;
};

/// The driver API's functions that are needed here (CUDA Driver API, cuda.h); all return a CUresult, 0 is success.
using Init = int(unsigned);
using DriverVersion = int(int *);
using DeviceCount = int(int *);
using DeviceGet = int(int *, int);
using DeviceName = int(char *, int, int);
using DeviceMemory = int(size_t *, int);
using DeviceAttribute = int(int *, int, int);
constexpr int kMajor = 75, kMinor = 76; // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR

Finding compilerInPath() {
  std::error_code ignored;
  std::string found;
  auto look = [&](const std::string &folder) {
    if (found.empty() && !folder.empty() && std::filesystem::is_regular_file(folder + "/nvcc", ignored))
      found = folder + "/nvcc";
  };
  if (const char *home = std::getenv("CUDA_HOME"))
    look(std::string(home) + "/bin");
  std::string path = std::getenv("PATH") ? std::getenv("PATH") : "";
  for (size_t begin = 0; begin <= path.size();) {
    size_t end = std::min(path.find(':', begin), path.size());
    look(path.substr(begin, end - begin));
    begin = end + 1;
  }
  look("/usr/local/cuda/bin");
  if (found.empty())
    return {"cuda", "nvcc", "not found", Health::notice, "not needed: kernels for GPUs are compiled by NVRTC", ""};
  return {"cuda", "nvcc", found, Health::good, "a CUDA toolkit is installed; kernels are compiled by its NVRTC", ""};
}

Finding runtimeCompiler() {
  for (const std::string &place : nvrtcPlaces()) {
    Library library(place.c_str());
    auto *version = library ? library.find<int(int *, int *)>("nvrtcVersion") : nullptr;
    int major = 0, minor = 0;
    if (version && version(&major, &minor) == 0)
      return {"cuda",
              "nvrtc",
              fmt::format("{}.{} ({})", major, minor, place),
              Health::good,
              "kernels for GPUs can be compiled on this machine",
              ""};
  }
  return {"cuda",
          "nvrtc",
          "not found",
          Health::notice,
          "kernels for GPUs cannot be compiled on this machine; models for CPUs need nothing of it",
          "for GPUs install the CUDA toolkit, or run tools/quickstart --cuda, which takes it from PyPI, or name "
          "libnvrtc.so.13 in LATHE_NVRTC"};
}

Finding disassembler() {
  auto found = findNvdisasm();
  if (found)
    return {"cuda", "nvdisasm", *found, Health::good, "lathe inspect shows the instructions of kernels for GPUs", ""};
  return {"cuda",
          "nvdisasm",
          "not found",
          Health::notice,
          "lathe inspect shows all of kernels for GPUs but their instructions",
          "run tools/setup, which takes it from PyPI, or name it in LATHE_NVDISASM"};
}

void examineDevices(const Library &driver, std::vector<Finding> &findings) {
  auto *count = driver.find<DeviceCount>("cuDeviceGetCount");
  auto *get = driver.find<DeviceGet>("cuDeviceGet");
  auto *name = driver.find<DeviceName>("cuDeviceGetName");
  auto *memory = driver.find<DeviceMemory>("cuDeviceTotalMem_v2");
  auto *attribute = driver.find<DeviceAttribute>("cuDeviceGetAttribute");
  int devices = 0;
  if (!count || !get || !name || !memory || !attribute || count(&devices) != 0)
    devices = 0;
  if (devices == 0)
    findings.push_back({"cuda", "devices", "none", Health::notice, "the driver is there but shows no GPU",
                        "check nvidia-smi, and CUDA_VISIBLE_DEVICES, which hides GPUs"});
  for (int i = 0; i < devices; ++i) {
    int device = 0, major = 0, minor = 0;
    size_t bytes = 0;
    char text[256] = "";
    if (get(&device, i) != 0 || name(text, sizeof text, device) != 0 || memory(&bytes, device) != 0 ||
        attribute(&major, kMajor, device) != 0 || attribute(&minor, kMinor, device) != 0)
      continue;
    bool recent = major >= 8;
    findings.push_back(
        {"cuda", fmt::format("device {}", i),
         fmt::format("{}, sm_{}{}, {:.1f} GiB", text, major, minor, double(bytes) / double(1 << 30)),
         recent ? Health::good : Health::notice,
         recent ? "a GPU that kernels can be generated for" : "older than sm_80, for which there are no kernels", ""});
  }
}

} // namespace

std::vector<Finding> examineCuda() {
  std::vector<Finding> findings{compilerInPath(), runtimeCompiler(), disassembler()};
  const char *given = std::getenv("LATHE_CUDA"); // as CudaDriver::load has it
  Library driver(given && *given ? given : "libcuda.so.1");
  auto *init = driver ? driver.find<Init>("cuInit") : nullptr;
  if (!init) {
    findings.push_back({"cuda", "driver", "not found", Health::notice,
                        "models run on the CPU: there is no libcuda.so.1 on this machine",
                        "with an NVIDIA GPU install its driver; in a container start it with the GPU passed through"});
    return findings;
  }
  if (int code = init(0)) {
    findings.push_back(
        {"cuda", "driver", fmt::format("does not start (cuInit gives {})", code), Health::notice,
         "models run on the CPU",
         "check nvidia-smi: is there a GPU, does the driver fit the kernel, may this user open /dev/nvidia*?"});
    return findings;
  }
  int version = 0;
  if (auto *ask = driver.find<DriverVersion>("cuDriverGetVersion"))
    ask(&version);
  findings.push_back({"cuda", "driver", fmt::format("CUDA {}.{}", version / 1000, version % 1000 / 10), Health::good,
                      "the driver runs programs up to this CUDA version", ""});
  examineDevices(driver, findings);
  return findings;
}

} // namespace lathe
