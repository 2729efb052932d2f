//===- PlanWriter.cpp - the host program as a launch table -------------------===//
#include "compiler/PlanWriter.h"

#include "compiler/Packing.h"
#include "compiler/SampleKernel.h"
#include "passes/kern/KernPasses.h"
#include "runtime/CudaPlan.h"

#include "llvm/ADT/MapVector.h"

#include <set>

using namespace mlir;

namespace lathe {

using namespace kern;

static func::FuncOp stepOf(ModuleOp module) { return module.lookupSymbol<func::FuncOp>("step"); }

std::vector<WeightOp> packedWeights(ModuleOp module) {
  std::vector<WeightOp> weights;
  std::set<std::string> seen;
  for (auto launch : stepOf(module).getOps<LaunchOp>())
    for (Value operand : launch.getOperands())
      if (auto weight = operand.getDefiningOp<WeightOp>(); weight && seen.insert(packedName(weight)).second)
        weights.push_back(weight);
  return weights;
}

namespace {

lathe::Unit planUnit(kern::Unit unit) {
  switch (unit) {
  case kern::Unit::rows:
    return lathe::Unit::rows;
  case kern::Unit::logit_rows:
    return lathe::Unit::logitRows;
  case kern::Unit::items:
    return lathe::Unit::items;
  case kern::Unit::partials:
    return lathe::Unit::partials;
  }
  return lathe::Unit::rows;
}

class PlanBuilder {
public:
  PlanBuilder(ModuleOp module, const PlanCode &code)
      : module(module), code(code), cuda(module.lookupSymbol<ModuleOp>(cudaTarget)) {}

  Result<Plan> build(int64_t vocab, int64_t context) {
    plan.vocab = vocab;
    plan.context = context;
    for (auto launch : stepOf(module).getOps<LaunchOp>()) {
      Launch entry;
      auto kernel = kernelOf(launch.getKernel());
      if (!kernel)
        return propagate(kernel);
      entry.kernel = *kernel;
      for (Value operand : launch.getOperands())
        entry.args.push_back(bufferOf(operand));
      entry.barrier = !plan.launches.empty();
      plan.launches.push_back(std::move(entry));
    }
    if (plan.logitStride == 0)
      return fail(ExitCode::badInput, "the step gives no logits: expected a kern.buffer logits in stage 20");
    if (cuda)
      if (auto right = completeForCuda(); !right)
        return propagate(right);
    return plan;
  }

private:
  Result<int64_t> kernelOf(StringRef name) {
    auto [it, inserted] = kernels.insert({name, plan.kernels.size()});
    if (!inserted)
      return it->second;
    Kernel entry;
    entry.symbol = name.str();
    for (auto tier : module.getOps<ModuleOp>()) {
      auto function = tier.lookupSymbol<func::FuncOp>(name);
      auto compiled = code.tiers.find(tier.getName()->str());
      if (!function || (tier != cuda && compiled == code.tiers.end()))
        return fail(ExitCode::badInput, "kernel '{}' is launched but tier {} has no code for it", name.str(),
                    tier.getName()->str());
      auto integer = [&](StringRef attribute) { return function->getAttrOfType<IntegerAttr>(attribute).getInt(); };
      auto unit = function->getAttrOfType<kern::UnitAttr>(unitAttr).getValue();
      auto schedule = function->getAttrOfType<ScheduleAttr>(scheduleAttr);
      entry.unit = planUnit(unit);
      entry.tiles = integer(tilesAttr);
      entry.bytesPerTile = integer(tileBytesAttr);
      entry.flopsPerUnit = integer(unitFlopsAttr);
      entry.provenance = function->getAttrOfType<StringAttr>(fusedAttr).getValue().str();
      bool attends = unit == kern::Unit::items;
      if (attends)
        plan.attentionRows = schedule.getUnitBlock(), plan.chunkTokens = chunkTokens;
      int64_t unitBlock = attends ? 1 : schedule.getUnitBlock();
      if (tier == cuda) {
        std::vector<KernelForm> forms = formsOf(function, unitBlock);
        for (const std::string &architecture : code.architectures)
          entry.variants[architecture].forms = forms;
        continue;
      }
      KernelVariant &variant = entry.variants[tier.getName()->str()];
      variant = {unitBlock, compiled->second.scratchBytes.at(name.str())};
      if (auto library = compiled->second.libraries.find(name.str()); library != compiled->second.libraries.end())
        variant.library = library->second;
    }
    plan.kernels.push_back(std::move(entry));
    return it->second;
  }

