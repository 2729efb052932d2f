#include "tools/support/HelpFormatter.h"

#include "tools/support/Terminal.h"

#include <algorithm>
#include <fmt/format.h>
#include <unistd.h>

namespace lathe {
namespace {

constexpr size_t kColumn = 30;

/// A name, then its text from a column on, wrapped at the width of the terminal.
std::string entry(const std::string &name, const std::string &text) {
  size_t width = static_cast<size_t>(std::clamp(columnsOf(STDOUT_FILENO), 60, 120));
  std::string line = "  " + name, result;
  if (line.size() + 2 > kColumn) {
    result = line + "\n";
    line.clear();
  }
  line.resize(kColumn, ' ');
  std::string_view rest = text;
  while (!rest.empty()) {
    std::string_view word = rest.substr(0, rest.find_first_of(" \n"));
    if (line.size() > kColumn && line.size() + 1 + word.size() > width) {
      result += line + "\n";
      line = std::string(kColumn, ' ');
    }
    line += (line.size() > kColumn ? " " : "") + std::string(word);
    rest.remove_prefix(std::min(rest.size(), word.size() + 1));
  }
  return result + line + "\n";
}

std::string heading(std::string_view text) { return "\n" + paint(Style::bold, text, STDOUT_FILENO) + "\n"; }

} // namespace

std::vector<std::string> choicesOf(const CLI::Option &option) {
  std::string type = option.get_type_name();
  size_t open = type.find('{'), close = type.rfind('}');
  std::vector<std::string> choices;
  if (open == type.npos || close == type.npos)
    return choices;
  std::string_view rest = std::string_view(type).substr(open + 1, close - open - 1);
  while (!rest.empty()) {
    std::string_view one = rest.substr(0, rest.find(','));
    choices.emplace_back(one);
    rest.remove_prefix(std::min(rest.size(), one.size() + 1));
  }
  return choices;
}

std::string valueOf(const CLI::Option &option) {
  if (option.get_type_size() == 0)
    return "";
  if (auto choices = choicesOf(option); !choices.empty() && choices.size() <= 8)
    return fmt::format("{}", fmt::join(choices, "|"));
  std::string type = option.get_type_name();
  type.resize(std::min(type.size(), type.find(':')));
  std::string one = type.starts_with("INT") || type.starts_with("UINT") ? "N" : type.starts_with("FLOAT") ? "X" : type;
  return option.get_delimiter() == ',' ? one + "," + one + ",…" : one;
}

HelpFormatter::HelpFormatter() {
  label("Positionals", "Arguments");
  column_width(kColumn);
}

std::string HelpFormatter::make_help(const CLI::App *app, std::string name, CLI::AppFormatMode mode) const {
  std::string text = make_description(app) + "\n" + make_usage(app, name) + make_positionals(app);
  text += make_subcommands(app, mode);
  for (const std::string &group : app->get_groups()) {
    std::vector<const CLI::Option *> options = app->get_options([&](const CLI::Option *option) {
      bool help = app->get_parent() && option == app->get_help_ptr();
      return option->get_group() == group && option->nonpositional() && !help;
    });
    if (!group.empty() && !options.empty())
      text += make_group(group, false, options);
  }
  if (const CLI::App *root = app->get_parent()) {
    std::vector<const CLI::Option *> common = root->get_options([&](const CLI::Option *option) {
      return !option->get_group().empty() && option->nonpositional() && option->get_name() != "--version";
    });
    text += make_group("Options of every command", false, common);
    text += "\nEach flag is also read from a variable (--top-k from LATHE_TOP_K) and from the settings file.\n";
  }
  std::string footer = app->get_footer();
  if (footer.starts_with("Examples:\n"))
    footer = paint(Style::bold, "Examples", STDOUT_FILENO) + footer.substr(9);
  return text + (footer.empty() ? "" : "\n" + footer + "\n");
}

std::string HelpFormatter::make_group(std::string group, bool positional,
                                      std::vector<const CLI::Option *> options) const {
  std::string text = heading(group);
  for (const CLI::Option *option : options)
    text += make_option(option, positional);
  return text;
}

std::string HelpFormatter::make_usage(const CLI::App *app, std::string name) const {
  if (const CLI::App *parent = app->get_parent(); parent && name.empty())
    name = parent->get_name() + " " + app->get_name();
  std::string text = paint(Style::bold, "Usage:", STDOUT_FILENO) + " " + (name.empty() ? app->get_name() : name);
  for (const CLI::Option *option : app->get_options([](const CLI::Option *o) { return o->get_positional(); }))
    text += option->get_required() ? " " + option->get_name(true) : " [" + option->get_name(true) + "]";
  auto named = app->get_subcommands([](const CLI::App *command) { return !command->get_name().empty(); });
  return text + (named.empty() ? " [options]\n" : " COMMAND [options]\n");
}

std::string HelpFormatter::make_option(const CLI::Option *option, bool positional) const {
  std::string name = option->get_name(positional, true);
  if (!positional) {
    // "-n,--count" as "-n, --count"
    for (size_t comma = name.find(','); comma != name.npos; comma = name.find(',', comma + 2))
      name.insert(comma + 1, " ");
    if (option->get_snames().empty())
      name = "    " + name;
    if (std::string value = valueOf(*option); !value.empty())
      name += " " + value;
  }
  std::string text = option->get_description(), standard = option->get_default_str();
  if (!standard.empty() && standard != "\"\"" && option->get_configurable())
    text += fmt::format(" [{}]", standard);
  return entry(name, text);
}

std::string HelpFormatter::make_subcommand(const CLI::App *command) const {
  return entry(command->get_name(), command->get_description());
}

/// An option group: its description is the heading.
std::string HelpFormatter::make_expanded(const CLI::App *group) const {
  auto options = group->get_options([&](const CLI::Option *option) {
    return option->nonpositional() && !option->get_group().empty() && option != group->get_help_ptr();
  });
  return make_group(group->get_description(), false, options);
}

std::string HelpFormatter::make_subcommands(const CLI::App *app, CLI::AppFormatMode) const {
  std::string text;
  std::vector<std::string> subjects;
  auto commands = app->get_subcommands([](const CLI::App *) { return true; });
  for (const CLI::App *command : commands)
    if (command->get_name().empty())
      text += make_expanded(command);
    else if (std::ranges::find(subjects, command->get_group()) == subjects.end())
      subjects.push_back(command->get_group());
  for (const std::string &subject : subjects) {
    text += heading(subject);
    for (const CLI::App *command : commands)
      if (!command->get_name().empty() && command->get_group() == subject)
        text += make_subcommand(command);
  }
  return text;
}

} // namespace lathe
