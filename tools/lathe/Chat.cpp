#include "tools/lathe/ChatCommands.h"
#include "tools/lathe/ChatModel.h"
#include "tools/lathe/Commands.h"
#include "tools/lathe/LineEditor.h"
#include "tools/lathe/Output.h"

#include "runtime/support/Interrupt.h"

#include <unistd.h>

namespace lathe {
namespace {

constexpr std::string_view kQuotes = "\"\"\"";

struct Chat {
  ModelFlags model;
  SamplingFlags sampling;
  ChatFlags chat;
  std::string system, script;
  int64_t count = 0;
  CLI::Option *scriptOption = nullptr;

  Result<void> run();
};

/// Puts lines together: """ begins and ends a text of several.
class TurnReader {
public:
  /// Adds a line; true when `turn()` is whole.
  bool add(const std::string &line) {
    std::string_view rest = line;
    if (!open) {
      text = line;
      size_t begin = line.find_first_not_of(" \t");
      if (begin == line.npos || !rest.substr(begin).starts_with(kQuotes))
        return true;
      rest.remove_prefix(begin + kQuotes.size());
      text.clear();
      open = true;
    } else {
      text += begun ? "\n" : "";
    }
    size_t last = rest.find_last_not_of(" \t\r");
    std::string_view trimmed = rest.substr(0, last == rest.npos ? 0 : last + 1);
    if (trimmed.ends_with(kQuotes)) {
      text += trimmed.substr(0, trimmed.size() - kQuotes.size());
      if (text.ends_with('\n'))
        text.pop_back();
      begun = open = false;
      quoted = true;
      return true;
    }
    text += rest;
    begun = begun || !text.empty(); // a newline right behind the opening quotes is none of the text
    return false;
  }
  bool waiting() const { return open; }
  void drop() { open = begun = false; }
  bool isCommand() const { return !quoted && text.starts_with('/'); }
  bool isBlank() const { return text.find_first_not_of(" \t\r") == text.npos; }
  std::string take() { return quoted = false, std::exchange(text, {}); }

private:
  std::string text;
  bool open = false, begun = false, quoted = false;
};

/// One chat, whatever its turns come from.
class Dialogue {
public:
  explicit Dialogue(Conversation &conversation) : conversation(conversation), commands(conversation) {}

  Result<bool> command(const std::string &line) { return commands.run(line); }

