//===- Commands.h - the sub-commands that need the compiler ---------------===//
#pragma once

#include "runtime/support/Error.h"

#include <CLI/CLI.hpp>

namespace lathe {

/// Each adds its sub-command; `run` is set to what does it once the arguments are parsed.
using Command = std::function<Result<void>()>;
void addCompile(CLI::App &app, Command &run);
void addImport(CLI::App &app, Command &run);
void addInspect(CLI::App &app, Command &run);
void addTune(CLI::App &app, Command &run);

} // namespace lathe
