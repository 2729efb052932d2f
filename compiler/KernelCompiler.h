//===- KernelCompiler.h - all kernels of a model at once --------------------===//
#pragma once

#include "compiler/KernelCache.h"
#include "compiler/Nvrtc.h"

#include <span>
#include <string>
#include <vector>

namespace lathe {

struct CompiledKernels {
  std::vector<DeviceCode> code; ///< in the order of the sources
  int64_t found = 0;            ///< how many were in the cache
};

/// Compiles kernels for an architecture, or takes them from the cache, on `threads` threads (0: as many as there are
/// processors). Of several that are wrong, the error is that of the first in order. The cache may be null.
Result<CompiledKernels> compileKernels(const Nvrtc &nvrtc, std::span<const KernelSource> kernels,
                                       std::span<const KernelHeader> headers, const std::string &architecture,
                                       KernelCache *cache, int64_t threads = 0);

} // namespace lathe
