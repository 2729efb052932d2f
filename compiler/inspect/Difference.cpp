//===- Difference.cpp - what differs between two artifacts --------------------===//
#include "compiler/inspect/Difference.h"

#include "compiler/Disassembly.h"
#include "compiler/inspect/CudaUsage.h"

#include "llvm/ADT/StringRef.h"
#include <xxhash.h>

#include <algorithm>
#include <map>

namespace lathe {
namespace {

/// Names and values of the one and of the other.
using Facts = std::map<std::string, std::string>;

void addChanges(Difference &difference, const std::string &section, const Facts &before, const Facts &after) {
  for (const auto &[name, value] : before) {
    auto other = after.find(name);
    if (other == after.end() || other->second != value)
      difference.changes.push_back({section, name, value, other == after.end() ? "" : other->second});
  }
  for (const auto &[name, value] : after)
    if (!before.contains(name))
      difference.changes.push_back({section, name, "", value});
}

Facts modelFacts(const Inspection &inspection) {
  const Manifest &m = inspection.artifact().manifest();
  return {{"compiler", m.compiler},
          {"model", m.model},
          {"target", m.target},
          {"weights", m.quant},
          {"code for", fmt::format("{}", fmt::join(m.tiers, ", "))},
          {"parameters", std::to_string(m.parameters)},
          {"tokenizer", inspection.text("tokenizer.json").empty()
                            ? "none"
                            : fmt::format("{:016x}", XXH3_64bits(inspection.text("tokenizer.json").data(),
                                                                 inspection.text("tokenizer.json").size()))}};
}

Facts configFacts(const Inspection &inspection) {
  Facts facts;
  for (const ConfigLine &line : inspection.config())
    facts[line.key] = line.value;
  return facts;
}

Facts planFacts(const Inspection &inspection) {
  const Plan &plan = inspection.plan();
  std::string sequence;
  int64_t barriers = 0;
  for (const Launch &launch : plan.launches) {
    sequence += plan.kernels[launch.kernel].symbol + " ";
    for (int64_t argument : launch.args)
      sequence += plan.buffers[argument].name + " ";
    barriers += launch.barrier;
  }
  return {
      {"context", std::to_string(plan.context)},
      {"launches", std::to_string(plan.launches.size())},
      {"order of launches and their arguments", fmt::format("{:016x}", XXH3_64bits(sequence.data(), sequence.size()))},
      {"barriers", std::to_string(barriers)},
      {"edges", std::to_string(plan.edges.size())},
      {"rows of an attention block", std::to_string(plan.attentionRows)},
      {"positions of an attention chunk", std::to_string(plan.chunkTokens)}};
}

Facts memoryFacts(const Inspection &inspection) {
  const Plan &plan = inspection.plan();
  Facts facts{{"weights", fmt::format("{} bytes", inspection.weightBytes())},
              {"keys and values", fmt::format("{}, {} bytes a page of {}", plan.kvElement,
                                              plan.layers * plan.pageBytes(), plan.pageTokens)},
              {"logits", fmt::format("{} bytes a logit row", plan.logitStride * 4)}};
  for (size_t s = 0; s < plan.slots.size(); ++s)
    facts[fmt::format("slot {}", s)] =
        fmt::format("{} bytes a unit of {}", plan.slots[s].bytesPerUnit, unitName(plan.slots[s].unit));
  return facts;
}

Facts weightFacts(const Inspection &inspection) {
  Facts facts;
  for (const PackedWeight &weight : inspection.artifact().manifest().weights)
    if (auto bytes = inspection.artifact().weight(weight.name))
      facts[weight.name] = fmt::format("{}, {} bytes, hash {:016x}", weight.layout, weight.bytes,
                                       XXH3_64bits(bytes->data(), bytes->size()));
  return facts;
}

/// A tier's code without what says where something lies.
Result<std::string> placelessCode(const Inspection &inspection, const Kernel &kernel, const std::string &tier) {
  if (inspection.forCuda()) {
    auto code = inspection.code(kernel, tier);
    return code ? Result<std::string>(code->text) : propagate(code);
  }
  auto instructions = disassemble(inspection.text("kernels/" + tier + ".so"), kernel.symbol, tier);
  if (!instructions)
    return propagate(instructions);
  std::string text;
  for (const Instruction &instruction : *instructions) {
    llvm::StringRef line = instruction.target ? llvm::StringRef(instruction.text).split(' ').first : instruction.text;
    auto [head, tail] = line.split("[rip ");
    text += (tail.empty() ? line.str() : (head + "[rip]" + tail.substr(tail.find(']') + 1)).str()) + "\n";
  }
  return text;
}

class KernelComparison {
public:
  KernelComparison(Inspection &before, Inspection &after, Difference &difference)
      : before(before), after(after), difference(difference) {}

