//===- Inspect.cpp - lathe inspect ---------------------------------------------===//
#include "tools/lathe-compiler/Inspect.h"
#include "compiler/inspect/CudaUsage.h"
#include "tools/lathe-compiler/Commands.h"

#include <nlohmann/json.hpp>

namespace lathe {

namespace {

int64_t launchesOf(const Plan &plan, int64_t kernel) {
  int64_t count = 0;
  for (const Launch &launch : plan.launches)
    count += launch.kernel == kernel;
  return count;
}

} // namespace

void printTable(const nlohmann::json &json) { fmt::print("{}\n", json.dump(2)); }

Result<void> inspectSummary(Inspection &inspection, const InspectOptions &options) {
  const Artifact &artifact = inspection.artifact();
  const Plan &plan = inspection.plan();
  const Manifest &m = artifact.manifest();
  uint64_t weightBytes = inspection.weightBytes();
  int64_t pages = (plan.context + plan.pageTokens - 1) / plan.pageTokens,
          kvBytes = plan.layers * plan.pageBytes() * pages;
  if (options.json) {
    nlohmann::json members = nlohmann::json::array();
    for (const Member &member : artifact.members())
      members.push_back({{"name", member.name}, {"bytes", member.bytes}});
    printTable({{"model", m.model},
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

/// Every kernel with what each architecture needs for it.
static Result<void> cudaKernels(Inspection &inspection, bool asJson) {
  nlohmann::json all = nlohmann::json::array();
  for (const Kernel &kernel : inspection.kernels()) {
    auto uses = cudaUses(inspection.text("kernels/usage.json"), inspection.plan(), kernel);
    if (!uses)
      return propagate(uses);
    nlohmann::json of = nlohmann::json::object(), predicted = nlohmann::json::object();
    for (const CudaUse &use : *uses)
      of[use.architecture] = use.usage, predicted[use.architecture] = use.predicted;
    all.push_back({{"name", kernel.symbol},
                   {"tiles", kernel.tiles},
                   {"weight_bytes", kernel.tiles * kernel.bytesPerTile},
                   {"flops_per_unit", kernel.flopsPerUnit},
                   {"fused", kernel.provenance},
                   {"architectures", of},
                   {"predicted", predicted}});
    if (asJson)
      continue;
    fmt::print("{}: {}; {} tiles, {} weight bytes\n", kernel.symbol, kernel.provenance, kernel.tiles,
               kernel.tiles * kernel.bytesPerTile);
    for (const CudaUse &use : *uses)
      for (const std::string &line : use.facts)
        fmt::print("  {}\n", line);
  }
  if (asJson)
    printTable(all);
  return {};
}

Result<void> inspectKernels(Inspection &inspection, const InspectOptions &options) {
  if (inspection.forCuda())
    return cudaKernels(inspection, options.json);
  const Plan &plan = inspection.plan();
  auto schedules = readSchedules(inspection.text("stages/20-kern.mlir"));
  if (!schedules)
    return propagate(schedules);
  auto tier = inspection.tier(options.tier);
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
    printTable(all);
    return {};
  }
  fmt::print("{:<28} {:>8} {:>10} {:>6} {:>12} {:>12}  {:<40} fused\n", "kernel", "launches", "unit", "tiles",
             "weight bytes", "flops/unit", "schedule of " + tier->name);
  for (size_t i = 0; i < plan.kernels.size(); ++i) {
    const Kernel &k = plan.kernels[i];
    fmt::print("{:<28} {:>8} {:>10} {:>6} {:>12} {:>12}  {:<40} {}\n", k.symbol, launchesOf(plan, i), unitName(k.unit),
               k.tiles, k.tiles * k.bytesPerTile, k.flopsPerUnit, scheduleText((*schedules)[k.symbol][tier->name]),
               k.provenance);
  }
  return {};
}

Result<void> inspectMemory(Inspection &inspection, const InspectOptions &options) {
  const Plan &plan = inspection.plan();
  std::vector<Lifetime> lives = inspection.lifetimes();
  uint64_t weightBytes = inspection.weightBytes();
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
    printTable({{"weight_bytes", weightBytes},
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

Result<void> inspectStages(Inspection &inspection, const InspectOptions &options) {
  if (options.name.empty()) {
    for (const std::string &file : inspection.stageFiles())
      fmt::print("{:>10}  {}\n", inspection.text("stages/" + file).size(), file);
    return {};
  }
  auto module = inspection.stage(options.name);
  if (!module)
    return propagate(module);
  auto text = printFunction(*module, "", "");
  if (!text)
    return propagate(text);
  fmt::print("{}\n", *text);
  return {};
}

static Result<void> inspect(const InspectOptions &options) {
  if (!options.html.empty() && options.what != "summary")
    return fail(ExitCode::usage, "--html {}: the page shows everything: leave out '{}'", options.html, options.what);
  if (options.full && options.what != "diff")
    return fail(ExitCode::usage, "--full is for diff: lathe inspect {} diff OTHER.lathe --full", options.artifact);
  auto inspection = Inspection::open(options.artifact);
  if (!inspection)
    return propagate(inspection);
  if (options.verify) {
    if (auto verified = (*inspection)->artifact().verifyWeights(); !verified)
      return verified;
    fmt::print(stderr, "all members are intact\n");
  }
  static const std::map<std::string, Result<void> (*)(Inspection &, const InspectOptions &)> words{
      {"summary", inspectSummary}, {"kernels", inspectKernels}, {"kernel", inspectKernel}, {"memory", inspectMemory},
      {"stages", inspectStages},   {"explain", inspectExplain}, {"diff", inspectDiff}};
  if (!options.html.empty())
    return inspectHtml(**inspection, options);
  return words.at(options.what)(**inspection, options);
}

void addInspect(CLI::App &app, Action &run) {
  auto options = std::make_shared<InspectOptions>();
  CLI::App *command = app.add_subcommand("inspect", "Show what is inside an artifact");
  command->group(subject::compile);
  command->footer("Examples:\n  lathe inspect smollm2.lathe\n  lathe inspect smollm2.lathe kernel attention --cpu "
                  "x86-64-v3\n  lathe inspect smollm2.lathe --html smollm2.html\n  lathe inspect before.lathe diff "
                  "after.lathe --full\n\ndiff ends with 0 when the artifacts are equal and with 6 when they differ.");
  command->add_option("artifact", options->artifact, "a .lathe file")->required();
  command
      ->add_option("what", options->what,
                   "summary, stages [NN], kernels, kernel NAME, memory, explain (what was fused, what was refused and "
                   "why), diff OTHER.lathe")
      ->check(CLI::IsMember({"summary", "stages", "kernels", "kernel", "memory", "explain", "diff"}))
      ->capture_default_str();
  command->add_option("name", options->name, "the stage's number, the kernel's name, or the other artifact");
  command->add_option("--cpu", options->tier,
                      "the ISA tier whose code and schedules are shown; default: the one that this machine would run");
  command->add_option("--html", options->html,
                      "write one self-contained page of it all to this file: stages side by side, kernels with their "
                      "IR and code, launches, memory over time, what was fused and why not more");
  command->add_flag("--full", options->full, "diff: unified diffs of the IR and the code of kernels");
  command->add_flag("--verify", options->verify, "check the hash of every member, the weights too");
  command->add_flag("--json", options->json, "tables as JSON");
  command->callback([options, &run] { run = [options] { return inspect(*options); }; });
}

} // namespace lathe
