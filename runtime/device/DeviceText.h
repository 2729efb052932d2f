//===- DeviceText.h - the device library as text -----------------------------===//
//
// For compilers of kernels that run where no source tree is: NVRTC takes the table as it is, clang from a folder that
// it was written to.
//
//===----------------------------------------------------------------------===//
#pragma once

#include <span>

namespace lathe {

/// A file of runtime/device/, under the name that kernels include it by. Both strings live as long as the program.
struct DeviceFile {
  const char *name; ///< "lathe/kernel.cuh"
  const char *text;
};

/// All headers; those under "lathe/host/" are for running kernels on the CPU (HostExecutor.h is what they call).
std::span<const DeviceFile> deviceText();

} // namespace lathe
