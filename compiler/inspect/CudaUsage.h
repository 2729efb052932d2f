//===- CudaUsage.h - what a kernel needs on each architecture -------------===//
#pragma once

#include "compiler/CudaFacts.h"

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace lathe {

/// A kernel on an architecture that it was compiled for.
struct CudaUse {
  std::string architecture;
  nlohmann::json usage;           ///< what ptxas said
  nlohmann::json predicted;       ///< of the best known device: null where none is known
  std::vector<std::string> facts; ///< both, in lines
};
/// Of the form whose symbol the kernel has, from kernels/usage.json, in its order.
Result<std::vector<CudaUse>> cudaUses(std::string_view usageJson, const Plan &plan, const Kernel &kernel);

/// What a plan and stage 10 call the kernel that has a form of this symbol.
std::string plannedName(const Plan &plan, const std::string &symbol);

} // namespace lathe
