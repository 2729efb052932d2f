// Compiles files as kernels and prints what became of them:
//
//   lathe_nvrtc_probe ARCHITECTURE FILE.cu … [--header NAME=FILE …] [--threads N] [--cache FOLDER] [-o FOLDER]
#include "compiler/KernelCompiler.h"
#include "runtime/support/MappedFile.h"

#include <chrono>
#include <cstdio>
#include <fstream>

using namespace lathe;

static int complain(const Error &error) {
  fmt::print(stderr, "lathe_nvrtc_probe: error: {}\n", error.message);
  return static_cast<int>(error.code);
}

int main(int count, char **values) {
  std::vector<std::string> arguments(values + 1, values + count);
  std::vector<KernelSource> kernels;
  std::vector<KernelHeader> headers;
  std::string architecture, folder, cacheFolder;
  int64_t threads = 0;
  auto textOf = [](const std::string &path) -> Result<std::string> {
    auto file = MappedFile::open(path);
    if (!file)
      return propagate(file);
    return std::string((*file)->text());
  };
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string &argument = arguments[i];
    std::string next = i + 1 < arguments.size() ? arguments[i + 1] : "";
    if (argument == "--threads") {
      threads = std::atoll(next.c_str()), ++i;
    } else if (argument == "--cache") {
      cacheFolder = next, ++i;
    } else if (argument == "-o") {
      folder = next, ++i;
    } else if (architecture.empty()) {
      architecture = argument;
    } else {
      bool header = argument == "--header";
      auto text = textOf(header ? next.substr(next.find('=') + 1) : argument);
      if (!text)
        return complain(text.error());
      std::string name = baseName(argument);
      if (header)
        headers.push_back({next.substr(0, next.find('=')), *text}), ++i;
      else
        kernels.push_back({name.substr(0, name.rfind('.')), *text});
    }
  }
  auto start = std::chrono::steady_clock::now();
  auto since = [&] {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  };
  auto nvrtc = Nvrtc::load();
  if (!nvrtc)
    return complain(nvrtc.error());
  fmt::print("NVRTC {} from {}, {:.1f} ms\n", (*nvrtc)->version(), (*nvrtc)->path(), since());
  start = std::chrono::steady_clock::now();
  KernelCache cache = KernelCache::open(cacheFolder);
  auto compiled =
      compileKernels(**nvrtc, kernels, headers, architecture, cacheFolder.empty() ? nullptr : &cache, threads);
  if (!compiled)
    return complain(compiled.error());
  double spent = since();
  for (size_t i = 0; i < kernels.size(); ++i) {
    const DeviceCode &code = compiled->code[i];
    fmt::print(
        "{}: {} bytes, {} registers, {} bytes of stack, {} + {} of spills, {} shared, {} constant, {} barriers\n{}",
        kernels[i].name, code.image.size(), code.usage.registers, code.usage.stackBytes, code.usage.spillStores,
        code.usage.spillLoads, code.usage.sharedBytes, code.usage.constantBytes, code.usage.barriers, code.log);
    if (!folder.empty()) {
      std::ofstream file(
          fmt::format("{}/{}.{}", folder, kernels[i].name, architecture.starts_with("compute_") ? "ptx" : "cubin"),
          std::ios::binary);
      file << code.image;
    }
  }
  fmt::print("{} kernels for {} in {:.1f} ms, {} of them from the cache\n", kernels.size(), architecture, spent,
             compiled->found);
  if (!cacheFolder.empty() && !cache.warning().empty())
    fmt::print(stderr, "lathe_nvrtc_probe: warning: {}\n", cache.warning());
}
