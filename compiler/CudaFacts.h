//===- CudaFacts.h - what is known of a kernel on a GPU before it runs ------===//
//
// Nominal figures of devices stand in configs/targets/cuda.toml ([[device]] entries, with their sources). What follows
// from them is a bound: no kernel is faster.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Nvrtc.h"
#include "runtime/Plan.h"

#include <string>
#include <string_view>
#include <vector>

namespace lathe {

/// The best known device of an architecture.
struct CudaDeviceFacts {
  std::string name;            ///< "H100 SXM5"
  int64_t capability = 0;      ///< 90: compute capability 9.0
  int64_t multiprocessors = 0; ///<
  int64_t threads = 0;         ///< that a multiprocessor has room for
  int64_t sharedBytes = 0;     ///< of a multiprocessor
  double bytesPerSecond = 0;   ///< of its memory
  double flopsPerSecond = 0;   ///< of tensor cores, bf16 with sums in f32, dense
};

/// The entries of a table; ExitCode::badInput names `file` and line:column of what is wrong.
Result<std::vector<CudaDeviceFacts>> parseCudaDevices(std::string_view toml, const std::string &file);
/// That of the built-in table for "sm_90a" or "compute_80", or null.
const CudaDeviceFacts *findCudaDevice(std::string_view architecture);

/// How many blocks of a kernel a multiprocessor runs at a time, and what it has no more room for.
struct Occupancy {
  int64_t blocks = 0;
  const char *limit = ""; ///< "registers"
};
Occupancy occupancyOf(const CudaDeviceFacts &device, const KernelForm &form, int64_t registers);

/// Of each form of a kernel of CUDA the kernel under that form's symbol, fewest units first; of another one itself.
std::vector<Kernel> formsOf(const Kernel &kernel);

/// A launch for one row (of a form for many rows, for `manyRows`), or one row of `positions` positions for a kernel of
/// attention.
struct Prediction {
  static constexpr int64_t positions = 1024, manyRows = 512;

  int64_t bytes = 0; ///< of weights or pages that it reads
  int64_t flops = 0;
  double microseconds = 0; ///< what of both takes longer, at nominal rates
  /// Share of the device's bandwidth that the loads under way are enough for (Little's law): blocks that run at a time,
  /// with 8 loads of 16 bytes a thread (dot.cuh), by bandwidth times 0.7 us of latency.
  double share = 0;
};
Prediction predict(const Plan &plan, const Kernel &kernel, const KernelForm &form, const CudaDeviceFacts &device,
                   int64_t registers, int64_t rows = 1);
/// The same for the form whose symbol the kernel has, for as many rows as that is made for.
Prediction predict(const Plan &plan, const Kernel &kernel, const std::string &architecture,
                   const CudaDeviceFacts &device, int64_t registers);

/// What is known of the form whose symbol the kernel has once it is compiled for an architecture, in lines; nothing of
/// PTX.
std::vector<std::string> factsOf(const Plan &plan, const Kernel &kernel, const std::string &architecture,
                                 const KernelUsage &usage);
/// A kernel's text with these lines at the end of the comment above it, in place of those that stand there.
std::string withFacts(std::string_view text, const std::vector<std::string> &facts);

} // namespace lathe
