#include "tools/support/CommandLine.h"

#include "compiler/ConfigDiagnostics.h"
#include "tools/support/HelpFormatter.h"
#include "tools/support/Terminal.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <unistd.h>

namespace lathe {
namespace {

/// Names of earlier versions, and those by which llama.cpp, vLLM, transformers and ollama know a flag.
struct Renamed {
  std::string_view from, to;
};
constexpr std::array kRenamed = {
    Renamed{"--temperature", "--temp"},
    Renamed{"--repetition-penalty", "--repeat-penalty"},
    Renamed{"--repeat_penalty", "--repeat-penalty"},
    Renamed{"--typical", "--typical-p"},
    Renamed{"--mirostat-ent", "--mirostat-tau"},
    Renamed{"--mirostat-lr", "--mirostat-eta"},
    Renamed{"--predict", "--n-predict"},
    Renamed{"--num-predict", "--n-predict"},
    Renamed{"--max-tokens", "--n-predict"},
    Renamed{"--max-new-tokens", "--n-predict"},
    Renamed{"--ctx-size", "--context"},
    Renamed{"--ctx_size", "--context"},
    Renamed{"--num-ctx", "--context"},
    Renamed{"--max-model-len", "--context"},
    Renamed{"--reverse-prompt", "--stop"},
    Renamed{"--num-return-sequences", "--samples"},
    Renamed{"--cache-type-k", "--kv"},
    Renamed{"--cache-type-v", "--kv"},
    Renamed{"--kv-cache-dtype", "--kv"},
    Renamed{"--quantization", "--quant"},
    Renamed{"--quantize", "--quant"},
    Renamed{"--outfile", "--output"},
    Renamed{"--top_k", "--top-k"},
    Renamed{"--top_p", "--top-p"},
    Renamed{"--min_p", "--min-p"},
};

/// CLI11's messages begin with a capital and may have several lines.
std::string tidy(std::string message) {
  if (message.size() > 1 && std::isupper(static_cast<unsigned char>(message[0])) &&
      std::islower(static_cast<unsigned char>(message[1])))
    message[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(message[0])));
  std::replace(message.begin(), message.end(), '\n', ' ');
  while (!message.empty() && (message.back() == ' ' || message.back() == '.'))
    message.pop_back();
  return message;
}

} // namespace

CLI::Validator sizes() {
  return CLI::Validator(
      [](std::string &text) {
        if (text.empty())
          return std::string();
        constexpr std::string_view units = "kmg";
        size_t unit = units.find(static_cast<char>(std::tolower(static_cast<unsigned char>(text.back()))));
        int64_t value = 0, factor = unit == units.npos ? 1 : int64_t(1) << (10 * (unit + 1));
        const char *end = text.data() + text.size() - (factor > 1);
        auto [stop, failure] = std::from_chars(text.data(), end, value);
        if (failure != std::errc() || stop != end || value > INT64_MAX / factor || value < INT64_MIN / factor)
          return fmt::format("expected a whole number such as 4096 or 32k, found '{}'", text);
        text = std::to_string(value * factor);
        return std::string();
      },
      "", "sizes");
}

static CLI::Validator numbers(const char *what, bool (*fits)(double)) {
  return CLI::Validator(
      [what, fits](std::string &text) {
        char *end = nullptr;
        double value = std::strtod(text.c_str(), &end);
        bool whole = end != text.c_str() && *end == 0 && std::isfinite(value);
        return whole && fits(value) ? std::string() : fmt::format("expected a number {}, found '{}'", what, text);
      },
      "", what);
}

CLI::Validator nonNegative() {
  return numbers("from 0 up", [](double value) { return value >= 0; });
}

CLI::Validator positive() {
  return numbers("above 0", [](double value) { return value > 0; });
}

CommandLine::CommandLine(const std::string &description, const std::string &version, std::vector<std::string> others)
    : root(description, "lathe") {
  settings = std::make_shared<Settings>(root, std::move(others));
  root.formatter(std::make_shared<HelpFormatter>());
  root.config_formatter(settings);
  root.require_subcommand(1);
  root.set_version_flag("--version", "lathe " + version, "Print the version");
  root.set_config("--config", settingsFile(),
                  "Settings file (default: LATHE_CONFIG, else ~/.config/lathe/config.toml if there is one)")
      ->type_name("FILE")
      ->take_last();
  root.add_flag("--print-config", printConfig, "Print all flags with their values and what gave them, and stop")
      ->configurable(false);
  root.add_option("--color", color, "Colours; auto: on a terminal, unless NO_COLOR is set")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->capture_default_str();
  root.footer("lathe COMMAND --help says the rest.\n\n"
              "Exit codes: 0 ok, 1 run-time failure, 2 usage, 3 bad input, 4 the artifact does not fit this machine or "
              "version,\n"
              "5 out of memory or disk, 6 a check failed, 7 internal error, 130 interrupted.");
}

ExitCode CommandLine::refuse(ExitCode code, const std::string &message) const {
  report({code, message});
  return code;
}

