//===- Target.h - what a model is compiled for ----------------------------===//
#pragma once

#include "runtime/support/Error.h"

#include <string>
#include <vector>

namespace lathe {

/// "cpu", "cuda:sm_90a" (an NVIDIA architecture), or "cuda-host:sm_80": kernels for that architecture, run on the CPU.
struct Target {
  enum class Kind { cpu, cuda, cudaHost };
  Kind kind = Kind::cpu;
  std::string architecture; ///< "sm_90a"; cpu: ""

  std::string name() const;
  /// What the artifact's member with its code is called, "kernels/cuda-host-sm_80.so", or of a GPU's, where there is
  /// one a kernel, how they begin: "kernels/sm_90a/".
  std::string member() const;
};

Result<Target> parseTarget(const std::string &text);
/// All of them, none twice; those for CPUs and those for CUDA need an artifact each, since weights are packed for one.
Result<std::vector<Target>> parseTargets(const std::vector<std::string> &texts);

} // namespace lathe
