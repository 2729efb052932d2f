//===- Completion.cpp - lathe completion ----------------------------------===//
//
// The scripts are written from the description of the parsers, so they know each flag and each value that a flag takes.
//
//===----------------------------------------------------------------------===//
#include "tools/lathe/Commands.h"
#include "tools/lathe/Output.h"

#include <algorithm>

namespace lathe {
namespace {

using Description = nlohmann::ordered_json;

std::string text(const Description &object, const char *key) { return object[key].get<std::string>(); }

/// "--temp" and "-t" as far as the flag has them.
std::vector<std::string> namesOf(const Description &flag) {
  std::vector<std::string> names;
  if (!text(flag, "short").empty())
    names.push_back("-" + text(flag, "short"));
  if (!text(flag, "long").empty())
    names.push_back("--" + text(flag, "long"));
  return names;
}

std::string joined(const Description &list) {
  return fmt::format("{}", fmt::join(list.get<std::vector<std::string>>(), " "));
}

/// Whether a file may stand there: where it is neither a number nor one of a few words.
bool takesFile(const Description &flag) {
  std::string value = text(flag, "value");
  return flag["choices"].empty() && !value.empty() && !value.starts_with("N") && !value.starts_with("X");
}

/// `text` with what ends or splits a quoted word of the shell replaced or escaped.
std::string escaped(const std::string &text, std::string_view specials) {
  std::string result;
  for (char c : text)
    result += c == '\'' ? "’" : specials.find(c) == specials.npos ? std::string(1, c) : std::string("\\") + c;
  return result;
}

std::string choicesOfArguments(const Description &command) {
  std::string words;
  for (const auto &argument : command["arguments"])
    words += (words.empty() ? "" : " ") + joined(argument["choices"]);
  return words;
}

std::string bash(const Description &all) {
  std::string commands, values, flags;
  auto value = [](const std::string &pattern, const Description &flag) {
    if (text(flag, "value").empty())
      return std::string();
    std::string reply = !flag["choices"].empty() ? fmt::format("mapfile -t COMPREPLY < <(compgen -W '{}' -- \"$cur\")",
                                                               joined(flag["choices"]))
                        : takesFile(flag)        ? "mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")"
                                                 : "COMPREPLY=()";
    return fmt::format("    {}) {}; return ;;\n", pattern, reply);
  };
  auto patterns = [](const std::string &prefix, const Description &flag) {
    std::string pattern;
    for (const std::string &name : namesOf(flag))
      pattern += (pattern.empty() ? "" : "|") + prefix + name;
    return pattern;
  };
  std::string common;
  for (const auto &flag : all["flags"]) {
    common += " " + fmt::format("{}", fmt::join(namesOf(flag), " "));
    values += value(patterns("*:", flag), flag);
  }
  for (const auto &command : all["commands"]) {
    std::string name = text(command, "name"), own;
    commands += (commands.empty() ? "" : " ") + name;
    for (const auto &flag : command["flags"]) {
      own += " " + fmt::format("{}", fmt::join(namesOf(flag), " "));
      values += value(patterns(name + ":", flag), flag);
    }
    flags += fmt::format("    {}) flags='--help{}' words='{}' ;;\n", name, own, choicesOfArguments(command));
  }
  return fmt::format(R"(# Completion of lathe for bash: source <(lathe completion bash)
_lathe() {{
  local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD - 1]}} command='' flags='' words='' i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${{COMP_WORDS[i]}} in
    --config|--color) ((i++)) ;;
    -*) ;;
    *) command=${{COMP_WORDS[i]}}; break ;;
    esac
  done
  case $command:$prev in
{1}  esac
  if [ -z "$command" ]; then
    mapfile -t COMPREPLY < <(compgen -W '{0}{3}' -- "$cur")
    return
  fi
  case $command in
{2}  esac
  if [[ $cur == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$flags{3}" -- "$cur")
  else
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur"; compgen -f -- "$cur")
  fi
}}
complete -o filenames -F _lathe lathe
)",
                     commands, values, flags, common);
}

