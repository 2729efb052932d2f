//===- Explain.h - what was fused, what was not, and why -------------------===//
#pragma once

#include "compiler/Schedules.h"
#include "runtime/support/Error.h"

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lathe {

/// Runs the fusion passes over a stage-00 text with their remarks on and gives them a line each, equal ones counted.
Result<std::string> explainFusion(std::string_view stage00, const std::string &quant);

/// A stage's text without locations, or one function of it (of the module of `tier` when that is not empty).
Result<std::string> printStage(std::string_view text, const std::string &function, const std::string &tier);

/// The schedules of a stage-20 text, by kernel and tier, without the keys that they were looked up by. Where the stage
/// does not say which entry gave one, its origin is "edited".
Result<std::map<std::string, std::map<std::string, ScheduleEntry>>> readSchedules(std::string_view stage20);

/// The kernels of a stage-10 text that are linears, each with what its schedule on `tier` is looked up by.
Result<std::vector<std::pair<std::string, ScheduleKey>>> readLinears(std::string_view stage10, const std::string &tier);

} // namespace lathe
