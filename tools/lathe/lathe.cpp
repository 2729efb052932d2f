//===- lathe.cpp - the command line ---------------------------------------===//
#include "tools/lathe/Commands.h"
#include "tools/lathe/Output.h"

#include "runtime/support/Interrupt.h"

#include <csignal>
#include <string_view>

using namespace lathe;

namespace {

Result<void> runCommandLine(int count, char **arguments, ExitCode &ending) {
  if (int command = findCommand(count, arguments); command && isCompilerCommand(arguments[command]))
    return startCompiler(arguments);
  CommandLine line("Lathe runs compiled transformer models, and compiles them.", LATHE_VERSION, compilerCommands());
  Action action;
  CLI::App &app = line.app();
  addGenerate(app, action);
  addChat(app, action);
  addBatch(app, action);
  addEval(app, action);
  addCompilerCommands(app);
  addBench(app, action);
  addDoctor(app, action);
  addCompletion(app, action);
  if (count == 2 && std::string_view(arguments[1]) == "--describe") // for completion and the written reference
    return writeOutput(describeAll(app).dump(2) + "\n");
  if (auto code = line.parse(count, arguments)) {
    ending = *code;
    return {};
  }
  return action();
}

} // namespace

int main(int count, char **arguments) {
  std::signal(SIGPIPE, SIG_DFL); // a reader that leaves ends us without a word
  std::signal(SIGXFSZ, SIG_IGN); // a write past a size limit is then an error like a full disk
  endOnInterrupt();
  ExitCode ending = ExitCode::ok;
  int code = carryOut([&] { return runCommandLine(count, arguments, ending); });
  return code ? code : static_cast<int>(ending);
}
