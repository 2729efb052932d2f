//===- Explain.cpp - what was fused, what was not, and why --------------------===//
#include "compiler/Explain.h"

#include "passes/kern/KernPasses.h"
#include "passes/lm/LmPasses.h"

#include "mlir/IR/Diagnostics.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/ADT/StringMap.h"

using namespace mlir;

namespace lathe {

static void loadDialects(MLIRContext &context) {
  context.loadDialect<lm::LmDialect, kern::KernDialect, arith::ArithDialect, math::MathDialect, scf::SCFDialect,
                      vector::VectorDialect, memref::MemRefDialect, func::FuncDialect, LLVM::LLVMDialect>();
}

/// `what` is the stage's name for messages.
static Result<OwningOpRef<ModuleOp>> parseStage(MLIRContext &context, std::string_view text, std::string_view what) {
  loadDialects(context);
  std::string why;
  ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) { why += diagnostic.str(); });
  auto module = parseSourceString<ModuleOp>(llvm::StringRef(text.data(), text.size()), ParserConfig(&context));
  if (!module)
    return fail(ExitCode::badInput, "{} does not parse: {}", what, why);
  return module;
}

Result<std::string> explainFusion(std::string_view stage00, const std::string &quant) {
  MLIRContext context(MLIRContext::Threading::DISABLED);
  loadDialects(context);
  // Layers that are alike give the same remark: said once, with how often. A layer's number would tell them apart.
  std::vector<std::pair<std::string, int64_t>> remarks;
  llvm::StringMap<size_t> seen;
  ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) {
    std::string text = diagnostic.str();
    for (Diagnostic &more : diagnostic.getNotes())
      text += "; " + more.str();
    auto [it, fresh] = seen.try_emplace(text, remarks.size());
    if (fresh)
      remarks.emplace_back(text, 0);
    ++remarks[it->second].second;
  });
  auto module = parseSourceString<ModuleOp>(llvm::StringRef(stage00.data(), stage00.size()), ParserConfig(&context));
  if (!module)
    return fail(ExitCode::badInput, "stage 00 does not parse: {}", remarks.empty() ? "" : remarks.front().first);
  PassManager passes(&context);
  lm::FuseOptions options;
  options.quant = quant;
  options.remarks = true;
  lm::addFusePipeline(passes, options);
  if (failed(passes.run(*module)))
    return fail(ExitCode::internal, "the fusion passes failed on stage 00");
  std::string text;
  for (auto &[remark, count] : remarks)
    text += fmt::format("{:>5}x {}\n", count, remark);
  return text;
}

Result<std::string> printStage(std::string_view stage, const std::string &function, const std::string &tier) {
  MLIRContext context(MLIRContext::Threading::DISABLED);
  auto parsed = parseStage(context, stage, "the stage");
  if (!parsed)
    return propagate(parsed);
  ModuleOp module = **parsed;
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

Result<std::map<std::string, std::map<std::string, ScheduleEntry>>> readSchedules(std::string_view stage20) {
  MLIRContext context(MLIRContext::Threading::DISABLED);
  auto parsed = parseStage(context, stage20, "stage 20");
  if (!parsed)
    return propagate(parsed);
  ModuleOp module = **parsed;
  auto text = [](StringAttr attribute, const char *otherwise) {
    return attribute ? attribute.getValue().str() : otherwise;
  };
  std::map<std::string, std::map<std::string, ScheduleEntry>> schedules;
  for (auto tier : module.getOps<ModuleOp>())
    for (auto kernel : tier.getOps<func::FuncOp>())
      if (auto schedule = kernel->getAttrOfType<kern::ScheduleAttr>(kern::scheduleAttr); schedule && tier.getName())
        schedules[kernel.getName().str()][tier.getName()->str()] = {.key = {},
                                                                    .rows = schedule.getRows(),
                                                                    .columns = schedule.getColumns(),
                                                                    .unitBlock = schedule.getUnitBlock(),
                                                                    .amxRows = schedule.getAmxRows(),
                                                                    .library = text(schedule.getLibrary(), ""),
                                                                    .libraryRows = schedule.getLibraryRows(),
                                                                    .origin = text(schedule.getOrigin(), "edited")};
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
