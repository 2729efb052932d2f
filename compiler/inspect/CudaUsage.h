//===- CudaUsage.h - what a kernel needs of a multiprocessor --------------===//
#pragma once

#include "runtime/Plan.h"

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace lathe {

/// What ptxas said (kernels/usage.json), by architecture and kernel.
Result<nlohmann::json> parseUsages(std::string_view usageJson);

/// A line for each architecture that the kernel was compiled for: registers, spills, shared memory, and how many blocks
/// a multiprocessor holds at a time.
Result<std::vector<std::string>> cudaUsages(std::string_view usageJson, const Kernel &kernel);

} // namespace lathe
