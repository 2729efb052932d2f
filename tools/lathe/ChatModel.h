//===- ChatModel.h - an artifact's chat template, for commands ------------===//
#pragma once

#include "runtime/chat/ChatPrompt.h"
#include "tools/lathe/Model.h"

namespace lathe {

/// --template, --parse-special and --chat-template-kwargs.
struct ChatFlags {
  std::string templateFile, kwargs;
  bool parseSpecial = false;

  void add(CLI::App &command);
  /// The value of --chat-template-kwargs: a dict, or none.
  Result<chat::Value> templateKwargs() const;
};

/// The artifact's template, or the one in `templateFile` where that is not empty. `who` needs it and begins the error
/// for a model that has no tokenizer or no template.
Result<ChatPrompt> loadChatPrompt(LazyTokenizer &tokenizer, const std::string &templateFile, const std::string &who);

/// A dict of variables for a template that does not touch those that a request sets itself.
Result<void> checkTemplateKwargs(const chat::Value &kwargs, const std::string &where);

} // namespace lathe
