#include "tools/lathe/ChatModel.h"

#include "runtime/chat/ValueJson.h"

namespace lathe {

void ChatFlags::add(CLI::App &command) {
  command.add_option("--template", templateFile, "Chat template (Jinja) to use instead of the artifact's own")
      ->type_name("FILE")
      ->group("Conversation");
  command
      .add_option("--chat-template-kwargs", kwargs,
                  "Further variables of the template, a JSON object: '{\"enable_thinking\": false}'")
      ->group("Conversation");
  command
      .add_flag("--parse-special", parseSpecial,
                "Special tokens written in messages become special tokens: what a message says can then end its "
                "turn and speak for another role (default: only the template's own do)")
      ->group("Conversation");
}

Result<chat::Value> ChatFlags::templateKwargs() const {
  if (kwargs.empty())
    return chat::Value(chat::None());
  auto value = chat::parseValue(kwargs, "--chat-template-kwargs");
  auto good = value ? checkTemplateKwargs(*value, "--chat-template-kwargs") : Result<void>();
  if (!value || !good)
    return fail(ExitCode::usage, "{}", (value ? good.error() : value.error()).message);
  return value;
}

Result<void> checkTemplateKwargs(const chat::Value &kwargs, const std::string &where) {
  if (!kwargs.isDict())
    return fail(ExitCode::badInput, "{}: expected a JSON object", where);
  for (const char *name : {"messages", "tools", "add_generation_prompt"})
    if (kwargs.dict().find(std::string_view(name)))
      return fail(ExitCode::badInput, "{}: '{}' is set by the request itself", where, name);
  return {};
}

Result<ChatPrompt> loadChatPrompt(LazyTokenizer &lazy, const std::string &templateFile, const std::string &who) {
  auto tokenizer = lazy.get();
  if (!tokenizer)
    return propagate(tokenizer);
  if (!*tokenizer)
    return fail(ExitCode::badInput,
                "{}: the model has no tokenizer, which a chat template needs; compile it from a "
                "source that has one",
                who);
  std::string source = (*tokenizer)->facts().chatTemplate, name = "chat template";
  if (!templateFile.empty()) {
    auto text = readText(templateFile);
    if (!text)
      return propagate(text);
    source = std::move(*text), name = templateFile;
  }
  if (source.empty())
    return fail(ExitCode::badInput, "{}: the model has no chat template; give one with --template FILE", who);
  return ChatPrompt::create(source, name, std::move(*tokenizer));
}

} // namespace lathe
