#include "tools/support/Settings.h"

#include "compiler/ConfigDiagnostics.h"
#include "compiler/TomlFile.h"
#include "runtime/support/MappedFile.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iterator>

namespace lathe {

std::string Flag::name() const {
  return option->get_lnames().empty() ? option->get_snames().front() : option->get_lnames().front();
}

std::string Flag::variable() const {
  std::string result = "LATHE_" + name();
  for (char &c : result)
    c = c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return result;
}

std::vector<Flag> flagsOf(CLI::App &command) {
  std::vector<Flag> flags;
  for (CLI::Option *option : command.get_options())
    if (option->nonpositional() && option->get_configurable())
      flags.push_back({option, &command});
  for (CLI::App *group : command.get_subcommands([](CLI::App *app) { return app->get_name().empty(); }))
    for (Flag flag : flagsOf(*group))
      flags.push_back(flag);
  return flags;
}

std::string settingsFile() {
  auto variable = [](const char *name) {
    const char *value = std::getenv(name);
    return std::string(value ? value : "");
  };
  if (std::getenv("LATHE_CONFIG"))
    return variable("LATHE_CONFIG").empty() ? "/dev/null" : variable("LATHE_CONFIG");
  std::string folder = variable("XDG_CONFIG_HOME");
  if (folder.empty() && !variable("HOME").empty())
    folder = variable("HOME") + "/.config";
  std::error_code ignored;
  std::string path = folder + "/lathe/config.toml";
  return !folder.empty() && std::filesystem::is_regular_file(path, ignored) ? path : "/dev/null";
}

/// Finds what each flag gets, nearest place first.
class Settings::Layer {
public:
  Layer(const Settings &settings, std::string path, const toml::table &table)
      : settings(settings), path(std::move(path)), table(table) {}

  /// The tables and keys of the file, whatever the command: a slip should not wait for the day it matters.
  void check() {
    std::vector<std::string> names = settings.others;
    for (CLI::App *command : settings.root.get_subcommands(named))
      names.push_back(command->get_name());
    std::vector<std::string_view> tables(names.begin(), names.end());
    for (const auto &[key, node] : table) {
      std::string name(key.str());
      if (!node.is_table()) {
        bool common =
            std::ranges::any_of(flagsOf(settings.root), [&](const Flag &flag) { return flag.name() == name; });
        if (!common)
          report(key.source(),
                 fmt::format("'{}': flags stand in the table of their command, as in [generate]; above the "
                             "first table there is only color",
                             printable(name)));
        continue;
      }
      if (std::ranges::find(names, name) == names.end())
        report(key.source(), fmt::format("no command '{}'{}", printable(name), suggestion(name, tables)));
      else if (CLI::App *command = find(name))
        checkTable(*command, *node.as_table());
    }
  }

  void give(CLI::App &command, const toml::table *values, std::vector<std::string> parents) {
    std::vector<Flag> flags = flagsOf(command);
    std::set<const CLI::Option *> taken;
    for (const Flag &flag : flags)
      if (flag.option->count())
        taken.insert(flag.option);
    auto displaced = [&](const Flag &flag) {
      auto excludes = flag.option->get_excludes();
      for (const Flag &other : flags)
        if (taken.contains(other.option) && (excludes.contains(other.option) ||
                                             (other.group == flag.group && flag.group->get_require_option_max() == 1)))
          return true;
      return taken.contains(flag.option);
    };
    auto add = [&](const Flag &flag, std::vector<std::string> values, Source source) {
      items.push_back({parents, flag.name(), std::move(values)});
      settings.sources[flag.option] = std::move(source);
      taken.insert(flag.option);
    };
    for (const Flag &flag : flags)
      if (const char *value = std::getenv(flag.variable().c_str()); value && *value && !displaced(flag))
        add(flag, {value}, {false, flag.variable()});
    for (const Flag &flag : flags)
      if (const toml::node *node = values ? values->get(flag.name()) : nullptr; node && !displaced(flag))
        add(flag, texts(*node), {true, fmt::format("{}:{}", path, node->source().begin.line)});
  }

