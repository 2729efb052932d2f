//===- Compiler.cpp - from a model to an artifact -----------------------------===//
#include "compiler/Compiler.h"

#include "compiler/CpuCodegen.h"
#include "compiler/CudaCodegen.h"
#include "compiler/CudaFacts.h"
#include "compiler/KernelCheck.h"
#include "compiler/ModelBuilder.h"
#include "compiler/Packing.h"
#include "compiler/PlanWriter.h"
#include "compiler/Programs.h"
#include "compiler/SampleKernel.h"
#include "compiler/Schedules.h"
#include "compiler/Weights.h"
#include "passes/kern/KernPasses.h"
#include "passes/kern/KernelArguments.h"
#include "passes/lm/LmPasses.h"
#include "runtime/Abi.h"
#include "runtime/Artifact.h"
#include "runtime/CudaProbe.h"
#include "runtime/support/MappedFile.h"

#include "mlir/IR/AsmState.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/SourceMgr.h"

#include <nlohmann/json.hpp>

#include <future>
#include <map>

using namespace mlir;

namespace lathe {

namespace {

/// The stages that can be dumped, stopped after and (but for 30) resumed from. design: one file each, NN-name.mlir.
struct Stage {
  const char *number;
  const char *name;
};
constexpr Stage stages[] = {{"00", "model"}, {"10", "fused"}, {"20", "kern"}, {"30", "target"}};

class Compilation {
public:
  Compilation(const CompileOptions &options, const std::function<void(const std::string &, int64_t, int64_t)> &progress)
      : options(options), progress(progress),
        diagnostics(&context, [this](Diagnostic &diagnostic) { note(diagnostic); }) {
    DialectRegistry registry;
    registry.insert<lm::LmDialect, kern::KernDialect, arith::ArithDialect, math::MathDialect, scf::SCFDialect,
                    vector::VectorDialect, memref::MemRefDialect, func::FuncDialect, LLVM::LLVMDialect>();
    context.appendDialectRegistry(registry);
    context.loadAllAvailableDialects();
  }

  Result<CompileSummary> run();

private:
  Result<void> import();
  Result<void> makeModel();
  Result<void> fuse();
  /// Whether the target has products with the weights that --quant made.
  Result<void> checkWeightTypes();
  Result<void> makeKernels();
  Result<void> generateCode();
  Result<TierCompilation> lowerTier(ModuleOp tierModule);
  Result<void> generateCuda(ModuleOp cuda);
  /// Takes texts of --use-kernels instead of those that were printed.
  Result<void> takeEdited();
  /// The code for each target of CUDA, and what it was compiled from.
  Result<void> addCuda(const Plan &plan, ArtifactWriter &writer, Manifest &manifest);
  Result<void> writeArtifact();

  /// Prints the stage (and replaces the module by the user's file where --from names this stage).
  Result<bool> finishStage(const Stage &stage);
  Result<void> dump(const std::string &file, const std::string &text);
  Result<void> runPasses(llvm::function_ref<void(OpPassManager &)> add, const Stage &stage);
  void note(Diagnostic &diagnostic);
  std::string print();
  int64_t page() const { return 32; }
  bool forCuda() const { return targets.front().kind != Target::Kind::cpu; }