  Result<void> run() {
    Facts gone, added;
    for (const Kernel &kernel : before.plan().kernels)
      if (!after.kernel(kernel.symbol))
        gone[kernel.symbol] = kernel.provenance;
    for (const Kernel &kernel : after.plan().kernels)
      if (!before.kernel(kernel.symbol))
        added[kernel.symbol] = kernel.provenance;
    addChanges(difference, "kernels", gone, added);
    for (const Kernel &kernel : before.plan().kernels)
      if (auto other = after.kernel(kernel.symbol))
        if (auto compared = compareKernel(kernel, **other); !compared)
          return compared;
    return {};
  }

private:
  std::vector<std::string> commonTiers() const {
    if (before.forCuda() != after.forCuda())
      return {};
    std::vector<std::string> common;
    if (before.forCuda())
      return {before.tier("")->name};
    for (const std::string &tier : before.artifact().manifest().tiers)
      if (after.tier(tier))
        common.push_back(tier);
    return common;
  }

  Result<void> compareKernel(const Kernel &one, const Kernel &other) {
    addChanges(difference, "kernels", factsOf(before, one), factsOf(after, other));
    if (auto compared = compareStage(one.symbol, "10", ""); !compared)
      return compared;
    for (const std::string &tier : commonTiers()) {
      auto schedules = std::pair(before.facts(one, tier), after.facts(other, tier));
      if (!schedules.first || !schedules.second)
        return schedules.first ? propagate(schedules.second) : propagate(schedules.first);
      addChanges(difference, "kernels",
                 {{one.symbol + ": schedule of " + tier, scheduleText(schedules.first->schedule)}},
                 {{one.symbol + ": schedule of " + tier, scheduleText(schedules.second->schedule)}});
      if (auto compared = compareStage(one.symbol, "20", tier); !compared)
        return compared;
      auto code = std::pair(placelessCode(before, one, tier), placelessCode(after, other, tier));
      if (!code.first || !code.second)
        return code.first ? propagate(code.second) : propagate(code.first);
      addText(one.symbol, "code of " + tier, *code.first, *code.second);
    }
    return {};
  }

  static Facts factsOf(const Inspection &inspection, const Kernel &kernel) {
    const Plan &plan = inspection.plan();
    std::string planned = plannedName(plan, kernel.symbol);
    int64_t launches = llvm::count_if(
        plan.launches, [&](const Launch &launch) { return plan.kernels[launch.kernel].symbol == planned; });
    return {{kernel.symbol + ": ops", kernel.provenance},
            {kernel.symbol + ": unit", unitName(kernel.unit)},
            {kernel.symbol + ": launches", std::to_string(launches)},
            {kernel.symbol + ": tiles", std::to_string(kernel.tiles)},
            {kernel.symbol + ": weight bytes", std::to_string(kernel.tiles * kernel.bytesPerTile)},
            {kernel.symbol + ": flops a unit", std::to_string(kernel.flopsPerUnit)}};
  }

  /// An edited stage may lack the function of one: then there is no text to compare.
  Result<void> compareStage(const std::string &kernel, const std::string &number, const std::string &tier) {
    auto one = before.stage(number), other = after.stage(number);
    if (!one || !other)
      return one ? propagate(other) : propagate(one);
    auto left = printFunction(*one, kernel, tier), right = printFunction(*other, kernel, tier);
    addText(kernel, "stage " + number + (tier.empty() ? "" : " of " + tier), left ? *left : "", right ? *right : "");
    return {};
  }

  void addText(const std::string &kernel, std::string what, const std::string &one, const std::string &other) {
    if (one != other)
      difference.texts.push_back({kernel, std::move(what), unifiedDiff(one, other)});
  }

  Inspection &before, &after;
  Difference &difference;
};

} // namespace

Result<Difference> compare(Inspection &before, Inspection &after) {
  Difference difference;
  addChanges(difference, "model", modelFacts(before), modelFacts(after));
  addChanges(difference, "config", configFacts(before), configFacts(after));
  addChanges(difference, "plan", planFacts(before), planFacts(after));
  addChanges(difference, "memory", memoryFacts(before), memoryFacts(after));
  if (auto compared = KernelComparison(before, after, difference).run(); !compared)
    return propagate(compared);
  addChanges(difference, "weights", weightFacts(before), weightFacts(after));
  return difference;
}

} // namespace lathe
