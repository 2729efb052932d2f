//===- CudaProbe.h - how fast a GPU reads its memory -------------------------===//
#pragma once

#include "runtime/CudaDevice.h"

#include <string>

namespace lathe {

/// The kernel that reads (runtime/device/read_bandwidth.cu); every artifact for a GPU has it, besides those of its
/// plan.
inline constexpr const char *kReadBandwidthKernel = "read_bandwidth";

/// Bytes a second that `kernel` reads, the best of several passes over 2 GiB (half of what is free, where that is less)
/// of numbers drawn at random; 0 where less than 1 MiB is free. What a pass folds the numbers to is compared with
/// what they are. ExitCode::internal: it is something else.
Result<double> probeReadBandwidth(const CudaDevice &device, cuda::KernelHandle kernel, cuda::Stream stream);

} // namespace lathe