  CompileOptions options;
  const std::function<void(const std::string &, int64_t, int64_t)> &progress;
  MLIRContext context{MLIRContext::Threading::DISABLED};
  ScopedDiagnosticHandler diagnostics;
  std::string firstError;
  ScheduleTable schedules = ScheduleTable::builtIn();
  ImportedModel model;
  OwningOpRef<ModuleOp> module;
  std::vector<std::pair<std::string, std::string>> stageTexts;
  std::vector<Target> targets;
  PlanCode code;
  std::vector<CudaText> cudaTexts, printedTexts; ///< what is compiled, and what was printed
  CompileSummary summary;
};

} // namespace

void Compilation::note(Diagnostic &diagnostic) {
  if (diagnostic.getSeverity() != DiagnosticSeverity::Error || !firstError.empty())
    return;
  llvm::raw_string_ostream stream(firstError);
  if (auto place = diagnostic.getLocation()->findInstanceOf<FileLineColLoc>())
    stream << place.getFilename().getValue() << ":" << place.getLine() << ":" << place.getColumn() << ": ";
  stream << diagnostic.str();
}

std::string Compilation::print() {
  std::string text;
  llvm::raw_string_ostream stream(text);
  OpPrintingFlags flags;
  flags.enableDebugInfo(true, false);
  flags.printNameLocAsPrefix(true);
  module->print(stream, flags);
  return text;
}

Result<void> Compilation::dump(const std::string &file, const std::string &text) {
  return options.dumpDir.empty() ? Result<void>() : writeFile(options.dumpDir + "/" + file, text);
}

Result<void> Compilation::runPasses(llvm::function_ref<void(OpPassManager &)> add, const Stage &stage) {
  PassManager passes(&context);
  add(passes);
  firstError.clear();
  if (failed(passes.run(*module)))
    return fail(options.from.empty() ? ExitCode::internal : ExitCode::badInput, "stage {}-{}: {}", stage.number,
                stage.name, firstError.empty() ? "a pass failed without saying why" : firstError);
  return {};
}

Result<bool> Compilation::finishStage(const Stage &stage) {
  std::string file = std::string(stage.number) + "-" + stage.name + ".mlir";
  std::string text;
  if (!options.from.empty() && baseName(options.from).starts_with(stage.number)) {
    auto mapped = MappedFile::open(options.from);
    if (!mapped)
      return propagate(mapped);
    llvm::SourceMgr sources;
    sources.AddNewSourceBuffer(llvm::MemoryBuffer::getMemBufferCopy((*mapped)->text(), baseName(options.from)),
                               llvm::SMLoc());
    firstError.clear();
    module = parseSourceFile<ModuleOp>(sources, &context);
    if (!module)
      return fail(ExitCode::badInput, "{}", firstError);
    if (!module->lookupSymbol<func::FuncOp>("step"))
      return fail(ExitCode::badInput, "{}: expected a stage with a function @step, found none", baseName(options.from));
    text = (*mapped)->text(); // as it was written: printing again would rename values whose syntax keeps no location
  } else {
    text = print();
  }
  stageTexts.emplace_back(file, std::move(text));
  if (auto dumped = dump(file, stageTexts.back().second); !dumped)
    return propagate(dumped);
  return options.stopAfter == stage.number || options.stopAfter == stage.name;
}

Result<void> Compilation::import() {
  progress("reading " + baseName(options.model), 0, 1);
  auto imported = importModel(options.model, options.weights);
  if (!imported)
    return propagate(imported);
  model = std::move(*imported);
  if (auto checked = checkConfig(model.config); !checked)
    return checked;
  if (!model.weights && options.stopAfter.empty())
    return fail(ExitCode::usage, "{}: a config without weights: give --weights PATH or --weights random:SEED",
                options.model);
  if (model.weights)
    if (auto checked = checkWeights(model.config, *model.weights); !checked)
      return checked;
  if (options.context == 0)
    options.context = std::min<int64_t>(model.config.maxPositionEmbeddings, 8192);
  if (options.context < 1 || options.context > model.config.maxPositionEmbeddings)
    return fail(ExitCode::usage, "--context {}: expected 1 to {}, the model's max_position_embeddings", options.context,
                model.config.maxPositionEmbeddings);
  if (options.group == 0)
    options.group = options.quant == "int4" ? 64 : 32;
  if (options.kv.empty())
    options.kv = options.quant == "f32" ? "f32" : "bf16";
  summary.parameters = countParameters(model.config);
  summary.context = options.context;
  return {};
}

Result<void> Compilation::makeModel() {
  module = buildModel(context, model.config, {.page = page(), .kv = options.kv, .weights = model.weights.get()});
  return {};
}

Result<void> Compilation::fuse() {
  return runPasses(
      [&](OpPassManager &passes) {
        lm::FuseOptions fuseOptions;
        fuseOptions.quant = options.quant;
        fuseOptions.group = options.group;
        fuseOptions.floatInputs = hasFloatInputs(targets.front().family());
        lm::addFusePipeline(passes, fuseOptions);
      },
      stages[1]);
}

Result<void> Compilation::checkWeightTypes() {
  Result<void> result;
  if (forCuda())
    module->walk([&](lm::WeightOp op) {
      auto type = cast<RankedTensorType>(op.getType());
      if (type.getRank() == 1 || kern::isDeviceWeight(type))
        return WalkResult::advance();
      std::string text;
      llvm::raw_string_ostream(text) << type;
      result = fail(ExitCode::usage,
                    "--quant {}: weight '{}' would be {}, which GPUs have no product with; take --quant int8 or bf16",
                    options.quant, op.getSource().str(), text);
      return WalkResult::interrupt();
    });
  return result;
}

Result<void> Compilation::makeKernels() {
  if (auto checked = checkWeightTypes(); !checked)
    return checked;
  return runPasses(
      [&](OpPassManager &passes) {
        kern::KernSelectScheduleOptions schedule;
        if (forCuda())
          schedule.tiers = {kern::cudaTarget.str()};
        else
          schedule.tiers.assign(options.tiers.begin(), options.tiers.end());
        passes.addPass(kern::createKernSelectSchedule(schedule, schedules));
        passes.addPass(kern::createConvertLmToKern({.context = options.context}));
        passes.addPass(kern::createKernPlanMemory());
        passes.addPass(createCanonicalizerPass());
        passes.addPass(createCSEPass());
        passes.addPass(kern::createKernOverlapLaunches());
      },
      stages[2]);
}

Result<void> Compilation::generateCode() {
  if (forCuda()) {
    for (auto tierModule : module->getOps<ModuleOp>())
      if (auto done = generateCuda(tierModule); !done)
        return done;
    return {};
  }
  // While one tier is lowered, those before it are compiled.
  std::map<std::string, std::future<Result<NativeCode>>> compiling;
  for (auto tierModule : module->getOps<ModuleOp>()) {
    std::string name = tierModule.getName()->str();
    progress("compiling kernels for " + name, static_cast<int64_t>(compiling.size()),
             static_cast<int64_t>(options.tiers.size()));
    auto lowered = lowerTier(tierModule);
    if (!lowered)
      return propagate(lowered);
    auto rest = [tier = std::make_shared<TierCompilation>(std::move(*lowered))] { return tier->compile(); };
    compiling[name] = std::async(std::launch::async, rest);
  }
  for (auto &[name, compiled] : compiling) {
    auto native = compiled.get();
    if (!native)
      return propagate(native);
    code.tiers[name] = std::move(*native);
  }
  return {};
}

Result<TierCompilation> Compilation::lowerTier(ModuleOp tierModule) {
  const CpuTier *tier = findTier(tierModule.getName()->str());
  if (!tier) {
    std::string known;
    for (const CpuTier &other : cpuTiers())
      known += (known.empty() ? "" : ", ") + other.name;
    return fail(ExitCode::badInput,
                "stage 20 has a module of tier '{}', which is none of {}, perhaps with features that it can have",
                tierModule.getName()->str(), known);
  }
  OwningOpRef<ModuleOp> copy = tierModule.clone(); // the module stays as stage 20 describes it
  std::string text;
  firstError.clear();
  TierCompilation lowered(*tier);
  auto done = lowered.lower(*copy, options.dumpDir.empty() && options.stopAfter.empty() ? nullptr : &text);
  if (!done)
    return fail(done.error().code, "{}{}{}", done.error().message, firstError.empty() ? "" : ": ", firstError);
  if (auto dumped = dump("30-target-" + tier->name + ".mlir", text); !dumped)
    return propagate(dumped);
  return lowered;
}

Result<void> Compilation::generateCuda(ModuleOp cuda) {
  auto texts = printKernels(cuda);
  if (!texts)
    return propagate(texts);
  cudaTexts = std::move(*texts);
  for (auto buffer : module->lookupSymbol<func::FuncOp>("step").getOps<kern::BufferOp>())
    if (buffer.getLogits()) {
      auto type = cast<MemRefType>(buffer.getResult().getType());
      auto sample = printSampleKernel(model.config.vocabSize, type.getDimSize(1));
      if (!sample)
        return propagate(sample);
      cudaTexts.push_back(std::move(*sample));
      break;
    }
  for (const Target &target : targets)
    if (!llvm::is_contained(code.architectures, target.architecture))
      code.architectures.push_back(target.architecture);
  printedTexts = cudaTexts;
  if (auto taken = takeEdited(); !taken)
    return taken;
  for (const CudaText &kernel : cudaTexts) {
    code.shared[kernel.name] = kernel.sharedBytes;
    if (auto dumped = dump("kernels/" + kernel.name + ".cu", kernel.text); !dumped)
      return dumped;
  }
  return {};
}

Result<void> Compilation::takeEdited() {
  if (options.useKernels.empty())
    return {};
  std::error_code error;
  std::string known;
  for (const CudaText &kernel : cudaTexts)
    known += (known.empty() ? "" : ", ") + kernel.name + ".cu";
  for (llvm::sys::fs::directory_iterator file(options.useKernels, error), end; !error && file != end;
       file.increment(error)) {
    std::string name = baseName(file->path());
    if (!llvm::StringRef(name).ends_with(".cu"))
      continue;
    auto kernel = llvm::find_if(cudaTexts, [&](const CudaText &text) { return text.name + ".cu" == name; });
    if (kernel == cudaTexts.end())
      return fail(ExitCode::badInput, "{}: the model has no such kernel; it has {}", file->path(), known);
    auto text = readFile(file->path());
    if (!text)
      return propagate(text);
    kernel->text = withFacts(*text, {});
  }
  if (error)
    return fail(ExitCode::badInput, "--use-kernels {}: cannot read the folder: {}", options.useKernels,
                error.message());
  return {};
}

/// The texts, and one of no plan behind them.
static std::vector<CudaText> withReadBandwidth(std::vector<CudaText> texts) {
  texts.push_back(readBandwidthKernel());
  return texts;
}

Result<void> Compilation::addCuda(const Plan &plan, ArtifactWriter &writer, Manifest &manifest) {
  if (!forCuda())
    return {};
  nlohmann::ordered_json usages = nlohmann::ordered_json::object();
  std::map<std::string, std::vector<std::string>> facts;
  for (const Target &target : targets) {
    manifest.tiers.push_back(target.name());
    if (target.kind == Target::Kind::cudaHost)
      continue;
    progress("compiling kernels for " + target.name(), manifest.tiers.size() - 1, targets.size());
    auto compiled = compileForDevice(withReadBandwidth(cudaTexts), target.architecture, summary.warning);
    if (!compiled)
      return propagate(compiled);
    if (auto added = writer.add(target.member(kReadBandwidthKernel), compiled->back().image); !added)
      return added;
    for (auto [kernel, device] : llvm::zip(cudaTexts, *compiled)) {
      if (auto added = writer.add(target.member(kernel.name), device.image); !added)
        return added;
      if (target.portable()) // what the driver makes of PTX is not known
        continue;
      const KernelUsage &u = device.usage;
      usages[target.architecture][kernel.name] = {{"registers", u.registers},           {"stack_bytes", u.stackBytes},
                                                  {"spill_stores", u.spillStores},      {"spill_loads", u.spillLoads},
                                                  {"shared_bytes", kernel.sharedBytes}, {"barriers", u.barriers}};
      for (const Kernel &planned : plan.kernels)
        for (const Kernel &form : formsOf(planned))
          if (form.symbol == kernel.name)
            llvm::append_range(facts[kernel.name], factsOf(plan, form, target.architecture, u));
    }
  }
  for (CudaText &kernel : cudaTexts) {
    kernel.text = withFacts(kernel.text, facts[kernel.name]);
    if (auto added = writer.add("kernels/" + kernel.name + ".cu", kernel.text); !added)
      return added;
    if (auto dumped = dump("kernels/" + kernel.name + ".cu", kernel.text); !dumped)
      return dumped;
  }
  // For the CPU last: the lines that its reports name are those of the text that is in the artifact.
  for (const Target &target : targets) {
    if (target.kind != Target::Kind::cudaHost)
      continue;
    progress("compiling kernels for " + target.name(), targets.size() - 1, targets.size());
    auto object = compileForHost(withReadBandwidth(cudaTexts));
    if (!object)
      return propagate(object);
    if (auto added = writer.add(target.member(), *object, 4096); !added)
      return added;
  }
  return writer.add("kernels/usage.json", usages.dump(1));
}

Result<void> Compilation::writeArtifact() {
  auto plan = writePlan(*module, code, model.config.vocabSize, options.context);
  if (!plan)
    return propagate(plan);
  auto writer = ArtifactWriter::create(options.output);
  if (!writer)
    return propagate(writer);
  std::vector<std::pair<std::string, std::string>> members{{"config.toml", printConfig(model.config)},
                                                           {"plan.json", printPlan(*plan)}};
  if (!model.tokenizerJson.empty())
    members.emplace_back("tokenizer.json", model.tokenizerJson);
  for (auto &[file, text] : stageTexts)
    members.emplace_back("stages/" + file, text);
  for (auto &[name, data] : members)
    if (auto added = (*writer)->add(name, data); !added)
      return added;

  Manifest manifest;
  manifest.abiVersion = kAbiVersion;
  manifest.compiler = "lathe 0.1.0";
  manifest.model = model.config.name;
  manifest.source = baseName(options.model);
  manifest.target = targets.front().family();
  manifest.quant = options.quant;
  manifest.parameters = summary.parameters;
  manifest.context = options.context;
  manifest.bosTokenId = model.config.bosTokenId;
  manifest.eosTokenIds = model.config.eosTokenIds;
  manifest.sampling = model.config.sampling;
  for (const CpuTier &tier : cpuTiersWithFeatures())
    if (auto found = code.tiers.find(tier.name); found != code.tiers.end()) {
      manifest.tiers.push_back(tier.name);
      if (auto added = (*writer)->add("kernels/" + tier.name + ".so", found->second.sharedObject, 4096); !added)
        return added;
    }

  if (forCuda())
    if (auto checked = checkEditedKernels(module->lookupSymbol<ModuleOp>(kern::cudaTarget), *plan,
                                          code.architectures.front(), printedTexts, cudaTexts);
        !checked)
      return checked;
  if (auto added = addCuda(*plan, **writer, manifest); !added)
    return added;

  if (auto begun = (*writer)->beginWeights(); !begun)
    return begun;
  auto weights = packedWeights(*module);
  Packer packer(model.config, *model.weights);
  int64_t total = 0;
  for (kern::WeightOp weight : weights)
    total += packedBytes(weight);
  for (kern::WeightOp weight : weights) {
    progress("packing weights", summary.weightBytes, total);
    auto added = (*writer)->addWeight(packedName(weight), packedBytes(weight), packedLayout(weight),
                                      [&](std::span<std::byte> out) { return packer.pack(weight, out); });
    if (!added)
      return added;
    summary.weightBytes += packedBytes(weight);
  }
  progress("packing weights", total, total);
  if (auto finished = (*writer)->finish(manifest); !finished)
    return finished;

  summary.kernels = plan->kernels.size();
  summary.launches = plan->launches.size();
  summary.kvBytesAtContext =
      plan->layers * plan->pageBytes() * ((options.context + plan->pageTokens - 1) / plan->pageTokens);
  for (const Slot &slot : plan->slots)
    summary.activationBytesPerRow += slot.bytesPerUnit;
  uint64_t size = 0;
  if (!llvm::sys::fs::file_size(options.output, size))
    summary.artifactBytes = size;
  return {};
}

Result<CompileSummary> Compilation::run() {
  if (std::string from = baseName(options.from);
      !from.empty() && !from.starts_with("00") && !from.starts_with("10") && !from.starts_with("20"))
    return fail(ExitCode::usage, "--from {}: expected a file of stage 00, 10 or 20, as --dump names it (20-kern.mlir)",
                from);
  auto parsed = parseTargets(options.targets);
  if (!parsed)
    return propagate(parsed);
  targets = std::move(*parsed);
  if (forCuda() && !options.tiers.empty())
    return fail(ExitCode::usage, "--cpu {}: only the target cpu has tiers, found --target {}", options.tiers.front(),
                targets.front().name());
  if (!forCuda() && !options.useKernels.empty())
    return fail(ExitCode::usage, "--use-kernels {}: only kernels of CUDA are texts; give --target cuda:ARCH",
                options.useKernels);
  if (options.tiers.empty() && !forCuda())
    for (const CpuTier &tier : cpuTiers())
      options.tiers.push_back(tier.name);
  if (!options.schedules.empty()) {
    auto read = ScheduleTable::read(options.schedules);
    if (!read)
      return propagate(read);
    schedules = std::move(*read);
  }
  if (auto done = import(); !done)
    return propagate(done);
  using Step = Result<void> (Compilation::*)();
  constexpr Step steps[] = {&Compilation::makeModel, &Compilation::fuse, &Compilation::makeKernels};
  for (size_t i = 0; i < std::size(steps); ++i) {
    if (auto done = (this->*steps[i])(); !done)
      return propagate(done);
    auto stop = finishStage(stages[i]);
    if (!stop)
      return propagate(stop);
    if (*stop)
      return summary;
  }
  if (auto done = generateCode(); !done)
    return propagate(done);
  if (!options.stopAfter.empty())
    return summary;
  if (auto done = writeArtifact(); !done)
    return propagate(done);
  return summary;
}

Result<CompileSummary> compileModel(const CompileOptions &options,
                                    const std::function<void(const std::string &, int64_t, int64_t)> &progress) {
  return Compilation(options, progress).run();
}

} // namespace lathe
