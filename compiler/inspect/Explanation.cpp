//===- Explanation.cpp - what was fused, what was not, and why ----------------===//
#include "compiler/inspect/Explanation.h"

#include "compiler/Target.h"
#include "passes/lm/FusionUtils.h"
#include "passes/lm/LmPasses.h"

#include "mlir/IR/Diagnostics.h"
#include "mlir/Pass/PassInstrumentation.h"
#include "mlir/Pass/PassManager.h"

#include <algorithm>
#include <map>
#include <set>

using namespace mlir;

namespace lathe {
namespace {

/// A location with the number of its op: inside the name, which passes look at.
Location numbered(Location location, int64_t number) {
  MLIRContext *context = location.getContext();
  auto metadata = IntegerAttr::get(IntegerType::get(context, 64), number);
  if (auto named = dyn_cast<NameLoc>(location))
    return NameLoc::get(named.getName(), FusedLoc::get(context, named.getChildLoc(), metadata));
  return FusedLoc::get(context, location, metadata);
}

std::vector<int64_t> numbersOf(Location location) {
  std::vector<int64_t> numbers;
  location->walk([&](Location inner) {
    if (auto fused = dyn_cast<FusedLoc>(inner))
      if (auto number = dyn_cast_or_null<IntegerAttr>(fused.getMetadata()))
        numbers.push_back(number.getInt());
    return WalkResult::advance();
  });
  return numbers;
}

/// The model's word, the same in all layers.
std::string wordOf(Location location) {
  auto named = dyn_cast<NameLoc>(location);
  std::string word = named ? named.getName().str() : "";
  if (word.starts_with("kv"))
    llvm::erase_if(word, llvm::isDigit);
  return word;
}

/// Follows the passes: who put an op into a region, and which regions become kernels.
struct Observer : PassInstrumentation {
  void runBeforePass(Pass *pass, Operation *op) override {
    if (pass->getArgument().empty())
      return;
    current = pass->getArgument().str();
    if (auto module = dyn_cast<ModuleOp>(op); module && current == "lm-outline-kernels")
      module.walk([&](lm::FusedOp region) {
        auto &[locations, numbers] = regions[region.getLoc().getAsOpaquePointer()];
        for (Operation &inner : region.getBody().front().without_terminator()) {
          locations.insert(inner.getLoc().getAsOpaquePointer());
          for (int64_t number : numbersOf(inner.getLoc()))
            numbers.insert(number);
        }
      });
  }

  void runAfterPass(Pass *pass, Operation *op) override {
    if (pass->getArgument().empty() || isa<ModuleOp>(op)) // outlining and what follows put nothing into a region
      return;
    op->walk([&](lm::FusedOp region) {
      for (Operation &inner : region.getBody().front())
        absorbedBy.try_emplace(inner.getLoc().getAsOpaquePointer(), current);
    });
  }

  std::string passOf(Location location) const {
    auto pass = absorbedBy.find(location.getAsOpaquePointer());
    if (auto named = dyn_cast<NameLoc>(location); pass == absorbedBy.end() && named)
      pass = absorbedBy.find(
          named.getChildLoc().getAsOpaquePointer()); // outlining puts a name without the layer's number around a name
    return pass == absorbedBy.end() ? "" : pass->second;
  }

