//===- Settings.h - flags from the environment and from a file ------------===//
//
// Every flag can also be given as a LATHE_* variable or in a TOML file; what is given nearer to the command wins:
//
//   lathe generate --top-k 20          the flag
//   LATHE_TOP_K=20                     the variable: the flag's long name in capitals, _ for -
//   [generate]                         the file: a table for each command,
//   top-k = 20                         a key for each flag, as it is written
//
// A flag pushes aside what a farther place says of flags that it excludes, so that a prompt in the file does not
// collide with one on the command line. The file is --config FILE, else LATHE_CONFIG, else lathe/config.toml in
// XDG_CONFIG_HOME
// (~/.config), where it is there.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/support/Error.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace lathe {

/// The flags of a command that settings can give, those of its option groups too; not its positionals.
struct Flag {
  CLI::Option *option = nullptr;
  const CLI::App *group = nullptr; ///< the option group it is in, else the command
  /// "top-k"; the short name where there is no long one.
  std::string name() const;
  /// "LATHE_TOP_K".
  std::string variable() const;
};
std::vector<Flag> flagsOf(CLI::App &command);

/// The file that holds where the command line names none; "/dev/null" where there is none, since CLI11 reads no
/// settings without a file.
std::string settingsFile();

/// CLI11 calls this when all arguments are known; what it returns goes to options that were not given.
class Settings final : public CLI::Config {
public:
  /// `others`: names of commands of other programs, whose tables are theirs to check.
  Settings(CLI::App &root, std::vector<std::string> others) : root(root), others(std::move(others)) {}

  std::vector<CLI::ConfigItem> from_config(std::istream &input) const override;
  std::string to_config(const CLI::App *, bool, bool, std::string) const override { return print(); }

  /// What is wrong with the file, once CLI11 has asked.
  const std::optional<Error> &problem() const { return wrong; }
  /// Where an option's value comes from: "LATHE_TOP_K", "config.toml:3"; "" for a flag or a default.
  std::string origin(const CLI::Option *option) const;
  bool fromFile(const CLI::Option *option) const;
  /// The option of the chosen command, or of all, whose name stands in a message of CLI11; null: none.
  const CLI::Option *mentioned(const std::string &message) const;
  /// All flags of the chosen command with their values and what gave them: TOML that can be used as such a file.
  std::string print() const;

private:
  struct Source {
    bool file = false;
    std::string text;
  };
  class Layer;

  CLI::App &root;
  std::vector<std::string> others;
  // CLI11's interface is const.
  mutable std::optional<Error> wrong;
  mutable std::map<const CLI::Option *, Source> sources;
};

} // namespace lathe
