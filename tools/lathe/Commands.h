//===- Commands.h - the sub-commands of lathe, one file each --------------===//
#pragma once

#include "runtime/support/Error.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <functional>

namespace lathe {

/// What the parsed command line asks for. Returns when the command is done.
using Action = std::function<Result<void>()>;

/// Each adds its sub-command to `app`; when that is chosen, `action` is set.
void addGenerate(CLI::App &app, Action &action);
void addBatch(CLI::App &app, Action &action);
void addEval(CLI::App &app, Action &action);
void addBench(CLI::App &app, Action &action);

/// Names of the sub-commands that the program lathe-compiler carries out; here for `lathe --help`.
void addCompilerCommands(CLI::App &app);
bool isCompilerCommand(const char *name);
/// Becomes lathe-compiler, which stands beside this executable, with the same arguments. Returns only on failure.
Result<void> startCompiler(char **arguments);

} // namespace lathe
