//===- Inspection.cpp - an artifact, opened to be looked at -------------------===//
#include "compiler/inspect/Inspection.h"

#include "compiler/SampleKernel.h"
#include "compiler/inspect/CudaUsage.h"
#include "compiler/inspect/Loops.h"
#include "passes/kern/KernPasses.h"
#include "runtime/CpuFeatures.h"

#include <algorithm>

using namespace mlir;

namespace lathe {
namespace {

/// Bytes of a row of a tensor of rows; 0 for anything else.
int64_t rowBytes(Type type) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  if (!tensor || tensor.getRank() != 2 || !tensor.isDynamicDim(0))
    return 0;
  return (tensor.getDimSize(1) * tensor.getElementTypeBitWidth() + 7) / 8;
}

/// `positionBytes`: of one position's keys and values in all heads of a layer.
void addTraffic(KernelFacts &facts, func::FuncOp function, int64_t positionBytes) {
  for (Type type : function.getArgumentTypes())
    facts.readBytes += rowBytes(type);
  for (Type type : function.getResultTypes())
    facts.writtenBytes += rowBytes(type);
  function.walk([&](Operation *op) {
    if (isa<lm::KvAppendOp>(op))
      facts.appendedBytes += positionBytes;
    if (isa<lm::AttentionOp>(op))
      facts.positionBytes += positionBytes;
    if (auto embed = dyn_cast<lm::EmbedOp>(op))
      if (auto table = dyn_cast<RankedTensorType>(embed->getOperand(0).getType()))
        facts.readBytes += table.getDimSize(1) * table.getElementTypeBitWidth() / 8;
  });
}

} // namespace

Result<std::unique_ptr<Inspection>> Inspection::open(const std::string &path) {
  auto artifact = Artifact::open(path);
  if (!artifact)
    return propagate(artifact);
  auto inspection = std::make_unique<Inspection>();
  inspection->file = std::move(*artifact);
  auto plan = parsePlan(inspection->text("plan.json"));
  if (!plan)
    return propagate(plan);
  inspection->launchTable = std::move(*plan);
  for (const Kernel &kernel : inspection->launchTable.kernels)
    llvm::append_range(inspection->forms, formsOf(kernel));
  inspection->configLines = readConfigLines(inspection->text("config.toml"));
  return inspection;
}

std::string_view Inspection::text(std::string_view member) const {
  auto bytes = file->member(member);
  return bytes ? std::string_view(reinterpret_cast<const char *>(bytes->data()), bytes->size()) : std::string_view();
}

uint64_t Inspection::weightBytes() const {
  uint64_t bytes = 0;
  for (const PackedWeight &weight : file->manifest().weights)
    bytes += weight.bytes;
  return bytes;
}

std::vector<std::string> Inspection::stageFiles() const {
  std::vector<std::string> files;
  for (const Member &member : file->members())
    if (member.name.starts_with("stages/"))
      files.push_back(member.name.substr(7));
  return files;
}

Result<ModuleOp> Inspection::stage(const std::string &number) {
  auto [it, fresh] = stages.try_emplace(number);
  if (!fresh && it->second)
    return *it->second;
  for (const std::string &name : stageFiles())
    if (name.starts_with(number)) {
      auto parsed = parseStage(context, text("stages/" + name), "stages/" + name);
      if (!parsed)
        return propagate(parsed);
      it->second = std::move(*parsed);
      return *it->second;
    }
  return fail(ExitCode::usage, "no stage '{}'; there are: {}", number, fmt::join(stageFiles(), ", "));
}

Result<ShownTier> Inspection::tier(const std::string &name) const {
  const std::vector<std::string> &tiers = file->manifest().tiers;
  if (forCuda() && name.empty())
    return ShownTier{kern::cudaTarget.str(), ""};
  if (name.empty() && !tiers.empty()) {
    if (auto mine = chooseTier(tiers, ""))
      return ShownTier{*mine, "what this machine runs"};
    return ShownTier{tiers.front(), "the best in the artifact; this machine runs none of them"};
  }
  if (!forCuda() && std::ranges::find(tiers, name) != tiers.end())
    return ShownTier{name, "asked for with --cpu"};
  return fail(ExitCode::usage, "--cpu {}: the artifact has code for {}", name, fmt::join(tiers, ", "));
}

