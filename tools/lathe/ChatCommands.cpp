#include "tools/lathe/ChatCommands.h"

#include "runtime/chat/ValueJson.h"
#include "runtime/support/AtomicFile.h"
#include "tools/lathe/ChatModel.h"

#include <charconv>
#include <cmath>

namespace lathe {
namespace {

constexpr const char *kHelp = "/help                  this\n"
                              "/exit                  leave (also Ctrl-D, or Ctrl-C twice)\n"
                              "/reset                 forget all turns; the system message stays\n"
                              "/stats                 tokens, cache and speed of the last turn\n"
                              "/set                   all settings\n"
                              "/set NAME VALUE        change one: temp, top_k, top_p, min_p, repeat_penalty,\n"
                              "                       seed, n (0: up to the context), system,\n"
                              "                       chat_template_kwargs\n"
                              "/save FILE             write the messages as JSON\n"
                              "/load FILE             go on from such a file\n"
                              "\"\"\"                    begins and ends a text of several lines; one that is\n"
                              "                       pasted is one turn without them\n"
                              "Ctrl-C stops an answer.\n";

/// "/set temp 0.7" to "/set" and "temp 0.7".
std::pair<std::string, std::string> cutWord(const std::string &text) {
  size_t begin = std::min(text.find_first_not_of(" \t"), text.size()),
         end = std::min(text.find_first_of(" \t", begin), text.size());
  size_t rest = std::min(text.find_first_not_of(" \t", end), text.size()), last = text.find_last_not_of(" \t\r\n") + 1;
  return {text.substr(begin, end - begin), rest < last ? text.substr(rest, last - rest) : ""};
}

Result<double> parseNumber(const std::string &name, const std::string &text, double low, double high) {
  double number = 0;
  auto [stop, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (code != std::errc() || stop != text.data() + text.size() || !(number >= low && number <= high))
    return fail(ExitCode::usage, "/set {}: expected a number from {} to {}, found '{}'", name, low, high, text);
  return number;
}

Result<int64_t> parseInteger(const std::string &name, const std::string &text, int64_t high) {
  int64_t number = 0;
  auto [stop, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (code != std::errc() || stop != text.data() + text.size() || number < 0 || number > high)
    return fail(ExitCode::usage, "/set {}: expected an integer from 0 to {}, found '{}'", name, high, text);
  return number;
}

} // namespace

void ChatCommands::note(const Answer &answer) {
  last = answer.turn;
  ++turns;
}

void ChatCommands::showStats() const {
  fmt::print(stderr, "{} messages, {} of {} tokens of context\n", conversation.messages().size(), conversation.tokens(),
             conversation.context());
  if (!last)
    return;
  auto rate = [](double count, double seconds) { return seconds > 0 && count > 0 ? count / seconds : 0.0; };
  int64_t computed = last->promptTokens - last->cachedTokens;
  auto predicted = static_cast<int64_t>(last->ids.size());
  fmt::print(
      stderr,
      "last turn: prompt {} tokens, {} of them from the KV cache, {} computed at {:.1f} t/s; generated {} tokens "
      "at {:.1f} t/s; {}\n",
      last->promptTokens, last->cachedTokens, computed, rate(double(computed), last->promptSeconds), predicted,
      rate(double(predicted - 1), last->predictedSeconds), last->finishReason);
}

void ChatCommands::showSettings() const {
  const ConversationOptions &options = conversation.options;
  const SamplerOptions &sampling = options.sampling;
  int64_t count = options.maxTokens == INT64_MAX ? 0 : options.maxTokens;
  std::string kwargs = "{}";
  if (options.templateKwargs.isDict()) {
    chat::Run run("", "kwargs", {}, {});
    kwargs = run.json(options.templateKwargs, nullptr, ", ", ": ", false, false).bytes;
  }
  fmt::print(stderr,
             "temp {}\ntop_k {}\ntop_p {}\nmin_p {}\nrepeat_penalty {}\nseed {}\nn {}\nsystem {}\n"
             "chat_template_kwargs {}\n",
             sampling.temperature, sampling.topK, sampling.topP, sampling.minP, sampling.repetitionPenalty,
             sampling.seed, count, conversation.system(), kwargs);
}

Result<void> ChatCommands::set(const std::string &text) {
  auto [name, value] = cutWord(text);
  ConversationOptions &options = conversation.options;
  SamplerOptions &sampling = options.sampling;
  auto real = [&](double &place, double low, double high) -> Result<void> {
    auto number = parseNumber(name, value, low, high);
    if (!number)
      return propagate(number);
    place = *number;
    return {};
  };
  auto integer = [&](auto &place, int64_t high) -> Result<void> {
    auto number = parseInteger(name, value, high);
    if (!number)
      return propagate(number);
    place = static_cast<std::remove_reference_t<decltype(place)>>(*number);
    return {};
  };
  if (name.empty())
    return showSettings(), Result<void>();
  if (name == "temp")
    return real(sampling.temperature, 0, 1e6);
  if (name == "top_k")
    return integer(sampling.topK, INT32_MAX);
  if (name == "top_p")
    return real(sampling.topP, 0, 1);
  if (name == "min_p")
    return real(sampling.minP, 0, 1);
  if (name == "repeat_penalty")
    return real(sampling.repetitionPenalty, 1e-6, 1e6);
  if (name == "seed")
    return integer(sampling.seed, INT64_MAX);
  if (name == "n") {
    auto done = integer(options.maxTokens, INT32_MAX);
    if (done && options.maxTokens == 0)
      options.maxTokens = INT64_MAX;
    return done;
  }
  if (name == "system")
    return conversation.setSystem(value), Result<void>();
  if (name == "chat_template_kwargs") {
    auto kwargs = chat::parseValue(value, "/set chat_template_kwargs");
    if (!kwargs)
      return propagate(kwargs);
    if (auto good = checkTemplateKwargs(*kwargs, "/set chat_template_kwargs"); !good)
      return good;
    options.templateKwargs = std::move(*kwargs);
    return {};
  }
  return fail(ExitCode::usage,
              "/set: unknown setting '{}', expected temp, top_k, top_p, min_p, repeat_penalty, seed, n, system or "
              "chat_template_kwargs",
              name);
}

Result<void> ChatCommands::save(const std::string &path) const {
  auto file = AtomicFile::create(path);
  if (!file)
    return propagate(file);
  if (auto done = (*file)->write(printMessages(conversation.messages())); !done)
    return done;
  return (*file)->commit();
}

/// An object with "messages", or the list alone.
Result<void> ChatCommands::load(const std::string &path) {
  auto text = readText(path);
  if (!text)
    return propagate(text);
  auto document = chat::parseValue(*text, path);
  if (!document)
    return propagate(document);
  chat::Value messages = *document;
  if (document->isDict()) {
    const chat::Value *found = document->dict().find(std::string_view("messages"));
    messages = found ? *found : chat::Value();
  }
  return conversation.load(messages, path + ": messages");
}

Result<bool> ChatCommands::run(const std::string &line) {
  auto [name, rest] = cutWord(line);
  bool wantsFile = name == "/save" || name == "/load";
  if (wantsFile && rest.empty())
    return fail(ExitCode::usage, "{}: expected the name of a file", name);
  if (!wantsFile && name != "/set" && !rest.empty())
    return fail(ExitCode::usage, "{}: expected nothing behind it, found '{}'", name, rest);
  Result<void> done;
  if (name == "/exit")
    return true;
  if (name == "/help")
    fmt::print(stderr, "{}", kHelp);
  else if (name == "/reset")
    conversation.reset();
  else if (name == "/stats")
    showStats();
  else if (name == "/set")
    done = set(rest);
  else if (name == "/save")
    done = save(rest);
  else if (name == "/load")
    done = load(rest);
  else
    return fail(ExitCode::usage, "unknown command '{}'; /help lists them", name);
  if (!done)
    return propagate(done);
  if (wantsFile)
    fmt::print(stderr, "{} messages in {}\n", conversation.messages().size(), rest);
  return false;
}

} // namespace lathe
