#include "compiler/Nvdisasm.h"

#include "compiler/Programs.h"

#include "llvm/Support/Program.h"

#include <cstdlib>
#include <filesystem>

namespace lathe {

namespace fs = std::filesystem;

/// In a virtual environment's wheels.
static std::string inWheels(const fs::path &environment) {
  std::error_code ignored;
  for (const auto &python : fs::directory_iterator(environment / "lib", ignored))
    for (const char *folder : {"nvidia/cu13/bin", "nvidia/cuda_nvdisasm/bin"})
      if (fs::path path = python.path() / "site-packages" / folder / "nvdisasm"; fs::exists(path, ignored))
        return path.string();
  return "";
}

static Result<std::string> findNvdisasm() {
  std::error_code ignored;
  if (const char *given = std::getenv("LATHE_NVDISASM"); given && *given) {
    if (!fs::exists(given, ignored))
      return fail(ExitCode::runtime, "LATHE_NVDISASM: {} does not exist", given);
    return given;
  }
  if (auto found = llvm::sys::findProgramByName("nvdisasm"))
    return *found;
  for (const char *variable : {"CUDA_HOME", "CUDA_PATH"})
    if (const char *folder = std::getenv(variable); folder && *folder)
      if (fs::path path = fs::path(folder) / "bin/nvdisasm"; fs::exists(path, ignored))
        return path.string();
  if (auto found = llvm::sys::findProgramByName("nvdisasm", {"/usr/local/cuda/bin", "/opt/cuda/bin"}))
    return *found;
  if (const char *environment = std::getenv("VIRTUAL_ENV"); environment && *environment)
    if (std::string found = inWheels(environment); !found.empty())
      return found;
  if (fs::path program = fs::read_symlink("/proc/self/exe", ignored); !program.empty())
    for (const fs::path &folder : {program.parent_path(), program.parent_path().parent_path()})
      if (std::string found = inWheels(folder / "venv"); !found.empty())
        return found;
  return fail(ExitCode::runtime, "cannot find nvdisasm, which shows the instructions of cubins: `tools/quickstart "
                                 "--cuda` installs it, or name it in LATHE_NVDISASM");
}

Result<std::string> disassembleCubin(std::string_view cubin) {
  auto program = findNvdisasm();
  if (!program)
    return propagate(program);
  auto folder = TemporaryFolder::make();
  if (!folder)
    return propagate(folder);
  std::string file = (*folder)->file("kernel.cubin");
  if (auto written = writeFile(file, cubin); !written)
    return propagate(written);
  auto text = runProgram(*program, {"-c", file});
  if (!text)
    return fail(ExitCode::runtime, "nvdisasm failed: {}", text.error().message);
  return *text + "\n";
}

} // namespace lathe
