//===- StageReader.cpp - what stands in the stages of an artifact -------------===//
#include "compiler/StageReader.h"

#include "passes/kern/KernPasses.h"
#include "passes/lm/LmPasses.h"

#include "mlir/IR/Diagnostics.h"
#include "mlir/Parser/Parser.h"

using namespace mlir;

namespace lathe {

void loadStageDialects(MLIRContext &context) {
  context.loadDialect<lm::LmDialect, kern::KernDialect, arith::ArithDialect, math::MathDialect, scf::SCFDialect,
                      vector::VectorDialect, memref::MemRefDialect, func::FuncDialect, LLVM::LLVMDialect>();
}

Result<OwningOpRef<ModuleOp>> parseStage(MLIRContext &context, std::string_view text, std::string_view what) {
  loadStageDialects(context);
  std::string why;
  ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) { why += diagnostic.str(); });
  auto module = parseSourceString<ModuleOp>(llvm::StringRef(text.data(), text.size()), ParserConfig(&context));
  if (!module)
    return fail(ExitCode::badInput, "{} does not parse: {}", what, why);
  return module;
}

Result<std::string> printFunction(ModuleOp module, const std::string &function, const std::string &tier) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  OpPrintingFlags flags;
  flags.printNameLocAsPrefix(true);
  if (function.empty()) {
    module.print(stream, flags);
    return text;
  }
  ModuleOp scope = module;
  if (!tier.empty())
    scope = module.lookupSymbol<ModuleOp>(tier);
  auto found = scope ? scope.lookupSymbol<func::FuncOp>(function) : func::FuncOp();
  if (!found)
    return fail(ExitCode::usage, "no function '{}'{} in this stage", function, tier.empty() ? "" : " of tier " + tier);
  found.print(stream, flags.useLocalScope());
  return text + "\n";
}

ScheduleEntry scheduleOf(func::FuncOp kernel) {
  auto schedule = kernel->getAttrOfType<kern::ScheduleAttr>(kern::scheduleAttr);
  auto text = [](StringAttr attribute, const char *otherwise) {
    return attribute ? attribute.getValue().str() : otherwise;
  };
  if (!schedule)
    return {.origin = "edited"};
  return {.key = {},
          .rows = schedule.getRows(),
          .columns = schedule.getColumns(),
          .unitBlock = schedule.getUnitBlock(),
          .amxRows = schedule.getAmxRows(),
          .library = text(schedule.getLibrary(), ""),
          .libraryRows = schedule.getLibraryRows(),
          .leastRows = schedule.getLeastRows(),
          .depth = schedule.getDepth(),
          .origin = text(schedule.getOrigin(), "edited")};
}

Result<std::map<std::string, std::map<std::string, ScheduleEntry>>> readSchedules(std::string_view stage20) {
  MLIRContext context(MLIRContext::Threading::DISABLED);
  auto parsed = parseStage(context, stage20, "stage 20");
  if (!parsed)
    return propagate(parsed);
  ModuleOp module = **parsed;
  std::map<std::string, std::map<std::string, ScheduleEntry>> schedules;
  for (auto tier : module.getOps<ModuleOp>())
    for (auto kernel : tier.getOps<func::FuncOp>())
      if (kernel->hasAttr(kern::scheduleAttr) && tier.getName())
        schedules[kernel.getName().str()][tier.getName()->str()] = scheduleOf(kernel);
  return schedules;
}

Result<std::vector<std::pair<std::string, ScheduleKey>>> readLinears(std::string_view stage10,
                                                                     const std::string &tier) {
  MLIRContext context(MLIRContext::Threading::DISABLED);
  auto parsed = parseStage(context, stage10, "stage 10");
  if (!parsed)
    return propagate(parsed);
  ModuleOp module = **parsed;
  std::vector<std::pair<std::string, ScheduleKey>> linears;
  for (auto function : module.getOps<func::FuncOp>())
    if (function.isPrivate() && !function.getBody().empty())
      for (auto fused : function.getBody().front().getOps<lm::FusedOp>())
        if (ScheduleKey key = kern::scheduleKeyOf(fused, tier); key.kind == "linear")
          linears.emplace_back(function.getName().str(), key);
  return linears;
}

} // namespace lathe