  std::string current;
  llvm::DenseMap<const void *, std::string> absorbedBy;
  struct Ops {
    std::set<const void *> locations;
    std::set<int64_t> numbers;
  };
  llvm::DenseMap<const void *, Ops> regions; ///< what is in a region, by its location
};

struct Remark {
  std::string pass;
  Location location;
  std::string text;
};

void count(std::vector<Refusal> &refusals, const Remark &remark) {
  Refusal refusal{.pass = remark.pass, .word = wordOf(remark.location), .reason = remark.text, .count = 1};
  for (Refusal &known : refusals)
    if (known.pass == refusal.pass && known.word == refusal.word && known.reason == refusal.reason) {
      ++known.count;
      return;
    }
  refusals.push_back(std::move(refusal));
}

} // namespace

std::vector<FusedPart> partsOf(lm::FusedOp region) {
  std::vector<FusedPart> parts;
  Operation *anchor = lm::anchorOf(region);
  for (Operation &op : region.getBody().front().without_terminator())
    parts.push_back({.role = !anchor                      ? "body"
                             : &op == anchor              ? "anchor"
                             : op.isBeforeInBlock(anchor) ? "prologue"
                                                          : "epilogue",
                     .op = op.getName().getStringRef().str(),
                     .word = wordOf(op.getLoc()),
                     .pass = "",
                     .places = placesOf(op.getLoc())});
  return parts;
}

Result<Explanation> explainFusion(std::string_view stage00, const std::string &quant, const std::string &family) {
  MLIRContext context(MLIRContext::Threading::DISABLED);
  auto parsed = parseStage(context, stage00, "stage 00");
  if (!parsed)
    return propagate(parsed);
  ModuleOp module = **parsed;
  int64_t number = 0;
  module.walk([&](Operation *op) {
    if (!isa<ModuleOp, func::FuncOp>(op))
      op->setLoc(numbered(op->getLoc(), number++));
  });

  auto owned = std::make_unique<Observer>();
  Observer &observer = *owned;
  std::vector<Remark> remarks;
  ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) {
    std::string text = diagnostic.str();
    for (Diagnostic &more : diagnostic.getNotes())
      text += "; " + more.str();
    remarks.push_back({observer.current, diagnostic.getLocation(), std::move(text)});
  });
  PassManager passes(&context);
  passes.addInstrumentation(std::move(owned));
  lm::FuseOptions options;
  options.quant = quant;
  options.floatInputs = hasFloatInputs(family);
  options.remarks = true;
  lm::addFusePipeline(passes, options);
  if (failed(passes.run(module)))
    return fail(ExitCode::internal, "the fusion passes failed on stage 00: {}",
                remarks.empty() ? "none says why" : remarks.back().text);

  Explanation explanation;
  std::map<std::string, size_t> places;
  std::map<const void *, std::set<std::string>> kernelsAt; // by the location of an op
  std::map<int64_t, std::set<std::string>> kernelsOf;      // by its number
  for (auto function : module.getOps<func::FuncOp>())
    for (auto region : function.getOps<lm::FusedOp>()) {
      places[function.getName().str()] = explanation.kernels.size();
      explanation.kernels.push_back({.name = function.getName().str(), .parts = partsOf(region)});
      auto part = explanation.kernels.back().parts.begin();
      for (Operation &op : region.getBody().front().without_terminator())
        (part++)->pass = observer.passOf(op.getLoc());
    }
  module.walk([&](func::CallOp call) {
    auto kernel = places.find(call.getCallee().str());
    if (kernel == places.end())
      return;
    ++explanation.kernels[kernel->second].regions;
    Observer::Ops ops = observer.regions.lookup(call.getLoc().getAsOpaquePointer());
    for (const void *location : ops.locations)
      kernelsAt[location].insert(kernel->first);
    for (int64_t op : ops.numbers)
      kernelsOf[op].insert(kernel->first);
  });
  for (const Remark &remark : remarks) {
    std::vector<int64_t> numbers = numbersOf(remark.location);
    if (numbers.empty()) { // of the step: what a pass did
      explanation.passes.push_back(remark.text);
      continue;
    }
    std::set<std::string> kernels = kernelsAt[remark.location.getAsOpaquePointer()];
    // What an op was merged into has its number, at another place.
    if (kernels.empty())
      for (int64_t op : numbers)
        kernels.insert(kernelsOf[op].begin(), kernelsOf[op].end());
    for (const std::string &kernel : kernels)
      count(explanation.kernels[places[kernel]].refusals, remark);
    if (kernels.empty())
      count(explanation.others, remark);
  }
  return explanation;
}

std::string explainSchedule(const ScheduleEntry &schedule, const ScheduleKey &key) {
  if (schedule.origin.starts_with("measured"))
    return schedule.origin + ": the entry of " + key.text();
  if (schedule.origin.starts_with("default"))
    return schedule.origin + (key.n ? ": no table has an entry for " : ": the one for ") + key.text();
  return schedule.origin + ": stage 20 was edited";
}

} // namespace lathe
