//===- Inspect.cpp - lathe inspect ---------------------------------------------===//
#include "tools/lathe-compiler/Inspect.h"
#include "compiler/Disassembly.h"
#include "compiler/Explain.h"
#include "runtime/Artifact.h"
#include "runtime/Plan.h"
#include "tools/lathe-compiler/Commands.h"

#include <nlohmann/json.hpp>

namespace lathe {

namespace {

struct InspectOptions {
  std::string artifact, what = "summary", name, tier;
  bool verify = false, json = false;
};

std::string_view textOf(const Artifact &artifact, std::string_view name) {
  auto bytes = artifact.member(name);
  return bytes ? std::string_view(reinterpret_cast<const char *>(bytes->data()), bytes->size()) : std::string_view();
}

const char *unitName(Unit unit) {
  return unit == Unit::rows ? "rows" : unit == Unit::logitRows ? "logit rows" : "attention items";
}

int64_t launchesOf(const Plan &plan, int64_t kernel) {
  int64_t count = 0;
  for (const Launch &launch : plan.launches)
    count += launch.kernel == kernel;
  return count;
}

void printJson(const nlohmann::json &json) { fmt::print("{}\n", json.dump(2)); }

Result<void> summary(const Artifact &artifact, const Plan &plan, const InspectOptions &options) {
  const Manifest &m = artifact.manifest();
  uint64_t weightBytes = 0;
  for (const PackedWeight &weight : m.weights)
    weightBytes += weight.bytes;
  int64_t pages = (plan.context + plan.pageTokens - 1) / plan.pageTokens,
          kvBytes = plan.layers * plan.pageBytes() * pages;
  if (options.json) {
    nlohmann::json members = nlohmann::json::array();
    for (const Member &member : artifact.members())
      members.push_back({{"name", member.name}, {"bytes", member.bytes}});
    printJson({{"model", m.model},
               {"source", m.source},
               {"compiler", m.compiler},
               {"target", m.target},
               {"quant", m.quant},
               {"tiers", m.tiers},
               {"parameters", m.parameters},
               {"context", m.context},
               {"kernels", plan.kernels.size()},
               {"launches", plan.launches.size()},
               {"weight_bytes", weightBytes},
               {"kv_bytes", kvBytes},
               {"kv_element", plan.kvElement},
               {"members", members}});
    return {};
  }
  fmt::print("model       {} (from {})\ncompiler    {}, artifact version {}\ntarget      {}, {}; tiers", m.model,
             m.source, m.compiler, m.artifactVersion, m.target, m.quant);
  for (const std::string &tier : m.tiers)
    fmt::print(" {}", tier);
  fmt::print("\nparameters  {}\nkernels     {}, {} launches a step\nweights     {} bytes in {} tensors\nKV          {} "
             "bytes at the context of {} ({}, pages of {})\ntokenizer   {}\n\nmembers\n",
             m.parameters, plan.kernels.size(), plan.launches.size(), weightBytes, m.weights.size(), kvBytes,
             plan.context, plan.kvElement, plan.pageTokens, artifact.member("tokenizer.json") ? "yes" : "none");
  for (const Member &member : artifact.members())
    fmt::print("  {:>12}  {}\n", member.bytes, member.name);
  return {};
}

/// The tier that --cpu names, else the best of the artifact.
Result<std::string> tierOf(const Artifact &artifact, const InspectOptions &options) {
  const std::vector<std::string> &tiers = artifact.manifest().tiers;
  if (options.tier.empty() && !tiers.empty())
    return tiers.front();
  for (const std::string &tier : tiers)
    if (tier == options.tier)
      return tier;
  return fail(ExitCode::usage, "--cpu {}: the artifact has code for {}", options.tier, fmt::join(tiers, ", "));
}

std::string scheduleText(const ScheduleEntry &schedule) {
  return fmt::format("{} ({})", schedule.tile(), schedule.origin);
}

Result<void> kernels(const Artifact &artifact, const Plan &plan, const InspectOptions &options) {
  if (artifact.manifest().target == "cuda")
    return inspectCudaKernels(artifact, plan, options.json);
  auto schedules = readSchedules(textOf(artifact, "stages/20-kern.mlir"));
  if (!schedules)
    return propagate(schedules);
  auto tier = tierOf(artifact, options);
  if (!tier)
    return propagate(tier);
  if (options.json) {
    nlohmann::json all = nlohmann::json::array();
    for (size_t i = 0; i < plan.kernels.size(); ++i) {
      const Kernel &k = plan.kernels[i];
      nlohmann::json variants;
      for (auto &[tier, variant] : k.variants) {
        const ScheduleEntry &schedule = (*schedules)[k.symbol][tier];
        variants[tier] = {{"unit_block", variant.unitBlock}, {"scratch_bytes", variant.scratchBytes},
                          {"rows", schedule.rows},           {"columns", schedule.columns},
                          {"amx_rows", schedule.amxRows},    {"schedule", schedule.origin}};
        if (!schedule.library.empty())
          variants[tier]["library"] = schedule.library, variants[tier]["library_rows"] = schedule.libraryRows;
      }
      all.push_back({{"name", k.symbol},
                     {"launches", launchesOf(plan, i)},
                     {"unit", unitName(k.unit)},
                     {"tiles", k.tiles},
                     {"weight_bytes", k.tiles * k.bytesPerTile},
                     {"flops_per_unit", k.flopsPerUnit},
                     {"fused", k.provenance},
                     {"tiers", variants}});
    }
    printJson(all);
    return {};
  }
  fmt::print("{:<28} {:>8} {:>10} {:>6} {:>12} {:>12}  {:<40} fused\n", "kernel", "launches", "unit", "tiles",
             "weight bytes", "flops/unit", "schedule of " + *tier);
  for (size_t i = 0; i < plan.kernels.size(); ++i) {
    const Kernel &k = plan.kernels[i];
    fmt::print("{:<28} {:>8} {:>10} {:>6} {:>12} {:>12}  {:<40} {}\n", k.symbol, launchesOf(plan, i), unitName(k.unit),
               k.tiles, k.tiles * k.bytesPerTile, k.flopsPerUnit, scheduleText((*schedules)[k.symbol][*tier]),
               k.provenance);
  }
  return {};
}

Result<void> kernel(const Artifact &artifact, const Plan &plan, const InspectOptions &options) {
  if (artifact.manifest().target == "cuda")
    return inspectCudaKernel(artifact, plan, options.name);
  std::string names;
  for (size_t i = 0; i < plan.kernels.size(); ++i) {
    const Kernel &k = plan.kernels[i];
    names += (names.empty() ? "" : ", ") + k.symbol;
    if (k.symbol != options.name)
      continue;
    auto chosen = tierOf(artifact, options);
    if (!chosen)
      return propagate(chosen);
    const std::string &tier = *chosen;
    auto variant = k.variants.find(tier);
    if (variant == k.variants.end())
      return fail(ExitCode::usage, "--cpu {}: kernel '{}' has no code for this tier", tier, k.symbol);
    auto schedules = readSchedules(textOf(artifact, "stages/20-kern.mlir"));
    if (!schedules)
      return propagate(schedules);
    fmt::print("// {}: {}\n// {} launches a step, by {}; {} tiles of {} weight bytes; {} flops a unit; blocks of {} "
               "units, {} bytes of scratch a worker ({})\n// schedule {}\n",
               k.symbol, k.provenance, launchesOf(plan, i), unitName(k.unit), k.tiles, k.bytesPerTile, k.flopsPerUnit,
               variant->second.unitBlock, variant->second.scratchBytes, tier,
               scheduleText((*schedules)[k.symbol][tier]));
    for (auto [stage, scope] :
         {std::pair{"stages/10-fused.mlir", std::string()}, std::pair{"stages/20-kern.mlir", tier}}) {
      auto text = printStage(textOf(artifact, stage), k.symbol, scope);
      if (!text)
        return propagate(text);
      fmt::print("\n// {}\n{}", stage, *text);
    }
    auto code = artifact.member("kernels/" + tier + ".so");
    if (!code)
      return fail(ExitCode::badInput, "kernels/{}.so is missing", tier);
    auto assembly = disassemble({reinterpret_cast<const char *>(code->data()), code->size()}, k.symbol, tier);
    if (!assembly)
      return propagate(assembly);
    fmt::print("\n// kernels/{}.so\n{}", tier, *assembly);
    return {};
  }
  return fail(ExitCode::usage, "no kernel '{}'; there are: {}", options.name, names);
}

Result<void> memory(const Artifact &artifact, const Plan &plan, const InspectOptions &options) {
  struct Life {
    int64_t first = -1, last = -1;
  };
  std::vector<Life> lives(plan.buffers.size());
  for (size_t l = 0; l < plan.launches.size(); ++l)
    for (int64_t argument : plan.launches[l].args) {
      if (lives[argument].first < 0)
        lives[argument].first = l;
      lives[argument].last = l;
    }
  uint64_t weightBytes = 0;
  for (const PackedWeight &weight : artifact.manifest().weights)
    weightBytes += weight.bytes;
  if (options.json) {
    nlohmann::json slots = nlohmann::json::array();
    for (size_t s = 0; s < plan.slots.size(); ++s) {
      nlohmann::json held = nlohmann::json::array();
      for (size_t b = 0; b < plan.buffers.size(); ++b)
        if (plan.buffers[b].slot == static_cast<int64_t>(s))
          held.push_back(
              {{"name", plan.buffers[b].name}, {"first_launch", lives[b].first}, {"last_launch", lives[b].last}});
      slots.push_back(
          {{"unit", unitName(plan.slots[s].unit)}, {"bytes_per_unit", plan.slots[s].bytesPerUnit}, {"buffers", held}});
    }
    printJson({{"weight_bytes", weightBytes},
               {"kv_bytes_per_page", plan.layers * plan.pageBytes()},
               {"page_tokens", plan.pageTokens},
               {"logit_bytes_per_row", plan.logitStride * 4},
               {"slots", slots}});
    return {};
  }
  fmt::print("weights  {} bytes, mapped from the file\nKV       {} bytes a page of {} positions ({} layers, {} heads "
             "of {}, {})\nlogits   {} bytes a logit row\n",
             weightBytes, plan.layers * plan.pageBytes(), plan.pageTokens, plan.layers, plan.kvHeads, plan.dimPadded,
             plan.kvElement, plan.logitStride * 4);
  for (size_t s = 0; s < plan.slots.size(); ++s) {
    fmt::print("slot {:<3} {} bytes a unit of {}\n", s, plan.slots[s].bytesPerUnit, unitName(plan.slots[s].unit));
    for (size_t b = 0; b < plan.buffers.size(); ++b)
      if (plan.buffers[b].slot == static_cast<int64_t>(s))
        fmt::print("  {:<12} launches {}..{}\n", plan.buffers[b].name, lives[b].first, lives[b].last);
  }
  return {};
}

Result<void> stages(const Artifact &artifact, const InspectOptions &options) {
  bool found = false;
  for (const Member &member : artifact.members()) {
    if (!member.name.starts_with("stages/"))
      continue;
    std::string file = member.name.substr(7);
    if (options.name.empty()) {
      fmt::print("{:>10}  {}\n", member.bytes, file);
      found = true;
    } else if (file.starts_with(options.name)) {
      auto text = printStage(textOf(artifact, member.name), "", "");
      if (!text)
        return propagate(text);
      fmt::print("{}\n", *text);
      return {};
    }
  }
  if (!found)
    return fail(ExitCode::usage, "no stage '{}'; there are 00, 10 and 20", options.name);
  return {};
}

Result<void> inspect(const InspectOptions &options) {
  auto artifact = Artifact::open(options.artifact);
  if (!artifact)
    return propagate(artifact);
  if (options.verify) {
    if (auto verified = (*artifact)->verifyWeights(); !verified)
      return verified;
    fmt::print(stderr, "all members are intact\n");
  }
  auto plan = parsePlan(textOf(**artifact, "plan.json"));
  if (!plan)
    return propagate(plan);
  if (options.what == "summary")
    return summary(**artifact, *plan, options);
  if (options.what == "kernels")
    return kernels(**artifact, *plan, options);
  if (options.what == "kernel")
    return kernel(**artifact, *plan, options);
  if (options.what == "memory")
    return memory(**artifact, *plan, options);
  if (options.what == "stages")
    return stages(**artifact, options);
  auto text = explainFusion(textOf(**artifact, "stages/00-model.mlir"), (*artifact)->manifest().quant);
  if (!text)
    return propagate(text);
  fmt::print("{}", *text);
  return {};
}

} // namespace

void addInspect(CLI::App &app, Action &run) {
  auto options = std::make_shared<InspectOptions>();
  CLI::App *command = app.add_subcommand("inspect", "Show what is inside an artifact");
  command->group(subject::compile);
  command->footer("Examples:\n  lathe inspect smollm2.lathe\n  lathe inspect smollm2.lathe kernel attention --cpu "
                  "x86-64-v3\n  lathe inspect smollm2.lathe stages 10");
  command->add_option("artifact", options->artifact, "a .lathe file")->required();
  command->add_option("what", options->what, "summary, stages [NN], kernels, kernel NAME, memory, explain")
      ->check(CLI::IsMember({"summary", "stages", "kernels", "kernel", "memory", "explain"}))
      ->capture_default_str();
  command->add_option("name", options->name, "the stage's number or the kernel's name");
  command->add_option("--cpu", options->tier,
                      "the ISA tier whose code and schedules are shown; default: the best in the artifact");
  command->add_flag("--verify", options->verify, "check the hash of every member, the weights too");
  command->add_flag("--json", options->json, "tables as JSON");
  command->callback([options, &run] { run = [options] { return inspect(*options); }; });
}

} // namespace lathe
