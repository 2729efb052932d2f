//===- Inspect.h - what lathe inspect shows of the CUDA target ------------===//
#pragma once

#include "runtime/Artifact.h"
#include "runtime/Plan.h"

namespace lathe {

/// Every kernel with what each architecture needs for it.
Result<void> inspectCudaKernels(const Artifact &artifact, const Plan &plan, bool json);
/// One kernel: registers, spills and occupancy by architecture, its text, and its PTX where NVRTC is there.
Result<void> inspectCudaKernel(const Artifact &artifact, const Plan &plan, const std::string &name);

} // namespace lathe
