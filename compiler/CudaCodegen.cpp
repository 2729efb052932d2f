#include "compiler/CudaCodegen.h"

#include "compiler/KernelCompiler.h"
#include "compiler/Programs.h"
#include "runtime/CudaProbe.h"
#include "runtime/device/DeviceText.h"
#include "runtime/device/HostExecutor.h"

#include "llvm/Support/Program.h"

#include <atomic>
#include <optional>
#include <thread>

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

CudaText readBandwidthKernel() {
  CudaText kernel{.name = kReadBandwidthKernel};
  for (const DeviceFile &file : deviceText())
    if (llvm::StringRef(file.name) == "lathe/" + kernel.name + ".cu")
      kernel.text = file.text;
  return kernel;
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
    if (!llvm::StringRef(file.name).starts_with("lathe/host/") && !llvm::StringRef(file.name).ends_with(".cu"))
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
  std::string executor = (*folder)->file("executor.a"), output = (*folder)->file("kernels.so");
  if (auto written = writeFile(executor, hostExecutor()); !written)
    return propagate(written);
  std::vector<std::string> link{"-shared", "-o", output};
  for (const CudaText &kernel : kernels) {
    if (auto written = writeFile((*folder)->file("kernels/" + kernel.name + ".cu"), kernel.text); !written)
      return propagate(written);
    if (auto written = writeFile((*folder)->file(kernel.name + ".cpp"),
                                 fmt::format("#include \"kernels/{0}.cu\"\nLATHE_HOST_KERNEL({0})\n", kernel.name));
        !written)
      return propagate(written);
    link.push_back((*folder)->file(kernel.name + ".o"));
  }
  link.push_back(executor);

  std::vector<std::optional<Error>> errors(kernels.size());
  std::atomic<size_t> next = 0;
  auto work = [&] {
    for (size_t i; (i = next.fetch_add(1)) < kernels.size();) {
      std::string stem = (*folder)->file(kernels[i].name);
      auto done = runProgram(*clang, {"-c", "-std=c++20", "-O1", "-g1", "-fPIC", "-DLATHE_HOST", "-march=x86-64-v3",
                                      "-ffp-contract=off", "-Wno-unknown-attributes", "-I" + (*folder)->file("include"),
                                      "-I" + (*folder)->file(""), "-o", stem + ".o", stem + ".cpp"});
      if (!done)
        errors[i] = std::move(done.error());
    }
  };
  std::vector<std::jthread> others;
  for (size_t thread = 1; thread < std::min<size_t>(std::thread::hardware_concurrency(), kernels.size()); ++thread)
    others.emplace_back(work);
  work();
  others.clear();
  for (const std::optional<Error> &error : errors)
    if (error)
      return fail(ExitCode::internal, "compiling kernels for the CPU failed: {}", error->message);
  if (auto linked = runProgram(*clang, link); !linked)
    return fail(ExitCode::internal, "linking kernels for the CPU failed: {}", linked.error().message);
  return readFile(output);
}

} // namespace lathe