/// What to say of arguments that nothing takes.
std::string CommandLine::unexpected() const {
  std::vector<std::string> left = root.remaining(true);
  std::string first = left.empty() ? "" : left.front();
  auto chosen = root.get_subcommands();
  if (chosen.empty()) {
    std::vector<std::string> names;
    for (const CLI::App *command : root.get_subcommands([](const CLI::App *app) { return !app->get_name().empty(); }))
      names.push_back(command->get_name());
    std::vector<std::string_view> views(names.begin(), names.end());
    if (first.empty())
      return fmt::format("expected a command: {}", listed(views));
    return fmt::format("no {} {}{}", first.starts_with('-') ? "flag" : "command", inQuotes(first),
                       suggestion(first, views));
  }
  std::string command = chosen.front()->get_name(), name = first.substr(0, first.find('='));
  if (!first.starts_with('-') || first.size() < 2)
    return fmt::format("lathe {} does not take the argument {}", command, inQuotes(first));
  std::vector<std::string> names;
  for (const Flag &flag : flagsOf(*chosen.front())) {
    for (const std::string &one : flag.option->get_lnames())
      names.push_back("--" + one);
    for (const std::string &one : flag.option->get_snames())
      names.push_back("-" + one);
  }
  for (const Renamed &entry : kRenamed)
    if (entry.from == name && std::ranges::find(names, entry.to) != names.end())
      return fmt::format("lathe {} has no flag {}: it is {} here", command, name, entry.to);
  std::vector<std::string_view> views(names.begin(), names.end());
  std::string_view near = name.starts_with("--") ? nearestName(name, views) : std::string_view();
  return fmt::format("lathe {} has no flag {}{}", command, inQuotes(name),
                     near.empty() ? "" : fmt::format("; did you mean {}?", near));
}

/// What is wrong with the settings file. CLI11 does not mind when the one that no argument names is not there, and
/// reads no variables then.
std::optional<ExitCode> CommandLine::checkSettings() const {
  if (settings->problem())
    return refuse(settings->problem()->code, settings->problem()->message);
  if (root.get_config_ptr()->count() == 0)
    return refuse(ExitCode::badInput, fmt::format("LATHE_CONFIG: {}: cannot read the settings file",
                                                  root.get_config_ptr()->as<std::string>()));
  return std::nullopt;
}

/// Messages of CLI11 in our words; nothing where the error means that all is well.
std::optional<ExitCode> CommandLine::explain(const CLI::ParseError &error) const {
  auto chosen = root.get_subcommands();
  std::string command = chosen.empty() ? "lathe" : "lathe " + chosen.front()->get_name();
  if (settings->problem())
    return refuse(settings->problem()->code, settings->problem()->message);
  if (dynamic_cast<const CLI::FileError *>(&error))
    return refuse(ExitCode::badInput,
                  fmt::format("{}: cannot read the settings file", root.get_config_ptr()->as<std::string>()));
  std::string message = tidy(error.what());
  bool missing = dynamic_cast<const CLI::RequiredError *>(&error);
  if (dynamic_cast<const CLI::ExtrasError *>(&error) || (missing && root.remaining_size(true)) || chosen.empty())
    message = unexpected();
  else if (const CLI::Option *option = settings->mentioned(message))
    return refuse(settings->fromFile(option) ? ExitCode::badInput : ExitCode::usage,
                  fmt::format("{}: {}", settings->origin(option), message));
  return refuse(ExitCode::usage, fmt::format("{}; see {} --help", message, command));
}

std::optional<ExitCode> CommandLine::parse(int count, char **arguments) {
  // The flags of all commands may stand behind the command too.
  for (CLI::App *command : root.get_subcommands([](CLI::App *app) { return !app->get_name().empty(); }))
    command->fallthrough();
  std::optional<ExitCode> ending;
  try {
    root.parse(count, arguments);
    ending = checkSettings();
  } catch (const CLI::Success &asked) { // help, version
    if (root.count("--color"))
      setColor(color == "always" ? Color::always : color == "never" ? Color::never : Color::automatic);
    root.exit(asked);
    return ExitCode::ok;
  } catch (const CLI::ParseError &error) {
    // What --print-config shows is known before the check for what is missing.
    if (!printConfig || !dynamic_cast<const CLI::RequiredError *>(&error) || root.get_subcommands().empty())
      ending = explain(error);
    else
      ending = checkSettings();
  }
  setColor(color == "always" ? Color::always : color == "never" ? Color::never : Color::automatic);
  if (ending)
    return ending;
  if (printConfig) {
    fmt::print("{}", settings->print());
    return ExitCode::ok;
  }
  return std::nullopt;
}

int findCommand(int count, char **arguments) {
  for (int i = 1; i < count; ++i) {
    std::string_view argument = arguments[i];
    if (argument == "--config" || argument == "--color")
      ++i;
    else if (!argument.starts_with('-'))
      return i;
  }
  return 0;
}

int report(const Error &error) {
  fmt::print(stderr, "{} {}\n", paint(Style::bad, "lathe: error:", STDERR_FILENO), error.message);
  return static_cast<int>(error.code);
}

int carryOut(const Action &action) {
  try {
    Result<void> done = action();
    return done ? 0 : report(done.error());
  } catch (const std::bad_alloc &) {
    return report({ExitCode::resource, "out of memory"});
  } catch (const std::exception &error) {
    return report({ExitCode::internal, fmt::format("internal error: {}; this is a defect of lathe", error.what())});
  }
}

} // namespace lathe
