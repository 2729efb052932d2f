// Hand-written kernels in the form that the compiler prints, and a header for them, for tests of what compiles, caches
// and launches them.
#pragma once

#include "compiler/Nvrtc.h"

#include <vector>

namespace lathe::cuda {

/// "lathe/kernel.cuh": views and a reduction.
const std::vector<KernelHeader> &testHeaders();

/// A kernel that normalises and multiplies rows, with a product of `width` inputs; each number gives other code.
KernelSource normKernel(int number, int width = 1024);

/// `count` of them, of different widths.
std::vector<KernelSource> normKernels(int count);

} // namespace lathe::cuda