  /// A kernel of CUDA, and those that do the same for more rows, which end what the one before is launched for.
  std::vector<KernelForm> formsOf(func::FuncOp first, int64_t unitBlock) {
    std::vector<std::pair<int64_t, KernelForm>> forms; ///< and for how many units at least
    for (auto function : cuda.getOps<func::FuncOp>()) {
      auto of = function->getAttrOfType<StringAttr>(formOfAttr);
      if (function != first && (!of || of.getValue() != first.getName()))
        continue;
      auto schedule = function->getAttrOfType<ScheduleAttr>(scheduleAttr);
      auto tiles = function->getAttrOfType<IntegerAttr>(tilesPerBlockAttr);
      KernelForm form{.symbol = function.getName().str(),
                      .unitsPerBlock = function == first ? unitBlock : schedule.getUnitBlock(),
                      .tilesPerBlock = tiles ? tiles.getInt() : 1,
                      .threads = blockThreads,
                      .sharedBytes = code.shared.at(function.getName().str())};
      function->walk([&](DependencyWaitOp) { form.waits = true; });
      function->walk([&](DependencyTriggerOp) { form.triggers = true; });
      forms.emplace_back(schedule.getLeastRows(), std::move(form));
    }
    llvm::stable_sort(forms, llvm::less_first());
    std::vector<KernelForm> sorted;
    for (auto [i, form] : llvm::enumerate(forms)) {
      if (i + 1 < forms.size())
        form.second.mostUnits = forms[i + 1].first - 1;
      sorted.push_back(std::move(form.second));
    }
    return sorted;
  }

  /// What kernels expect of their arguments, and what orders their launches; and the proof that it does.
  Result<void> completeForCuda() {
    for (const Launch &launch : plan.launches) {
      Kernel &kernel = plan.kernels[launch.kernel];
      if (!kernel.parameters.empty())
        continue;
      auto function = cuda.lookupSymbol<func::FuncOp>(kernel.symbol);
      for (auto [argument, number] : llvm::zip(function.getArguments(), launch.args))
        kernel.parameters.push_back(parameterOf(argument, plan.buffers[number]));
      function.walk([&](ArriveOp) { kernel.counters = true; });
      function.walk([&](BatchOp op) { kernel.feeds |= op.getField() == Field::token_ids; });
    }
    addSampleLaunch(plan, code.architectures, code.shared.at(std::string(sampleKernel)));
    chainLaunches(plan);
    auto weightBytes = [&](const std::string &tensor) -> std::optional<int64_t> {
      for (auto weight : stepOf(module).getOps<WeightOp>())
        if (packedName(weight) == tensor)
          return packedBytes(weight);
      return std::nullopt;
    };
    // More units than a step has by default; the runtime asks again for those that it may have.
    int64_t rows = std::min<int64_t>(plan.context, 4096);
    for (const std::string &architecture : code.architectures)
      if (auto right = verifyCudaPlan(plan, architecture, {rows, rows, rows, rows}, weightBytes); !right)
        return right;
    return {};
  }

