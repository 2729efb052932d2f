//===- main.cpp - lathe-compiler: the side of lathe that links MLIR ---------===//
//
// Started by `lathe compile|inspect|import|tune`, as git starts its sub-commands; the arguments are the same.
//
//===----------------------------------------------------------------------===//
#include "tools/lathe-compiler/Commands.h"

#include "runtime/support/Interrupt.h"

#include <csignal>

int main(int argc, char **argv) {
  std::signal(SIGPIPE, SIG_DFL); // a closed pipe is quiet
  lathe::endOnInterrupt();       // Ctrl-C leaves no partial artifact behind
  CLI::App app("Lathe's compiler", "lathe");
  app.require_subcommand(1);
  lathe::Command run;
  lathe::addCompile(app, run);
  lathe::addImport(app, run);
  lathe::addInspect(app, run);
  lathe::addTune(app, run);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError &error) {
    return app.exit(error) == 0 ? 0 : static_cast<int>(lathe::ExitCode::usage);
  }
  auto done = run();
  if (done)
    return 0;
  std::fprintf(stderr, "lathe: error: %s\n", done.error().message.c_str());
  return static_cast<int>(done.error().code);
}