Result<const Kernel *> Inspection::kernel(const std::string &name) const {
  std::string names;
  for (const Kernel &kernel : forms) {
    if (kernel.symbol == name)
      return &kernel;
    names += (names.empty() ? "" : ", ") + kernel.symbol;
  }
  return fail(ExitCode::usage, "no kernel '{}'; there are: {}", name, names);
}

Result<KernelFacts> Inspection::facts(const Kernel &kernel, const std::string &tier) {
  KernelFacts facts{.kernel = &kernel};
  std::string symbol = plannedName(launchTable, kernel.symbol); // whose launches are those of all forms
  for (const Launch &launch : launchTable.launches)
    facts.launches += launchTable.kernels[launch.kernel].symbol == symbol;
  facts.inStages = kernel.symbol != sampleKernel;
  if (!facts.inStages) {
    for (const Parameter &parameter : kernel.parameters)
      (parameter.access == Access::read ? facts.readBytes : facts.writtenBytes) += parameter.bytes;
    return facts;
  }
  auto fused = stage("10"), kern = stage("20");
  if (!fused || !kern)
    return propagate(fused ? kern : fused);
  if (auto scope = kern->lookupSymbol<ModuleOp>(tier))
    if (auto function = scope.lookupSymbol<func::FuncOp>(kernel.symbol))
      facts.schedule = scheduleOf(function);
  auto function = fused->lookupSymbol<func::FuncOp>(symbol);
  if (!function || function.isExternal()) // stage 20 was edited
    return facts;
  addTraffic(facts, function, launchTable.pageBytes() / launchTable.pageTokens);
  for (auto region : function.getOps<lm::FusedOp>()) {
    facts.parts = partsOf(region);
    facts.why = explainSchedule(facts.schedule, kern::scheduleKeyOf(region, tier));
  }
  return facts;
}

Result<KernelCode> Inspection::code(const Kernel &kernel, const std::string &tier) const {
  if (forCuda()) {
    auto uses = cudaUses(text("kernels/usage.json"), launchTable, kernel);
    if (!uses)
      return propagate(uses);
    KernelCode code{.member = "kernels/" + kernel.symbol + ".cu"};
    for (CudaUse &use : *uses)
      code.notes.insert(code.notes.end(), use.facts.begin(), use.facts.end());
    code.text = text(code.member);
    if (code.text.empty())
      return fail(ExitCode::badInput, "{} is missing", code.member);
    return code;
  }
  if (!kernel.variants.contains(tier))
    return fail(ExitCode::usage, "--cpu {}: kernel '{}' has no code for this tier", tier, kernel.symbol);
  KernelCode code{.member = "kernels/" + tier + ".so"};
  if (text(code.member).empty())
    return fail(ExitCode::badInput, "{} is missing", code.member);
  auto instructions = disassemble(text(code.member), kernel.symbol, tier);
  if (!instructions)
    return propagate(instructions);
  std::vector<CodeLoop> loops = productLoops(*instructions);
  if (!loops.empty())
    code.notes.push_back("inner loop (marked): " + describe(loops.front()));
  code.text = printCode(*instructions, loops);
  return code;
}

Result<Explanation> Inspection::explanation() const {
  for (const std::string &name : stageFiles())
    if (name.starts_with("00"))
      return explainFusion(text("stages/" + name), file->manifest().quant, file->manifest().target);
  return fail(ExitCode::badInput, "the artifact has no stage 00");
}

std::vector<Lifetime> Inspection::lifetimes() const {
  std::vector<Lifetime> lives(launchTable.buffers.size());
  for (size_t l = 0; l < launchTable.launches.size(); ++l)
    for (int64_t argument : launchTable.launches[l].args) {
      if (lives[argument].first < 0)
        lives[argument].first = l;
      lives[argument].last = l;
    }
  return lives;
}

const char *unitName(Unit unit) {
  return unit == Unit::rows        ? "rows"
         : unit == Unit::logitRows ? "logit rows"
         : unit == Unit::partials  ? "partials"
                                   : "attention items";
}

std::string scheduleText(const ScheduleEntry &schedule) {
  return fmt::format("{} ({})", schedule.tile(), schedule.origin);
}

std::string sizeText(double bytes) {
  return bytes >= 1 << 30   ? fmt::format("{:.2f} GiB", bytes / (1 << 30))
         : bytes >= 1 << 20 ? fmt::format("{:.1f} MiB", bytes / (1 << 20))
         : bytes >= 1 << 10 ? fmt::format("{:.1f} KiB", bytes / (1 << 10))
                            : fmt::format("{} B", bytes);
}

} // namespace lathe
