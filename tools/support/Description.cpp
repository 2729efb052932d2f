#include "tools/support/Description.h"

#include "tools/support/HelpFormatter.h"
#include "tools/support/Settings.h"

#include <sstream>

namespace lathe {
namespace {

using Json = nlohmann::ordered_json;

Json describeFlag(const CLI::Option &option, const std::string &subject, const std::string &variable) {
  return {{"long", option.get_lnames().empty() ? "" : option.get_lnames().front()},
          {"short", option.get_snames().empty() ? "" : option.get_snames().front()},
          {"value", valueOf(option)},
          {"choices", choicesOf(option)},
          {"default", option.get_configurable() ? option.get_default_str() : ""},
          {"help", option.get_description()},
          {"subject", subject},
          {"variable", variable},
          {"repeats", option.get_expected_max() > 1 && option.get_delimiter() != ','}};
}

/// Flags of a command in the order of its help: option groups first.
Json describeFlags(CLI::App &command) {
  Json flags = Json::array();
  for (bool grouped : {true, false})
    for (const Flag &flag : flagsOf(command))
      if ((flag.group != &command) == grouped && !flag.option->get_group().empty())
        flags.push_back(describeFlag(*flag.option, grouped ? flag.group->get_description() : flag.option->get_group(),
                                     flag.variable()));
  return flags;
}

} // namespace

Json describeCommands(CLI::App &root) {
  Json commands = Json::array(), common = Json::array();
  for (CLI::App *command : root.get_subcommands([](CLI::App *app) { return !app->get_name().empty(); })) {
    Json examples = Json::array(), arguments = Json::array();
    std::istringstream lines(command->get_footer());
    for (std::string line; std::getline(lines, line);)
      if (line.starts_with("  "))
        examples.push_back(line.substr(2));
    for (const CLI::Option *option :
         command->get_options([](const CLI::Option *candidate) { return candidate->get_positional(); }))
      arguments.push_back({{"name", option->get_name(true)},
                           {"required", option->get_required()},
                           {"choices", choicesOf(*option)},
                           {"help", option->get_description()}});
    commands.push_back({{"name", command->get_name()},
                        {"subject", command->get_group()},
                        {"help", command->get_description()},
                        {"examples", examples},
                        {"arguments", arguments},
                        {"flags", describeFlags(*command)}});
  }
  for (const CLI::Option *option : root.get_options(
           [](const CLI::Option *candidate) { return candidate->nonpositional() && !candidate->get_group().empty(); }))
    common.push_back(describeFlag(*option, "",
                                  option->get_configurable() || option == root.get_config_ptr()
                                      ? Flag{const_cast<CLI::Option *>(option), nullptr}.variable()
                                      : ""));
  return {{"commands", commands}, {"flags", common}};
}

} // namespace lathe
