//===- lathe.cpp - the command line ---------------------------------------===//
#include "tools/lathe/Commands.h"

#include "runtime/support/Interrupt.h"

#include <csignal>
#include <cstdio>
#include <new>

using namespace lathe;

namespace {

int report(const Error &error) {
  fmt::print(stderr, "lathe: error: {}\n", error.message);
  return static_cast<int>(error.code);
}

int runCommandLine(int count, char **arguments) {
  if (count > 1 && isCompilerCommand(arguments[1]))
    return report(startCompiler(arguments).error());
  CLI::App app("Lathe runs compiled transformer models.", "lathe");
  app.set_version_flag("--version", "lathe " LATHE_VERSION);
  app.require_subcommand(1);
  app.footer("Exit codes: 0 ok, 1 run-time failure, 2 usage, 3 bad input, 4 the artifact does not fit this machine or "
             "version,\n"
             "5 out of memory or disk, 6 a check failed, 7 internal error, 130 interrupted.");
  Action action;
  addGenerate(app, action);
  addBatch(app, action);
  addEval(app, action);
  addBench(app, action);
  addCompilerCommands(app);
  try {
    app.parse(count, arguments);
  } catch (const CLI::ParseError &error) {
    return app.exit(error) == 0 ? 0 : static_cast<int>(ExitCode::usage);
  }
  Result<void> done = action();
  return done ? 0 : report(done.error());
}

} // namespace

int main(int count, char **arguments) {
  std::signal(SIGPIPE, SIG_DFL); // a reader that leaves ends us without a word
  std::signal(SIGXFSZ, SIG_IGN); // a write past a size limit is then an error like a full disk
  endOnInterrupt();
  try {
    return runCommandLine(count, arguments);
  } catch (const std::bad_alloc &) {
    return report({ExitCode::resource, "out of memory"});
  } catch (const std::exception &error) {
    return report({ExitCode::internal, fmt::format("internal error: {}; this is a defect of lathe", error.what())});
  }
}
