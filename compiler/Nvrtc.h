//===- Nvrtc.h - CUDA C++ text to machine code -----------------------------===//
//
// NVIDIA's run-time compiler, opened when a CUDA target is compiled for and never otherwise; no GPU and no driver are
// needed. Declarations of what is used of it follow nvrtc.h of CUDA 12.9 to 13.0, whose binary interface has not
// changed since CUDA 11.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/support/Error.h"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lathe {

/// A header as kernels include it: `#include "lathe/kernel.cuh"`.
struct KernelHeader {
  std::string name, text;
};

/// The text of one kernel. Its function has C linkage and the same name; messages call the text NAME.cu.
struct KernelSource {
  std::string name, text;
};

/// What ptxas says of a kernel: registers of a thread; bytes of a thread (stack, and what is stored to and loaded from
/// it because registers ran out), of a block (shared memory, without the dynamic), of the grid (constant memory, the
/// parameters among them); barriers of a block.
struct KernelUsage {
  int64_t registers = 0, stackBytes = 0, spillStores = 0, spillLoads = 0, sharedBytes = 0, constantBytes = 0;
  int64_t barriers = 0;

  bool operator==(const KernelUsage &) const = default;
};

/// A compiled kernel: a cubin for an architecture `sm_…` (ELF), or PTX for `compute_…`, of which no usage is known.
struct DeviceCode {
  std::string image;
  std::string log; ///< warnings, "" for most
  KernelUsage usage;
};

class Nvrtc {
public:
  /// The library of this process, opened on first use and kept: $LATHE_NVRTC (the file, or its folder), else what the
  /// loader finds, else the toolkit's usual folders, else a wheel of PyPI (nvidia-cuda-nvrtc) in $VIRTUAL_ENV or in a
  /// folder venv beside the program or beside its folder. ExitCode::mismatch: it is nowhere; the message says what
  /// helps.
  static Result<const Nvrtc *> load();
  /// The same of one file, without the search. The library stays loaded.
  static Result<std::unique_ptr<Nvrtc>> open(const std::string &path);

  /// "13.0".
  const std::string &version() const { return versionText; }
  const std::string &path() const { return file; }
  /// "sm_90a" and "compute_90" where this version knows compute capability 9.0. ExitCode::usage: no such name, or not
  /// known to this version; the message lists those that are.
  Result<void> checkArchitecture(const std::string &architecture) const;
  /// What kernels are compiled with; part of a cache's key.
  std::vector<std::string> options(const std::string &architecture) const;

  /// Compiles one kernel. Many threads may do so at a time. ExitCode::badInput: the text is wrong; the message begins
  /// with "NAME.cu:LINE:".
  Result<DeviceCode> compile(const KernelSource &kernel, std::span<const KernelHeader> headers,
                             const std::string &architecture) const;

private:
  Nvrtc() = default;

  using Program = struct _nvrtcProgram *;
  struct Functions;
  std::string errorName(int result) const;

  std::string file, versionText;
  int major = 0, minor = 0;
  std::vector<int> capabilities; ///< 80, 86, 90, …
  std::shared_ptr<const Functions> functions;
};

/// What `ptxas -v` wrote of one entry function (all but constantBytes); an error where it did not.
Result<KernelUsage> parseUsage(std::string_view log, std::string_view kernel);
/// The size of a kernel's constant bank 0, parameters included, by the section table of its cubin.
Result<int64_t> constantBytes(std::string_view cubin, std::string_view kernel);

} // namespace lathe
