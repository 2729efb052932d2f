//===- CpuCodegen.cpp - kernels to native code -------------------------------===//
#include "compiler/CpuCodegen.h"

#include "compiler/Programs.h"

#include "passes/kern/KernPasses.h"

#include "mlir/Conversion/Passes.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "mlir/Transforms/Passes.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"

using namespace mlir;

namespace lathe {

const std::vector<CpuTier> &cpuTiers() {
  // AVX512-BF16 and GFNI are features of their own: no tier assumes them.
  static const std::vector<CpuTier> tiers = {
      {"amx", "x86-64-v4", "+avx512vnni,+amx-tile,+amx-int8", "512"},
      {"avx512vnni", "x86-64-v4", "+avx512vnni", "512"},
      {"avxvnni", "x86-64-v3", "+avxvnni", "256"},
      {"x86-64-v3", "x86-64-v3", "", "256"},
  };
  return tiers;
}

const std::vector<CpuTier> &cpuTiersWithFeatures() {
  static const std::vector<CpuTier> tiers = [] {
    constexpr std::pair<const char *, const char *> features[] = {{"+bf16", ",+avx512bf16"}, {"+gfni", ",+gfni"}};
    constexpr unsigned all = (1u << std::size(features)) - 1;
    std::vector<CpuTier> tiers;
    for (const CpuTier &base : cpuTiers())
      // Both are used on 512 bits at a time.
      for (unsigned set = base.vectorWidth == "512" ? all : 0;; --set) {
        CpuTier tier = base;
        for (size_t i = 0; i < std::size(features); ++i)
          if (set >> (std::size(features) - 1 - i) & 1)
            tier.name += features[i].first, tier.features += features[i].second;
        tiers.push_back(tier);
        if (set == 0)
          break;
      }
    return tiers;
  }();
  return tiers;
}

const CpuTier *findTier(const std::string &name) {
  for (const CpuTier &tier : cpuTiersWithFeatures())
    if (tier.name == name)
      return &tier;
  return nullptr;
}

namespace {

LogicalResult lowerToLlvm(ModuleOp module, std::string *dumped) {
  PassManager passes(module.getContext());
  passes.addPass(kern::createConvertKernToVector());
  passes.addPass(createCanonicalizerPass());
  passes.addPass(createCSEPass());
  if (failed(passes.run(module)))
    return failure();
  if (dumped) {
    llvm::raw_string_ostream stream(*dumped);
    module->print(stream, OpPrintingFlags().enableDebugInfo(true, false));
  }
  PassManager lower(module.getContext());
  lower.addPass(createLoopInvariantCodeMotionPass());
  lower.addPass(createSCFToControlFlowPass());
  lower.addPass(createConvertVectorToLLVMPass());
  lower.addPass(createConvertMathToLLVMPass());
  lower.addPass(createArithToLLVMConversionPass());
  lower.addPass(createConvertIndexToLLVMPass());
  lower.addPass(createConvertFuncToLLVMPass());
  lower.addPass(createConvertControlFlowToLLVMPass());
  lower.addPass(createReconcileUnrealizedCastsPass());
  return lower.run(module);
}

Result<std::unique_ptr<llvm::TargetMachine>> machineFor(const CpuTier &tier) {
  static const bool initialised = [] {
    llvm::InitializeNativeTarget();
    llvm::InitializeNativeTargetAsmPrinter();
    llvm::InitializeNativeTargetAsmParser();
    return true;
  }();
  (void)initialised;
  llvm::Triple triple("x86_64-unknown-linux-gnu");
  std::string why;
  const llvm::Target *target = llvm::TargetRegistry::lookupTarget(triple, why);
  if (!target)
    return fail(ExitCode::internal, "LLVM has no x86-64 target: {}", why);
  llvm::TargetOptions options;
  options.AllowFPOpFusion = llvm::FPOpFusion::Strict; // bits must not depend on what the backend finds to fuse
  return std::unique_ptr<llvm::TargetMachine>(target->createTargetMachine(
      triple, tier.cpu, tier.features, options, llvm::Reloc::PIC_, std::nullopt, llvm::CodeGenOptLevel::Aggressive));
}

Result<std::string> emit(llvm::TargetMachine &machine, llvm::Module &module, llvm::CodeGenFileType type) {
  llvm::SmallVector<char, 0> bytes;
  llvm::raw_svector_ostream stream(bytes);
  llvm::legacy::PassManager passes;
  if (machine.addPassesToEmitFile(passes, stream, nullptr, type))
    return fail(ExitCode::internal, "LLVM cannot emit this kind of file");
  passes.run(module);
  return std::string(bytes.begin(), bytes.end());
}

Result<std::string> link(const std::string &object) {
  llvm::ErrorOr<std::string> linker = llvm::sys::findProgramByName("ld.lld-22");
  if (!linker)
    linker = llvm::sys::findProgramByName("ld.lld", {"/usr/lib/llvm-22/bin"});
  if (!linker)
    return fail(ExitCode::runtime, "cannot find the linker ld.lld-22: install the package lld-22 (tools/setup does)");
  auto folder = TemporaryFolder::make();
  if (!folder)
    return propagate(folder);
  std::string input = (*folder)->file("kernels.o"), output = (*folder)->file("kernels.so");
  if (auto written = writeFile(input, object); !written)
    return propagate(written);
  auto messages = runProgram(*linker, {"-shared", "--no-undefined", "--build-id=none", "-z", "noexecstack",
                                       "--hash-style=gnu", "-o", output, input});
  if (!messages)
    return fail(ExitCode::internal, "linking kernels failed: {}", messages.error().message);
  return readFile(output);
}

/// What the kernels of a module leave to libraries; their schedules say from how many rows on.
std::map<std::string, LibraryUse> librariesOf(ModuleOp tierModule) {
  std::map<std::string, LibraryUse> libraries;
  for (auto kernel : tierModule.getOps<func::FuncOp>()) {
    auto schedule = kernel->getAttrOfType<kern::ScheduleAttr>(kern::scheduleAttr);
    kernel.walk([&](kern::DotOp dot) {
      if (!dot.getLibrary() || !schedule)
        return;
      LibraryUse use{dot.getLibrary()->str(), std::max<int64_t>(2, schedule.getLibraryRows()),
                     static_cast<int64_t>(dot.getK())};
      if (auto coding = dot.getCoding())
        use.unit = std::min<int64_t>(coding->getGroup(), *dot.getInputGroup());
      libraries[kernel.getName().str()] = use;
    });
  }
  return libraries;
}

} // namespace

TierCompilation::TierCompilation(const CpuTier &tier) : compiledFor(&tier) {}
TierCompilation::~TierCompilation() = default;
TierCompilation::TierCompilation(TierCompilation &&) noexcept = default;

Result<void> TierCompilation::lower(ModuleOp tierModule, std::string *dumped) {
  code.libraries = librariesOf(tierModule);
  if (failed(lowerToLlvm(tierModule, dumped)))
    return fail(ExitCode::internal,
                "lowering the kernels of tier {} failed; --dump DIR keeps the stages to reproduce it with lathe-opt",
                tier().name);
  for (auto function : tierModule.getOps<LLVM::LLVMFuncOp>())
    if (auto bytes = function->getAttrOfType<IntegerAttr>(kern::scratchBytesAttr))
      code.scratchBytes[function.getName().str()] = bytes.getInt();

  DialectRegistry registry;
  registerBuiltinDialectTranslation(registry);
  registerLLVMDialectTranslation(registry);
  tierModule.getContext()->appendDialectRegistry(registry);
  context = std::make_unique<llvm::LLVMContext>();
  module = translateModuleToLLVMIR(tierModule, *context, "kernels");
  if (!module)
    return fail(ExitCode::internal, "translating the kernels of tier {} to LLVM IR failed", tier().name);
  return {};
}

Result<NativeCode> TierCompilation::compile() {
  auto machine = machineFor(tier());
  if (!machine)
    return propagate(machine);
  module->setTargetTriple((*machine)->getTargetTriple());
  module->setDataLayout((*machine)->createDataLayout());
  for (llvm::Function &function : *module)
    if (!function.isDeclaration()) {
      function.addFnAttr("prefer-vector-width", tier().vectorWidth);
      function.addFnAttr("target-cpu", tier().cpu);
      function.addFnAttr("target-features", tier().features);
      function.addFnAttr("no-builtins"); // a loop must not become a call of memcpy: the object has no undefined symbol
      function.addFnAttr(llvm::Attribute::NoUnwind);
    }

  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager graphs;
  llvm::ModuleAnalysisManager modules;
  llvm::PipelineTuningOptions tuning;
  tuning.LoopVectorization = false; // everything that should be a vector is one
  tuning.SLPVectorization = false;
  llvm::PassBuilder builder(machine->get(), tuning);
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(graphs);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, graphs, modules);
  builder.buildPerModuleDefaultPipeline(llvm::OptimizationLevel::O2).run(*module, modules);

  auto object = emit(**machine, *module, llvm::CodeGenFileType::ObjectFile);
  if (!object)
    return propagate(object);
  auto shared = link(*object);
  if (!shared)
    return propagate(shared);
  code.sharedObject = std::move(*shared);
  module.reset();
  return std::move(code);
}

} // namespace lathe