  std::vector<CLI::ConfigItem> items;

private:
  static bool named(CLI::App *app) { return !app->get_name().empty(); }
  CLI::App *find(const std::string &name) const {
    for (CLI::App *command : settings.root.get_subcommands(named))
      if (command->get_name() == name && std::ranges::find(settings.others, name) == settings.others.end())
        return command;
    return nullptr;
  }
  void report(const toml::source_region &place, const std::string &what) {
    if (!settings.wrong)
      settings.wrong =
          Error{ExitCode::badInput, fmt::format("{}:{}:{}: {}", path, place.begin.line, place.begin.column, what)};
  }
  void checkTable(CLI::App &command, const toml::table &keys) {
    std::vector<std::string> names;
    for (const Flag &flag : flagsOf(command))
      names.push_back(flag.name());
    std::vector<std::string_view> views(names.begin(), names.end());
    for (const auto &[key, node] : keys) {
      if (std::ranges::find(names, key.str()) == names.end())
        report(key.source(), fmt::format("lathe {} has no flag '--{}'{}", command.get_name(), printable(key.str()),
                                         suggestion(key.str(), views)));
      else if (texts(node).empty())
        report(node.source(), fmt::format("{}: expected a string, a number, true, false or a list of them, found {}",
                                          printable(key.str()), describe(node)));
    }
  }
  /// A value, or those of a list, as they would stand on a command line; none for what a flag cannot be.
  static std::vector<std::string> texts(const toml::node &node) {
    if (auto text = node.value_exact<std::string>())
      return {*text};
    if (auto whole = node.value_exact<int64_t>())
      return {fmt::format("{}", *whole)};
    if (auto number = node.value_exact<double>())
      return {fmt::format("{}", *number)};
    if (auto flag = node.value_exact<bool>())
      return {*flag ? "true" : "false"};
    std::vector<std::string> all;
    if (const toml::array *list = node.as_array())
      for (const toml::node &item : *list) {
        std::vector<std::string> one = item.is_array() ? std::vector<std::string>() : texts(item);
        if (one.empty())
          return {};
        all.push_back(one.front());
      }
    return all;
  }

  const Settings &settings;
  std::string path;
  const toml::table &table;
};

std::vector<CLI::ConfigItem> Settings::from_config(std::istream &input) const {
  constexpr size_t most = size_t{1} << 16;
  std::string path = root.get_config_ptr()->as<std::string>();
  std::string text(std::istreambuf_iterator<char>(input), {});
  auto table = parseToml(text, path, most);
  if (!table) {
    wrong = table.error();
    return {};
  }
  Layer layer(*this, path, *table);
  layer.check();
  if (wrong)
    return {};
  layer.give(root, &*table, {});
  for (CLI::App *command : root.get_subcommands())
    if (std::ranges::find(others, command->get_name()) == others.end()) {
      const toml::node *own = table->get(command->get_name());
      layer.give(*command, own ? own->as_table() : nullptr, {command->get_name()});
    }
  return std::move(layer.items);
}

std::string Settings::origin(const CLI::Option *option) const {
  auto source = sources.find(option);
  return source == sources.end() ? "" : source->second.text;
}

bool Settings::fromFile(const CLI::Option *option) const {
  auto source = sources.find(option);
  return source != sources.end() && source->second.file;
}

const CLI::Option *Settings::mentioned(const std::string &message) const {
  for (const auto &[option, source] : sources)
    if (message.find(option->get_name()) != message.npos)
      return option;
  return nullptr;
}

std::string Settings::print() const {
  std::string text;
  auto quoted = [](const std::string &value) {
    // What TOML reads as a number or a boolean stays bare.
    toml::parse_result parsed = toml::parse("x = " + value + "\n");
    if (parsed) {
      toml::table table = std::move(parsed).table();
      const toml::node *node = table.get("x");
      if (table.size() == 1 && (node->is_number() || node->is_boolean()))
        return value;
    }
    std::string result = "\"";
    for (char c : value)
      result += c == '"' || c == '\\' ? std::string("\\") + c : c == '\n' ? "\\n" : std::string(1, c);
    return result + "\"";
  };
  auto lines = [&](CLI::App &app) {
    for (const Flag &flag : flagsOf(app)) {
      std::vector<std::string> values = flag.option->results();
      std::string from = origin(flag.option), standard = flag.option->get_default_str();
      if (flag.option->count() && from.empty())
        from = "--" + flag.name();
      if (!flag.option->count()) {
        // Without a default there is nothing that could be written: the line is a comment.
        bool isFlag = flag.option->get_type_size() == 0;
        std::string value = isFlag ? "false" : standard.starts_with('[') ? standard : quoted(standard);
        text += standard.empty() && !isFlag ? fmt::format("# {} is not set\n", flag.name())
                                            : fmt::format("{} = {} # default\n", flag.name(), value);
        continue;
      }
      std::string value;
      for (const std::string &one : values)
        value += (value.empty() ? "" : ", ") + quoted(one);
      if (values.size() != 1)
        value = "[" + value + "]";
      text += fmt::format("{} = {} # {}\n", flag.name(), value, from);
    }
  };
  std::string path = root.get_config_ptr()->as<std::string>();
  text += fmt::format("# settings file: {}\n", path == "/dev/null" ? "none" : path);
  lines(root);
  for (CLI::App *command : root.get_subcommands()) {
    text += fmt::format("\n[{}]\n", command->get_name());
    lines(*command);
  }
  return text;
}

} // namespace lathe
