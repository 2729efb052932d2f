//===- CudaCodegen.h - the kernels of the CUDA target, compiled -----------===//
#pragma once

#include "compiler/CudaPrinter.h"
#include "compiler/Nvrtc.h"
#include "compiler/Target.h"

#include "mlir/IR/BuiltinOps.h"

#include <map>

namespace lathe {

/// The text of every kernel of the module @cuda, in its order.
Result<std::vector<CudaText>> printKernels(mlir::ModuleOp cuda);

/// The kernel that measures how fast a GPU reads (runtime/CudaProbe.h), the same for all models.
CudaText readBandwidthKernel();

/// Compiles the texts by NVRTC for an architecture ("sm_90a"), in the order given, or takes them from the cache
/// (compiler/KernelCache.h). What the cache has to say goes to `warning`.
Result<std::vector<DeviceCode>> compileForDevice(const std::vector<CudaText> &kernels, const std::string &architecture,
                                                 std::string &warning);

/// Compiles the texts, unchanged, as C++ for the CPU, into one shared object that exports lathe_host_launch
/// (runtime/device/host/launch.h). Needs clang, which `tools/setup` installs.
Result<std::string> compileForHost(const std::vector<CudaText> &kernels);

} // namespace lathe
