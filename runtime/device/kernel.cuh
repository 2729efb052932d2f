//===- kernel.cuh - what generated kernels include --------------------------===//
//
// All of the device library. It is text that NVRTC, nvcc, clang and g++ compile as C++17, with no header of CUDA's or,
// on the device, of the standard library's. With LATHE_HOST defined the same kernels run on the CPU (host/).
//
//===----------------------------------------------------------------------===//
#pragma once

#include "lathe/attention.cuh"
#include "lathe/batch.cuh"
#include "lathe/dot.cuh"
#include "lathe/functions.cuh"
#include "lathe/gemm.cuh"
#include "lathe/numbers.cuh"
#include "lathe/primitives.cuh"
#include "lathe/reduce.cuh"
#include "lathe/views.cuh"
#ifdef LATHE_HOST
#include "lathe/host/entry.h"
#endif
