#include "tools/lathe/Commands.h"
#include "tools/support/Description.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace lathe {
namespace {

struct Command {
  const char *name, *help, *subject;
};
constexpr std::array kCommands = {
    Command{"compile", "Compile a model to an artifact", subject::compile},
    Command{"inspect", "Show what is inside an artifact", subject::compile},
    Command{"import", "Print the canonical TOML of anything Lathe reads", subject::compile},
    Command{"tune", "Measure schedules and write a schedule table", subject::measure},
};

/// The path of this executable.
std::string executable() {
  std::string path(4096, '\0');
  ssize_t length = readlink("/proc/self/exe", path.data(), path.size());
  path.resize(length > 0 ? static_cast<size_t>(length) : 0);
  return path;
}

std::string compilerProgram() {
  std::string path = executable();
  return path.substr(0, path.rfind('/') + 1) + "lathe-compiler";
}

/// What `lathe-compiler --describe` prints; empty where it is not there.
std::string describeCompiler() {
  std::string program = compilerProgram(), text;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0)
    return text;
  pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDOUT_FILENO);
    execl(program.c_str(), "lathe", "--describe", nullptr);
    _exit(127);
  }
  close(ends[1]);
  char buffer[4096];
  for (ssize_t count; child > 0 && (count = read(ends[0], buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<size_t>(count));
  close(ends[0]);
  int status = 0;
  if (child > 0)
    waitpid(child, &status, 0);
  return text;
}

} // namespace

bool isCompilerCommand(const char *name) {
  for (const Command &command : kCommands)
    if (std::strcmp(name, command.name) == 0)
      return true;
  return false;
}

std::vector<std::string> compilerCommands() {
  std::vector<std::string> names;
  for (const Command &command : kCommands)
    names.push_back(command.name);
  return names;
}

void addCompilerCommands(CLI::App &app) {
  for (const Command &command : kCommands)
    app.add_subcommand(command.name, command.help)->group(command.subject);
}

Result<void> startCompiler(char **arguments) {
  std::string path = compilerProgram();
  execv(path.c_str(), arguments);
  return fail(ExitCode::runtime,
              "{}: cannot start the compiler: {}; this command needs the program lathe-compiler beside lathe", path,
              std::strerror(errno));
}

nlohmann::ordered_json describeAll(CLI::App &app) {
  nlohmann::ordered_json all = describeCommands(app);
  auto compiler = nlohmann::ordered_json::parse(describeCompiler(), nullptr, false);
  if (compiler.is_object() && compiler.contains("commands"))
    for (auto &command : all["commands"])
      for (const auto &own : compiler["commands"])
        if (own["name"] == command["name"])
          command = own;
  return all;
}

} // namespace lathe
