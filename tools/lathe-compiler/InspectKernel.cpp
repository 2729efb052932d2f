//===- InspectKernel.cpp - lathe inspect M kernel NAME, and explain -----------===//
#include "compiler/CudaCodegen.h"
#include "compiler/Nvdisasm.h"
#include "compiler/inspect/CudaUsage.h"
#include "tools/lathe-compiler/Inspect.h"

#include <algorithm>

namespace lathe {
namespace {

using nlohmann::json;

std::string describe(const std::vector<ConfigPlace> &places, const std::vector<ConfigLine> &config) {
  std::string text;
  for (const ConfigPlace &place : places)
    text += (text.empty() ? "" : "; ") + describe(place, config);
  return text;
}

void printParts(const std::vector<FusedPart> &parts, const std::vector<ConfigLine> &config) {
  size_t op = 0, word = 0, pass = 0;
  for (const FusedPart &part : parts)
    op = std::max(op, part.op.size()), word = std::max(word, part.word.size()), pass = std::max(pass, part.pass.size());
  for (const FusedPart &part : parts) {
    std::string line = fmt::format("  {:<8}  {:<{}}  {:<{}}  ", part.role, part.op, op, part.word, word);
    if (pass)
      line += fmt::format("{:<{}}  ", part.pass, pass);
    line += describe(part.places, config);
    fmt::print("{}\n", line.substr(0, line.find_last_not_of(' ') + 1));
  }
}

json partsJson(const std::vector<FusedPart> &parts, const std::vector<ConfigLine> &config) {
  json all = json::array();
  for (const FusedPart &part : parts) {
    json keys = json::array();
    for (const ConfigPlace &place : part.places) {
      json key{{"key", place.key}, {"source", place.text()}};
      for (const ConfigLine &line : config)
        if (line.key == place.key)
          key["value"] = line.value, key["line"] = line.line;
      keys.push_back(key);
    }
    json entry{{"role", part.role}, {"op", part.op}, {"name", part.word}, {"config", keys}};
    if (!part.pass.empty())
      entry["pass"] = part.pass;
    all.push_back(entry);
  }
  return all;
}

json refusalsJson(const std::vector<Refusal> &refusals) {
  json all = json::array();
  for (const Refusal &refusal : refusals)
    all.push_back(
        {{"pass", refusal.pass}, {"name", refusal.word}, {"reason", refusal.reason}, {"count", refusal.count}});
  return all;
}

void printRefusals(const std::vector<Refusal> &refusals) {
  for (const Refusal &refusal : refusals)
    fmt::print("  {:>4}x {}, {}: {}\n", refusal.count, refusal.pass, refusal.word, refusal.reason);
}

void printHeader(const KernelFacts &facts, const std::string &tier) {
  const Kernel &k = *facts.kernel;
  fmt::print("{}: {}\n", k.symbol, k.provenance);
  fmt::print("  launches  {} a step, by {}; {} tiles\n", facts.launches, unitName(k.unit), k.tiles);
  fmt::print("  bytes     {} of weights, {} a tile; a row reads {} and writes {}", facts.weightBytes(), k.bytesPerTile,
             facts.readBytes, facts.writtenBytes);
  if (facts.appendedBytes)
    fmt::print(", and {} of keys and values", facts.appendedBytes);
  if (facts.positionBytes)
    fmt::print(", and reads {} of each position", facts.positionBytes);
  fmt::print("\n  flops     {} a {}{}, {} of them a tile", k.flopsPerUnit, k.unit == Unit::items ? "position" : "row",
             "", facts.flopsPerTile());
  if (facts.weightBytes())
    fmt::print("; {:.2f} a weight byte at one row", double(k.flopsPerUnit) / facts.weightBytes());
  fmt::print("\n");
  if (facts.inStages)
    fmt::print("  schedule  {}: {}\n", tier, scheduleText(facts.schedule));
  if (auto variant = k.variants.find(tier); variant != k.variants.end() && variant->second.forms.empty())
    fmt::print("  calls     at most {} units, {} bytes of scratch a worker\n", variant->second.unitBlock,
               variant->second.scratchBytes);
}

/// PTX is not kept: NVRTC makes it where it is there.
void printPtx(const std::string &name, const KernelCode &code) {
  std::string warning;
  auto ptx = compileForDevice({{.name = name, .text = code.text}}, "compute_80", warning);
  if (ptx)
    fmt::print("\n// PTX\n{}", ptx->front().image);
  else
    fmt::print(stderr, "no PTX: {}\n", ptx.error().message);
}

/// A cubin's instructions, where nvdisasm is there.
Result<void> printSass(const Inspection &inspection, const Kernel &kernel) {
  auto uses = cudaUses(inspection.text("kernels/usage.json"), inspection.plan(), kernel);
  if (!uses)
    return propagate(uses);
  for (const CudaUse &use : *uses)
    if (auto sass =
            disassembleCubin(inspection.text(fmt::format("kernels/{}/{}.cubin", use.architecture, kernel.symbol))))
      fmt::print("\n// SASS of {}\n{}", use.architecture, *sass);
    else
      fmt::print(stderr, "no SASS of {}: {}\n", use.architecture, sass.error().message);
  return {};
}

json kernelJson(const KernelFacts &facts, const Inspection &inspection, const std::string &tier) {
  const Kernel &k = *facts.kernel;
  return {{"name", k.symbol},
          {"tier", tier},
          {"launches", facts.launches},
          {"unit", unitName(k.unit)},
          {"tiles", k.tiles},
          {"weight_bytes", facts.weightBytes()},
          {"weight_bytes_per_tile", k.bytesPerTile},
          {"read_bytes_per_row", facts.readBytes},
          {"written_bytes_per_row", facts.writtenBytes},
          {"appended_kv_bytes_per_row", facts.appendedBytes},
          {"kv_bytes_per_position", facts.positionBytes},
          {"flops_per_unit", k.flopsPerUnit},
          {"flops_per_tile", facts.flopsPerTile()},
          {"schedule", facts.schedule.tile()},
          {"schedule_reason", facts.why},
          {"provenance", partsJson(facts.parts, inspection.config())}};
}

} // namespace

Result<void> inspectKernel(Inspection &inspection, const InspectOptions &options) {
  auto kernel = inspection.kernel(options.name);
  auto tier = inspection.tier(options.tier);
  if (!kernel || !tier)
    return kernel ? propagate(tier) : propagate(kernel);
  auto facts = inspection.facts(**kernel, tier->name);
  if (!facts)
    return propagate(facts);
  auto code = inspection.code(**kernel, tier->name);
  if (!code)
    return propagate(code);
  std::vector<std::pair<std::string, std::string>> stages;
  std::string planned = plannedName(inspection.plan(), options.name);
  for (auto [number, name, scope] :
       {std::tuple{"10", planned, std::string()}, std::tuple{"20", options.name, tier->name}}) {
    if (!facts->inStages)
      break;
    auto module = inspection.stage(number);
    if (!module)
      return propagate(module);
    auto text = printFunction(*module, name, scope);
    if (!text)
      return propagate(text);
    stages.emplace_back(number, std::move(*text));
  }
  if (options.json) {
    json all = kernelJson(*facts, inspection, tier->name);
    for (auto &[number, text] : stages)
      all["stage_" + number] = text;
    all["code"] = code->text;
    all["code_notes"] = code->notes;
    printTable(all);
    return {};
  }
  printHeader(*facts, tier->name);
  if (facts->inStages)
    fmt::print("\nprovenance\n");
  printParts(facts->parts, inspection.config());
  for (auto &[number, text] : stages)
    fmt::print("\n// stage {}\n{}", number, text);
  fmt::print("\n// {}\n", code->member);
  for (const std::string &note : code->notes)
    fmt::print("// {}\n", note);
  fmt::print("{}", code->text);
  if (!inspection.forCuda())
    return {};
  printPtx(options.name, *code);
  return printSass(inspection, **kernel);
}

Result<void> inspectExplain(Inspection &inspection, const InspectOptions &options) {
  auto tier = inspection.tier(options.tier);
  if (!tier)
    return propagate(tier);
  auto explanation = inspection.explanation();
  if (!explanation)
    return propagate(explanation);
  if (!options.json && !tier->why.empty())
    fmt::print("schedules of {}: {}\n\n", tier->name, tier->why);
  json kernels = json::array();
  for (const KernelExplanation &entry : explanation->kernels) {
    // A kernel of stage 00 that an edited stage no longer has is explained too, but for its schedule.
    KernelFacts facts;
    if (auto kernel = inspection.kernel(entry.name)) {
      auto found = inspection.facts(**kernel, tier->name);
      if (!found)
        return propagate(found);
      facts = std::move(*found);
    }
    if (options.json) {
      kernels.push_back({{"name", entry.name},
                         {"regions", entry.regions},
                         {"schedule", facts.kernel ? json(facts.schedule.tile()) : json()},
                         {"schedule_reason", facts.why},
                         {"fused", partsJson(entry.parts, inspection.config())},
                         {"refused", refusalsJson(entry.refusals)}});
      continue;
    }
    fmt::print("{}{}: {} of the step's regions\n",
               kernels.empty() && &entry == &explanation->kernels.front() ? "" : "\n", entry.name, entry.regions);
    if (facts.kernel)
      fmt::print("  schedule  {}\n            {}\n", facts.schedule.tile(), facts.why);
    fmt::print("  fused, and by which pass\n");
    printParts(entry.parts, inspection.config());
    if (!entry.refusals.empty())
      fmt::print("  refused\n");
    printRefusals(entry.refusals);
  }
  if (options.json) {
    printTable({{"tier", tier->name},
                {"tier_reason", tier->why},
                {"kernels", kernels},
                {"passes", explanation->passes},
                {"others", refusalsJson(explanation->others)}});
    return {};
  }
  if (!explanation->others.empty())
    fmt::print("\nin no kernel\n");
  printRefusals(explanation->others);
  fmt::print("\npasses\n");
  for (const std::string &pass : explanation->passes)
    fmt::print("  {}\n", pass);
  return {};
}

} // namespace lathe