  lathe::Parameter parameterOf(Value argument, const Buffer &buffer) {
    auto type = cast<MemRefType>(argument.getType());
    auto word = argument.getLoc()->findInstanceOf<NameLoc>();
    lathe::Parameter parameter{.name = word ? word.getName().str() : buffer.name};
    int64_t elements = 1;
    for (int64_t size : type.getShape().drop_front(type.isDynamicDim(0)))
      elements *= size;
    parameter.bytes = elements * type.getElementTypeBitWidth() / 8;
    if (isStoredTo(argument)) // pages keep what is not appended
      parameter.access = buffer.kind == Buffer::Kind::activation || buffer.kind == Buffer::Kind::logits
                             ? Access::write
                             : Access::update;
    if (buffer.kind == Buffer::Kind::activation)
      parameter.unit = plan.slots[buffer.slot].unit;
    else if (buffer.kind == Buffer::Kind::logits)
      parameter.unit = lathe::Unit::logitRows;
    return parameter;
  }

  int64_t slotOf(int64_t number, lathe::Unit unit, int64_t bytes) {
    if (static_cast<int64_t>(plan.slots.size()) <= number)
      plan.slots.resize(number + 1);
    Slot &slot = plan.slots[number];
    slot.unit = unit;
    slot.bytesPerUnit = std::max(slot.bytesPerUnit, bytes);
    return number;
  }

  int64_t bufferOf(Value value) {
    auto [it, inserted] = buffers.insert({value, plan.buffers.size()});
    if (!inserted)
      return it->second;
    auto type = cast<MemRefType>(value.getType());
    Buffer entry;
    if (auto weight = value.getDefiningOp<WeightOp>()) {
      entry.kind = Buffer::Kind::weight;
      entry.name = entry.tensor = packedName(weight);
    } else if (auto kv = value.getDefiningOp<KvOp>()) {
      entry.kind = kv.getKeys() ? Buffer::Kind::key : Buffer::Kind::value;
      entry.layer = kv.getLayer();
      entry.name = "kv." + std::to_string(entry.layer) + (kv.getKeys() ? ".keys" : ".values");
      plan.layers = std::max(plan.layers, entry.layer + 1);
      bool int8 = type.getElementType().isInteger(8);
      plan.kvHeads = type.getDimSize(1);
      bool positionsLast = (cuda && int8) || static_cast<bool>(kv.getKeys()) != static_cast<bool>(cuda);
      plan.dimPadded = type.getDimSize(positionsLast ? 2 : 3);
      plan.pageTokens = type.getDimSize(positionsLast ? 3 : 2);
      if (int8 && kv.getKeys())
        plan.dimPadded = cuda ? plan.dimPadded - scaleBytes : (plan.dimPadded - scaleQuads) * 4;
      else if (int8 && !cuda)
        plan.pageTokens *= 4;
      plan.kvElement = int8 ? "int8" : type.getElementType().isF32() ? "f32" : "bf16";
    } else if (auto buffer = value.getDefiningOp<BufferOp>()) {
      auto word = buffer.getLoc()->findInstanceOf<NameLoc>(); // the model's word for what the kernel makes
      entry.name = (word ? word.getName().str() : "buffer") + "." + std::to_string(plan.buffers.size());
      if (buffer.getLogits()) {
        entry.kind = Buffer::Kind::logits;
        plan.logitStride = type.getDimSize(1);
      } else {
        entry.kind = Buffer::Kind::activation;
        entry.slot = slotOf(*buffer.getSlot(), planUnit(buffer.getUnit()), type.getDimSize(1) * 4);
      }
    }
    plan.buffers.push_back(std::move(entry));
    return it->second;
  }

  ModuleOp module;
  const PlanCode &code;
  ModuleOp cuda; ///< the kernels for GPUs; null: for CPUs
  Plan plan;
  llvm::MapVector<StringRef, int64_t> kernels;
  llvm::DenseMap<Value, int64_t> buffers;
};

} // namespace

Result<Plan> writePlan(ModuleOp module, const PlanCode &code, int64_t vocab, int64_t context) {
  return PlanBuilder(module, code).build(vocab, context);
}

} // namespace lathe
