//===- StageReader.h - what stands in the stages of an artifact -----------===//
#pragma once

#include "compiler/Schedules.h"
#include "runtime/support/Error.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lathe {

/// Loads every dialect that a stage may use.
void loadStageDialects(mlir::MLIRContext &context);

/// A stage's module. `what` is the stage's name for messages.
Result<mlir::OwningOpRef<mlir::ModuleOp>> parseStage(mlir::MLIRContext &context, std::string_view text,
                                                     std::string_view what);

/// A stage as text without locations, or one function of it (of the module of `tier` when that is not empty).
Result<std::string> printFunction(mlir::ModuleOp stage, const std::string &function, const std::string &tier);

/// The schedule of a kernel of stage 20, without the key that it was looked up by. Where the stage does not say which
/// entry gave it, its origin is "edited".
ScheduleEntry scheduleOf(mlir::func::FuncOp kernel);

/// The schedules of a stage-20 text, by kernel and tier.
Result<std::map<std::string, std::map<std::string, ScheduleEntry>>> readSchedules(std::string_view stage20);

/// The kernels of a stage-10 text that are linears, each with what its schedule on `tier` is looked up by.
Result<std::vector<std::pair<std::string, ScheduleKey>>> readLinears(std::string_view stage10, const std::string &tier);

} // namespace lathe
