//===- Commands.h - the sub-commands of lathe, one file each --------------===//
#pragma once

#include "runtime/support/Error.h"
#include "tools/support/CommandLine.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <nlohmann/json.hpp>

namespace lathe {

/// Each adds its sub-command to `app`; when that is chosen, `action` is set.
void addGenerate(CLI::App &app, Action &action);
void addBatch(CLI::App &app, Action &action);
void addEval(CLI::App &app, Action &action);
void addBench(CLI::App &app, Action &action);
void addChat(CLI::App &app, Action &action);
void addDoctor(CLI::App &app, Action &action);
void addCompletion(CLI::App &app, Action &action);

/// Names of the sub-commands that the program lathe-compiler carries out; here for `lathe --help`.
void addCompilerCommands(CLI::App &app);
std::vector<std::string> compilerCommands();
bool isCompilerCommand(const char *name);
/// Becomes lathe-compiler, which stands beside this executable, with the same arguments. Returns only on failure.
Result<void> startCompiler(char **arguments);

/// The description (tools/support/Description.h) of all commands; where lathe-compiler stands beside this executable,
/// its own has the flags of its commands.
nlohmann::ordered_json describeAll(CLI::App &app);

} // namespace lathe
