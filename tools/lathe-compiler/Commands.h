//===- Commands.h - the sub-commands that need the compiler ---------------===//
#pragma once

#include "runtime/support/Error.h"
#include "tools/support/CommandLine.h"

#include <CLI/CLI.hpp>

namespace lathe {

/// Each adds its sub-command; `run` is set to what does it once the arguments are parsed.
void addCompile(CLI::App &app, Action &run);
void addImport(CLI::App &app, Action &run);
void addInspect(CLI::App &app, Action &run);
void addTune(CLI::App &app, Action &run);

} // namespace lathe
