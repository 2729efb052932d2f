#include "tools/lathe/Commands.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <unistd.h>

namespace lathe {
namespace {

struct Command {
  const char *name, *help;
};
constexpr std::array kCommands = {
    Command{"compile", "Compile a model to an artifact"},
    Command{"inspect", "Show what is in an artifact: stages, kernels, memory"},
    Command{"import", "Print the canonical TOML config of a model"},
    Command{"tune", "Measure schedules and write a schedule table"},
};

/// The path of this executable.
std::string executable() {
  std::string path(4096, '\0');
  ssize_t length = readlink("/proc/self/exe", path.data(), path.size());
  path.resize(length > 0 ? static_cast<size_t>(length) : 0);
  return path;
}

} // namespace

bool isCompilerCommand(const char *name) {
  for (const Command &command : kCommands)
    if (std::strcmp(name, command.name) == 0)
      return true;
  return false;
}

void addCompilerCommands(CLI::App &app) {
  for (const Command &command : kCommands)
    app.add_subcommand(command.name, command.help);
}

Result<void> startCompiler(char **arguments) {
  std::string path = executable();
  path = path.substr(0, path.rfind('/') + 1) + "lathe-compiler";
  execv(path.c_str(), arguments);
  return fail(ExitCode::runtime,
              "{}: cannot start the compiler: {}; lathe {} needs the program lathe-compiler beside lathe", path,
              std::strerror(errno), arguments[1]);
}

} // namespace lathe
