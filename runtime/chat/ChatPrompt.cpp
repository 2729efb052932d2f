#include "runtime/chat/ChatPrompt.h"

#include <algorithm>

namespace lathe {

using chat::Dict;
using chat::Text;
using chat::Value;

Value makeMessage(std::string role, std::string content) {
  auto message = std::make_shared<Dict>();
  message->set("role", Text::fromInput(std::move(role)));
  message->set("content", Text::fromInput(std::move(content)));
  return std::shared_ptr<const Dict>(std::move(message));
}

Result<void> checkMessages(const Value &messages, const std::string &where) {
  if (!messages.isList() || messages.sequence().items.empty())
    return fail(ExitCode::badInput, "{}: expected a list of messages such as [{{\"role\": \"user\", \"content\": …}}]",
                where);
  const auto &items = messages.sequence().items;
  for (size_t i = 0; i < items.size(); ++i) {
    const Value *role = items[i].isDict() ? items[i].dict().find("role") : nullptr;
    if (!role || !role->isText())
      return fail(ExitCode::badInput, "{}[{}]: expected an object with a \"role\", a string", where, i);
  }
  return {};
}

Result<ChatPrompt> ChatPrompt::create(std::string_view source, std::string name,
                                      std::shared_ptr<const Tokenizer> tokenizer) {
  auto parsed = ChatTemplate::parse(source, std::move(name));
  if (!parsed)
    return propagate(parsed);
  ChatPrompt prompt;
  prompt.chatTemplate = std::move(*parsed);
  prompt.vocabulary = std::move(tokenizer);
  return prompt;
}

Result<Text> ChatPrompt::render(const ChatRequest &request) const {
  Dict variables;
  const TokenizerFacts &facts = vocabulary->facts();
  if (facts.bosTokenId)
    variables.set("bos_token", Value::literal(vocabulary->piece(*facts.bosTokenId, false)));
  if (!facts.eosTokenIds.empty())
    variables.set("eos_token", Value::literal(vocabulary->piece(facts.eosTokenIds.front(), false)));
  variables.set("documents", chat::None());
  if (request.templateKwargs.isDict())
    for (const auto &[key, value] : request.templateKwargs.dict().entries)
      variables.set(key, value);
  variables.set("messages", request.messages);
  variables.set("tools", request.tools);
  variables.set("add_generation_prompt", request.addGenerationPrompt);
  return chatTemplate->render(variables);
}

std::vector<int32_t> ChatPrompt::encode(const Text &text, bool parseSpecial) const {
  EncodeOptions options{.addSpecial = false};
  if (!parseSpecial)
    options.plain = text.input;
  return vocabulary->encode(text.bytes, options);
}

Result<std::vector<int32_t>> ChatPrompt::encode(const ChatRequest &request) const {
  auto text = render(request);
  if (!text)
    return propagate(text);
  return encode(*text, request.parseSpecial);
}

std::vector<int64_t> ChatPrompt::endTokens(std::vector<int64_t> eos) const {
  // No list of names: what follows an answer in a rendered conversation is what the model learned to end it with.
  const std::string answer = "an answer to find again";
  ChatRequest request;
  request.messages = Value::list({makeMessage("user", "a question"), makeMessage("assistant", answer)});
  request.addGenerationPrompt = false;
  auto text = render(request);
  size_t begin = text ? text->bytes.rfind(answer) : std::string::npos;
  if (begin == std::string::npos)
    return eos;
  for (int32_t id : encode(text->slice(begin + answer.size(), text->size()), false)) {
    std::string piece = vocabulary->piece(id, false);
    bool special = vocabulary->piece(id, true).empty() && !piece.empty();
    if (special && std::ranges::find(eos, id) == eos.end())
      eos.push_back(id);
    if (special || piece.find_first_not_of(" \n\t") != piece.npos)
      break;
  }
  return eos;
}

} // namespace lathe
