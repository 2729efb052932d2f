//===- Target.h - what a model is compiled for ----------------------------===//
#pragma once

#include "runtime/support/Error.h"

#include <string>
#include <string_view>
#include <vector>

namespace lathe {

/// "cpu", "cuda:sm_90a" (an NVIDIA architecture; "cuda:compute_90": PTX for it and those to come), or
/// "cuda-host:sm_80": kernels for that architecture, run on the CPU.
struct Target {
  enum class Kind { cpu, cuda, cudaHost };
  Kind kind = Kind::cpu;
  std::string architecture; ///< "sm_90a"; cpu: ""

  std::string name() const;
  /// "cpu" or "cuda": what weights are packed for.
  std::string family() const { return kind == Kind::cpu ? "cpu" : "cuda"; }
  /// What the artifact's member with its code is called, "kernels/cuda-host-sm_80.so", or of a GPU's, where there is
  /// one a kernel, how they begin: "kernels/sm_90a/".
  std::string member() const;
  /// Of a GPU's target: whether its code is PTX, and the member with a kernel's cubin, or its PTX.
  bool portable() const { return architecture.starts_with("compute_"); }
  std::string member(const std::string &kernel) const { return member() + kernel + (portable() ? ".ptx" : ".cubin"); }
};

/// Whether linears of quantised weights take their inputs in floats there, and not in codes: tensor cores multiply
/// codes, which are exact in bf16, by bf16. `family` is what a manifest calls the target, "cpu" or "cuda".
bool hasFloatInputs(std::string_view family);

Result<Target> parseTarget(const std::string &text);
/// All of them, none twice; those for CPUs and those for CUDA need an artifact each, since weights are packed for one.
Result<std::vector<Target>> parseTargets(const std::vector<std::string> &texts);

} // namespace lathe