std::string zsh(const Description &all) {
  auto arguments = [](const Description &flags, const char *indent) {
    std::string result;
    for (const auto &flag : flags) {
      std::vector<std::string> names = namesOf(flag);
      std::string help = escaped(text(flag, "help"), "[]:\\"), value = text(flag, "value");
      std::string action = !flag["choices"].empty() ? fmt::format(":value:({})", joined(flag["choices"]))
                           : value.empty()          ? ""
                           : takesFile(flag)        ? ":file:_files"
                                                    : fmt::format(":{}: ", escaped(value, "[]:\\"));
      std::string repeats = flag["repeats"].get<bool>() ? "*" : "";
      for (const std::string &name : names) {
        std::string others = repeats.empty() && names.size() > 1 ? fmt::format("({})", fmt::join(names, " ")) : "";
        result += fmt::format("{}'{}{}{}[{}]{}' \\\n", indent, others, repeats, name, help, action);
      }
    }
    return result;
  };
  std::string commands, cases;
  for (const auto &command : all["commands"]) {
    commands += fmt::format("    '{}:{}'\n", text(command, "name"), escaped(text(command, "help"), ":\\"));
    std::string words = choicesOfArguments(command);
    cases += fmt::format("    {})\n      _arguments '--help[Print help]' \\\n{}        $common '{}' ;;\n",
                         text(command, "name"), arguments(command["flags"], "        "),
                         words.empty()
                             ? "*:file:_files"
                             : fmt::format("*: :{{_alternative \"files:file:_files\" \"words:word:({})\"}}", words));
  }
  return fmt::format(R"(#compdef lathe
# Completion of lathe for zsh: lathe completion zsh > "${{fpath[1]}}/_lathe"
_lathe() {{
  local context state line
  local -a commands common
  commands=(
{}  )
  common=( \
{}  )
  _arguments -C $common '1:command:->command' '*::argument:->argument'
  case $state in
  command) _describe command commands ;;
  argument)
    case $line[1] in
{}    esac ;;
  esac
}}
if [ "$funcstack[1]" = _lathe ]; then _lathe "$@"; else compdef _lathe lathe; fi
)",
                     commands, arguments(all["flags"], "    "), cases);
}

std::string fish(const Description &all) {
  std::string result = "# Completion of lathe for fish: lathe completion fish | source\n";
  auto lines = [&](const Description &flags, const std::string &condition) {
    for (const auto &flag : flags) {
      std::string line = "complete -c lathe" + condition;
      if (!text(flag, "short").empty())
        line += " -s " + text(flag, "short");
      if (!text(flag, "long").empty())
        line += " -l " + text(flag, "long");
      if (!text(flag, "value").empty())
        line += takesFile(flag) ? " -r -F" : " -x";
      if (!flag["choices"].empty())
        line += fmt::format(" -a '{}'", joined(flag["choices"]));
      result += line + fmt::format(" -d '{}'\n", escaped(text(flag, "help"), "\\"));
    }
  };
  lines(all["flags"], "");
  for (const auto &command : all["commands"]) {
    std::string name = text(command, "name"), condition = fmt::format(" -n '__fish_seen_subcommand_from {}'", name);
    result += fmt::format("complete -c lathe -n __fish_use_subcommand -f -a {} -d '{}'\n", name,
                          escaped(text(command, "help"), "\\"));
    if (std::string words = choicesOfArguments(command); !words.empty())
      result += fmt::format("complete -c lathe{} -a '{}'\n", condition, words);
    lines(command["flags"], condition);
  }
  return result;
}

} // namespace

void addCompletion(CLI::App &app, Action &action) {
  auto shell = std::make_shared<std::string>();
  CLI::App *command = app.add_subcommand("completion", "Print a script that completes lathe's command line in a shell");
  command->group(subject::setup);
  command->footer(
      "Examples:\n  source <(lathe completion bash)\n  lathe completion fish > ~/.config/fish/completions/lathe.fish");
  command->add_option("shell", *shell, "bash, zsh or fish")->required()->check(CLI::IsMember({"bash", "zsh", "fish"}));
  command->callback([&app, shell, &action] {
    action = [&app, shell] {
      Description all = describeAll(app);
      return writeOutput(*shell == "bash" ? bash(all) : *shell == "zsh" ? zsh(all) : fish(all));
    };
  });
}

} // namespace lathe
