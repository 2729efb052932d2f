//===- Description.h - a command line as data -----------------------------===//
#pragma once

#include <CLI/App.hpp>
#include <nlohmann/json.hpp>

namespace lathe {

/// The commands of a program as its parser has them: {"commands": [{name, subject, help, examples, arguments, flags}],
/// "flags": those of every command}. A flag is {long, short, value, choices, default, help, subject, variable,
/// repeats}; an argument {name, required, choices, help}. Shell completion and the written reference are made from it.
nlohmann::ordered_json describeCommands(CLI::App &root);

} // namespace lathe
