//===- Inspect.h - what lathe inspect shows, one function a word ----------===//
#pragma once

#include "compiler/inspect/Inspection.h"

#include <nlohmann/json.hpp>

namespace lathe {

struct InspectOptions {
  std::string artifact, what = "summary", name, tier, html;
  bool verify = false, json = false, full = false;
};

void printTable(const nlohmann::json &json);

Result<void> inspectSummary(Inspection &inspection, const InspectOptions &options);
/// Every kernel, a line each.
Result<void> inspectKernels(Inspection &inspection, const InspectOptions &options);
Result<void> inspectMemory(Inspection &inspection, const InspectOptions &options);
Result<void> inspectStages(Inspection &inspection, const InspectOptions &options);
/// One kernel: provenance, IR and code.
Result<void> inspectKernel(Inspection &inspection, const InspectOptions &options);
/// By kernel, what was fused, what was refused and why, and which schedule.
Result<void> inspectExplain(Inspection &inspection, const InspectOptions &options);
/// What differs from the artifact `options.name`; ExitCode::checkFailed when anything does.
Result<void> inspectDiff(Inspection &inspection, const InspectOptions &options);
/// The page of --html.
Result<void> inspectHtml(Inspection &inspection, const InspectOptions &options);

} // namespace lathe
