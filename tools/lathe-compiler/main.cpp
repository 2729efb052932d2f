//===- main.cpp - lathe-compiler: the side of lathe that links MLIR ---------===//
//
// Started by `lathe compile|inspect|import|tune`, as git starts its sub-commands; the arguments are the same.
//
//===----------------------------------------------------------------------===//
#include "tools/lathe-compiler/Commands.h"

#include "runtime/support/Interrupt.h"
#include "tools/support/Description.h"

#include <csignal>
#include <string_view>

using namespace lathe;

int main(int argc, char **argv) {
  std::signal(SIGPIPE, SIG_DFL); // a closed pipe is quiet
  endOnInterrupt();              // Ctrl-C leaves no partial artifact behind
  ExitCode ending = ExitCode::ok;
  int code = carryOut([&]() -> Result<void> {
    CommandLine line("Lathe's compiler", LATHE_VERSION,
                     {"generate", "chat", "batch", "eval", "bench", "doctor", "completion", "serve"});
    Action run;
    addCompile(line.app(), run);
    addImport(line.app(), run);
    addInspect(line.app(), run);
    addTune(line.app(), run);
    if (argc == 2 && std::string_view(argv[1]) == "--describe") {
      fmt::print("{}\n", describeCommands(line.app()).dump());
      return {};
    }
    if (auto done = line.parse(argc, argv)) {
      ending = *done;
      return {};
    }
    return run();
  });
  return code ? code : static_cast<int>(ending);
}
