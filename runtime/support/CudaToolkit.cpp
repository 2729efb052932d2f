#include "runtime/support/CudaToolkit.h"

#include <cstdlib>
#include <filesystem>
#include <string_view>
#include <unistd.h>

namespace lathe {
namespace {

namespace fs = std::filesystem;

constexpr const char *kNvrtc[] = {"libnvrtc.so.13", "libnvrtc.so.12"};

const char *variable(const char *name) {
  const char *value = std::getenv(name);
  return value && *value ? value : nullptr;
}

/// One part of the toolkit: its folders under a toolkit's, and under a wheel's site-packages, where wheels of CUDA 13
/// share one folder and those of CUDA 12 have one each.
struct Part {
  std::vector<fs::path> inToolkit, inWheels;
};

/// Folders that may have it, in order; those that there are.
std::vector<fs::path> foldersOf(const Part &part) {
  std::error_code ignored;
  std::vector<fs::path> folders;
  auto add = [&](const fs::path &folder) {
    if (fs::is_directory(folder, ignored))
      folders.push_back(folder);
  };
  for (const char *toolkit : {variable("CUDA_HOME"), variable("CUDA_PATH"), "/usr/local/cuda", "/opt/cuda"})
    for (const fs::path &inner : part.inToolkit)
      if (toolkit)
        add(toolkit / inner);
  std::vector<fs::path> environments;
  if (const char *environment = variable("VIRTUAL_ENV"))
    environments.emplace_back(environment);
  if (fs::path program = fs::read_symlink("/proc/self/exe", ignored); !program.empty())
    for (const fs::path &folder : {program.parent_path(), program.parent_path().parent_path()})
      environments.push_back(folder / "venv");
  for (const fs::path &environment : environments)
    for (const auto &python : fs::directory_iterator(environment / "lib", ignored))
      for (const fs::path &inner : part.inWheels)
        add(python.path() / "site-packages" / inner);
  return folders;
}

} // namespace

std::vector<std::string> nvrtcPlaces() {
  std::error_code ignored;
  std::vector<std::string> places;
  auto addFolder = [&](const fs::path &folder) {
    for (const char *file : kNvrtc)
      if (fs::exists(folder / file, ignored))
        places.push_back((folder / file).string());
  };
  if (const char *given = variable("LATHE_NVRTC")) {
    if (!fs::is_directory(given, ignored))
      return {given};
    addFolder(given);
    if (places.empty())
      places.push_back((fs::path(given) / kNvrtc[0]).string()); // its message names the folder
    return places;
  }
  places.assign(std::begin(kNvrtc), std::end(kNvrtc)); // LD_LIBRARY_PATH and ld.so.conf
  for (const fs::path &folder :
       foldersOf({{"lib64", "targets/x86_64-linux/lib"}, {"nvidia/cu13/lib", "nvidia/cuda_nvrtc/lib"}}))
    addFolder(folder);
  return places;
}

Result<std::string> findNvdisasm() {
  constexpr const char *kProgram = "nvdisasm";
  if (const char *given = variable("LATHE_NVDISASM")) {
    if (access(given, X_OK) != 0)
      return fail(ExitCode::runtime, "LATHE_NVDISASM: {} is no program that can be run; name NVIDIA's nvdisasm", given);
    return given;
  }
  std::vector<fs::path> folders;
  std::string_view path = variable("PATH") ? variable("PATH") : "";
  while (!path.empty()) {
    size_t end = std::min(path.find(':'), path.size());
    if (end > 0)
      folders.emplace_back(path.substr(0, end));
    path.remove_prefix(std::min(path.size(), end + 1));
  }
  for (fs::path &folder : foldersOf({{"bin"}, {"nvidia/cu13/bin", "nvidia/cuda_nvdisasm/bin"}}))
    folders.push_back(std::move(folder));
  for (const fs::path &folder : folders)
    if (fs::path program = folder / kProgram; access(program.c_str(), X_OK) == 0)
      return program.string();
  return fail(ExitCode::runtime, "cannot find nvdisasm, which shows the instructions of cubins: `tools/setup` "
                                 "installs it into build/venv, or name it in LATHE_NVDISASM");
}

} // namespace lathe
