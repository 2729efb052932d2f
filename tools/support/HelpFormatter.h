//===- HelpFormatter.h - what --help looks like ---------------------------===//
#pragma once

#include <CLI/App.hpp>
#include <CLI/Formatter.hpp>
#include <string>
#include <vector>

namespace lathe {

/// The values of an option that takes one of a few: "f32", "bf16". Empty for others.
std::vector<std::string> choicesOf(const CLI::Option &option);
/// What stands for an option's value: "N", "X", "TEXT", "f32|bf16"; "" for a flag without one.
std::string valueOf(const CLI::Option &option);

/// Options by subject with wrapped texts and defaults, then the options that all commands have, then examples.
class HelpFormatter final : public CLI::Formatter {
public:
  HelpFormatter();
  std::string make_help(const CLI::App *app, std::string name, CLI::AppFormatMode mode) const override;
  std::string make_group(std::string group, bool positional, std::vector<const CLI::Option *> options) const override;
  std::string make_usage(const CLI::App *app, std::string name) const override;
  std::string make_option(const CLI::Option *option, bool positional) const override;
  std::string make_subcommand(const CLI::App *command) const override;
  std::string make_expanded(const CLI::App *group) const override;
  std::string make_subcommands(const CLI::App *app, CLI::AppFormatMode mode) const override;
};

} // namespace lathe