  Result<Answer> answer(const std::string &turn, const std::function<bool()> &interrupted) {
    Result<void> shown;
    bool newline = true;
    auto show = [&](std::string_view piece) {
      if (!shown || piece.empty())
        return;
      shown = writeOutput(piece);
      newline = piece.ends_with('\n');
    };
    auto answer = conversation.answer(turn, show, [&] { return !shown || (interrupted && interrupted()); });
    if (!newline && shown)
      shown = writeOutput("\n");
    if (!shown)
      return propagate(shown);
    if (!answer)
      return answer;
    commands.note(*answer);
    if (answer->droppedMessages)
      fmt::print(stderr, "(the context of {} tokens is full: the {} oldest messages were left out)\n",
                 conversation.context(), answer->droppedMessages);
    if (answer->contextFull)
      fmt::print(stderr,
                 "(the answer ends where the context of {} tokens does; the next turn leaves the oldest ones out, "
                 "/reset starts anew)\n",
                 conversation.context());
    else if (answer->turn.finishReason == "length")
      fmt::print(stderr, "(cut after {} tokens)\n", answer->turn.ids.size());
    if (answer->turn.finishReason == "interrupted")
      fmt::print(stderr, "(stopped)\n");
    return answer;
  }

private:
  Conversation &conversation;
  ChatCommands commands;
};

Result<void> runScript(Dialogue &dialogue, std::string_view text, const std::string &name) {
  TurnReader reader;
  size_t number = 0, begin = 0;
  while (!text.empty()) {
    std::string line(text.substr(0, text.find('\n')));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    ++number;
    if (!reader.waiting())
      begin = number;
    if (!reader.add(line) || reader.isBlank())
      continue;
    bool isCommand = reader.isCommand();
    std::string turn = reader.take();
    if (isCommand) {
      auto leave = dialogue.command(turn);
      if (!leave)
        return fail(leave.error().code, "{}:{}: {}", name, begin, leave.error().message);
      if (*leave)
        return {};
      continue;
    }
    std::string shown = "> " + turn + "\n";
    for (size_t at = 2; (at = shown.find('\n', at)) + 1 < shown.size(); at += 3)
      shown.insert(at + 1, "> ");
    if (auto done = writeOutput(shown); !done)
      return done;
    if (auto answer = dialogue.answer(turn, {}); !answer)
      return fail(answer.error().code, "{}:{}: {}", name, begin, answer.error().message);
    if (auto done = writeOutput("\n"); !done)
      return done;
  }
  if (reader.waiting())
    return fail(ExitCode::badInput, "{}:{}: a text without an end: expected {}", name, begin, kQuotes);
  return {};
}

Result<void> runTerminal(Dialogue &dialogue) {
  fmt::print(stderr, "/help lists the commands, Ctrl-C stops an answer, Ctrl-D leaves.\n");
  InterruptFlag interrupt;
  LineEditor editor;
  TurnReader reader;
  bool interruptedBefore = false; // a second Ctrl-C in a row, where there is nothing to stop, leaves
  std::string pasted;             // lines of a pasted text, which is one turn
  while (true) {
    std::string line;
    auto ending = editor.read(reader.waiting() || !pasted.empty() ? "... " : ">>> ", line);
    if (ending == LineEditor::Ending::end)
      return writeOutput("\n");
    if (ending == LineEditor::Ending::interrupted) {
      bool nothing = line.empty() && pasted.empty() && !reader.waiting();
      if (nothing && std::exchange(interruptedBefore, true))
        return {};
      if (nothing)
        fmt::print(stderr, "(Ctrl-C again or Ctrl-D leaves)\n");
      pasted.clear();
      reader.drop();
      continue;
    }
    interruptedBefore = false;
    editor.remember(line);
    if (editor.pasting()) {
      pasted += line + "\n";
      continue;
    }
    if (!pasted.empty()) {
      line = std::exchange(pasted, {}) + line;
      line.erase(line.find_last_not_of('\n') + 1);
    }
    if (!reader.add(line) || reader.isBlank())
      continue;
    bool isCommand = reader.isCommand();
    std::string turn = reader.take();
    Result<void> done;
    if (isCommand) {
      auto leave = dialogue.command(turn);
      if (leave && *leave)
        return {};
      if (!leave)
        done = propagate(leave);
    } else {
      interrupt.clear();
      auto answer = dialogue.answer(turn, [&] { return interrupt.raised(); });
      interruptedBefore = interrupt.raised();
      if (!answer)
        done = propagate(answer);
    }
    // What a turn got wrong is said, and the chat goes on; what broke underneath ends it.
    if (!done && done.error().code != ExitCode::badInput && done.error().code != ExitCode::usage)
      return done;
    if (!done)
      fmt::print(stderr, "lathe: error: {}\n", done.error().message);
  }
}

Result<void> Chat::run() {
  auto kwargs = chat.templateKwargs();
  if (!kwargs)
    return propagate(kwargs);
  bool fromScript = scriptOption->count() > 0;
  if (!fromScript && !isatty(STDIN_FILENO))
    return fail(ExitCode::usage, "chat: standard input is no terminal; give the turns with --script FILE (- reads "
                                 "standard input), or use generate or batch");
  std::string turns;
  if (fromScript) {
    auto text = readText(script);
    if (!text)
      return propagate(text);
    turns = std::move(*text);
  }
  auto artifact = Artifact::open(model.artifact);
  if (!artifact)
    return propagate(artifact);
  LazyTokenizer lazy(*artifact);
  auto prompt = loadChatPrompt(lazy, chat.templateFile, "chat");
  if (!prompt)
    return propagate(prompt);
  auto engine = loadEngine(*artifact, model, model.engine());
  if (!engine)
    return propagate(engine);
  auto resolved = sampling.resolve((*artifact)->manifest());
  if (!resolved)
    return propagate(resolved);
  std::vector<int64_t> ends = prompt->endTokens((*artifact)->manifest().eosTokenIds);
  Conversation conversation(std::move(*prompt), **engine, std::move(ends));
  conversation.options.maxTokens = count ? count : INT64_MAX;
  conversation.options.sampling = *resolved;
  conversation.options.templateKwargs = std::move(*kwargs);
  conversation.options.parseSpecial = chat.parseSpecial;
  conversation.setSystem(system);
  Dialogue dialogue(conversation);
  return fromScript ? runScript(dialogue, turns, script) : runTerminal(dialogue);
}

} // namespace

void addChat(CLI::App &app, Action &action) {
  auto flags = std::make_shared<Chat>();
  CLI::App *command = app.add_subcommand("chat", "Talk with a model in turns; /help within it lists its commands");
  command->group(subject::run);
  command->footer("Examples:\n  lathe chat smollm2.lathe --system 'You answer in one sentence.'\n"
                  "  lathe chat smollm2.lathe --script turns.txt > dialogue.txt");
  flags->model.add(*command);
  command->add_option("--system", flags->system, "System message")->group("Conversation");
  flags->scriptOption = command->add_option(
      "--script", flags->script,
      "Turns from a file instead of the terminal, - for standard input: each line, or text between \"\"\", is a user's "
      "turn, /COMMAND a command; the dialogue goes to standard output");
  flags->scriptOption->group("Conversation");
  command
      ->add_option("-n,--n-predict", flags->count,
                   "New tokens of an answer at most (default: what the context has room for)")
      ->check(CLI::NonNegativeNumber)
      ->group("Output");
  flags->sampling.add(*command);
  flags->chat.add(*command);
  command->callback([flags, &action] { action = [flags] { return flags->run(); }; });
}

} // namespace lathe
