//===- CommandLine.h - what every command of lathe has in common ----------===//
//
// `lathe` and `lathe-compiler`, which it starts for some commands, look like one program: the same help, messages, exit
// codes, settings (Settings.h) and colours (Terminal.h).
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/support/Error.h"
#include "tools/support/Settings.h"

#include <CLI/App.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace lathe {

/// What the parsed command line asks for. Returns when the command is done.
using Action = std::function<Result<void>()>;

/// The subjects of `lathe --help`.
namespace subject {
inline constexpr const char *run = "Run a model", *compile = "Compile a model", *measure = "Measure", *setup = "Set up";
} // namespace subject

class CommandLine {
public:
  /// `others`: commands in `app` that another program carries out; their flags are not known here.
  CommandLine(const std::string &description, const std::string &version, std::vector<std::string> others = {});

  CLI::App &app() { return root; }
  /// Parses the arguments. An exit code when all is done with that: help was asked for, or a message was printed.
  std::optional<ExitCode> parse(int count, char **arguments);

private:
  ExitCode refuse(ExitCode code, const std::string &message) const;
  std::string unexpected() const;
  std::optional<ExitCode> checkSettings() const;
  std::optional<ExitCode> explain(const CLI::ParseError &error) const;

  CLI::App root;
  std::shared_ptr<Settings> settings;
  std::string color = "auto";
  bool printConfig = false;
};

/// Where among the arguments the command stands, behind flags of all commands; 0: there is none.
int findCommand(int count, char **arguments);

/// Numbers with k, m or g behind them: 32k is 32 * 1024.
CLI::Validator sizes();

/// Finite numbers from 0 up, or above 0. (CLI11's own say the range of a double in their messages.)
CLI::Validator nonNegative();
CLI::Validator positive();

/// Prints "lathe: error: …" and returns the exit code.
int report(const Error &error);
/// Carries an action out: its exit code, which is ExitCode::resource for memory that is not there and
/// ExitCode::internal for an exception that nobody expected.
int carryOut(const Action &action);

} // namespace lathe
