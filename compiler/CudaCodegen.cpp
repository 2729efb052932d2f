#include "compiler/CudaCodegen.h"

#include "compiler/KernelCompiler.h"
#include "compiler/Programs.h"
#include "runtime/device/DeviceText.h"

#include "llvm/Support/Program.h"

using namespace mlir;

namespace lathe {

Result<std::vector<CudaText>> printKernels(ModuleOp cuda) {
  std::vector<CudaText> texts;
  for (auto kernel : cuda.getOps<func::FuncOp>()) {
    auto text = printCuda(kernel);
    if (!text)
      return propagate(text);
    texts.push_back(std::move(*text));
  }
  return texts;
}

Result<std::vector<DeviceCode>> compileForDevice(const std::vector<CudaText> &kernels, const std::string &architecture,
                                                 std::string &warning) {
  auto nvrtc = Nvrtc::load();
  if (!nvrtc)
    return propagate(nvrtc);
  if (auto known = (*nvrtc)->checkArchitecture(architecture); !known)
    return propagate(known);
  std::vector<KernelSource> sources;
  for (const CudaText &kernel : kernels)
    sources.push_back({kernel.name, kernel.text});
  std::vector<KernelHeader> headers;
  for (const DeviceFile &file : deviceText())
    if (!llvm::StringRef(file.name).starts_with("lathe/host/"))
      headers.push_back({file.name, file.text});
  KernelCache cache = KernelCache::open(KernelCache::defaultFolder());
  auto compiled = compileKernels(**nvrtc, sources, headers, architecture, &cache);
  cache.trim();
  warning = cache.warning();
  if (!compiled)
    return propagate(compiled);
  return std::move(compiled->code);
}

static Result<std::string> findClang() {
  const char *set = std::getenv("LATHE_CLANG");
  llvm::ErrorOr<std::string> clang = llvm::sys::findProgramByName(set ? set : "clang++-22");
  if (!clang)
    clang = llvm::sys::findProgramByName("clang++", {"/usr/lib/llvm-22/bin"});
  if (!clang)
    return fail(ExitCode::runtime, "cannot find clang++-22, which compiles kernels for the CPU: install the package "
                                   "clang-22 (tools/setup does), or name it in LATHE_CLANG");
  return *clang;
}

Result<std::string> compileForHost(const std::vector<CudaText> &kernels) {
  auto clang = findClang();
  if (!clang)
    return propagate(clang);
  auto folder = TemporaryFolder::make();
  if (!folder)
    return propagate(folder);
  for (const DeviceFile &file : deviceText())
    if (auto written = writeFile((*folder)->file("include/" + std::string(file.name)), file.text); !written)
      return propagate(written);
  std::vector<std::string> sources;
  for (const CudaText &kernel : kernels) {
    if (auto written = writeFile((*folder)->file("kernels/" + kernel.name + ".cu"), kernel.text); !written)
      return propagate(written);
    sources.push_back((*folder)->file(kernel.name + ".cpp"));
    if (auto written = writeFile(sources.back(), fmt::format("#include \"kernels/{}.cu\"\nLATHE_HOST_KERNEL({})\n",
                                                             kernel.name, kernel.name));
        !written)
      return propagate(written);
  }
  // What runs them: its sources are part of the device library's text.
  for (const DeviceFile &file : deviceText())
    if (llvm::StringRef(file.name).ends_with(".cpp"))
      sources.push_back((*folder)->file("include/" + std::string(file.name)));
  std::string output = (*folder)->file("kernels.so");
  std::vector<std::string> arguments{"-std=c++20",
                                     "-O1",
                                     "-g1",
                                     "-fPIC",
                                     "-shared",
                                     "-DLATHE_HOST",
                                     "-march=x86-64-v3",
                                     "-ffp-contract=off",
                                     "-Wno-unknown-attributes",
                                     "-I" + (*folder)->file("include"),
                                     "-I" + (*folder)->file(""),
                                     "-o",
                                     output};
  arguments.insert(arguments.end(), sources.begin(), sources.end());
  if (auto done = runProgram(*clang, arguments); !done)
    return fail(ExitCode::internal, "compiling kernels for the CPU failed: {}", done.error().message);
  return readFile(output);
}

} // namespace lathe
