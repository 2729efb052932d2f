//===- ChatPrompt.h - messages to the tokens of a prompt ------------------===//
#pragma once

#include "runtime/Tokenizer.h"
#include "runtime/chat/ChatTemplate.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace lathe {

/// What a chat template gets. Names are those of transformers' apply_chat_template.
struct ChatRequest {
  chat::Value messages; ///< a list of dicts, each with a role
  chat::Value tools = chat::None();
  chat::Value templateKwargs = chat::None(); ///< a dict of further variables, or none
  bool addGenerationPrompt = true;
  /// Special tokens that are written out in the messages become special tokens, too. A message can then end its turn
  /// and speak for another role.
  bool parseSpecial = false;
};

/// {"role": role, "content": content}
chat::Value makeMessage(std::string role, std::string content);
/// Whether these are messages: a list, not empty, of objects with a "role". `where` begins the error.
Result<void> checkMessages(const chat::Value &messages, const std::string &where);

/// A template with the tokenizer of its model.
class ChatPrompt {
public:
  /// `source`: the template's text; `name` is for its errors.
  static Result<ChatPrompt> create(std::string_view source, std::string name,
                                   std::shared_ptr<const Tokenizer> tokenizer);

  /// The text, with bos_token and eos_token as the tokenizer has them and `documents` as none.
  Result<chat::Text> render(const ChatRequest &request) const;
  /// Its tokens. Nothing is added: what a template writes is all there is. Special tokens are recognised in the
  /// template's own text, and in the messages' only with `parseSpecial`.
  std::vector<int32_t> encode(const chat::Text &text, bool parseSpecial) const;
  Result<std::vector<int32_t>> encode(const ChatRequest &request) const;
  /// `eos`, and the special token that the template puts behind what the assistant says, where it does.
  std::vector<int64_t> endTokens(std::vector<int64_t> eos) const;

  const std::shared_ptr<const Tokenizer> &tokenizer() const { return vocabulary; }

private:
  std::shared_ptr<const ChatTemplate> chatTemplate;
  std::shared_ptr<const Tokenizer> vocabulary;
};

} // namespace lathe
