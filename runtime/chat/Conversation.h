//===- Conversation.h - turns, and what of them fits the context ----------===//
#pragma once

#include "runtime/chat/ChatPrompt.h"
#include "runtime/chat/ChatSession.h"

#include <functional>
#include <string>

namespace lathe {

struct ConversationOptions {
  int64_t maxTokens = INT64_MAX; ///< new tokens of an answer
  SamplerOptions sampling;
  chat::Value templateKwargs = chat::None();
  bool parseSpecial = false; ///< as in ChatRequest
};

struct Answer {
  std::string text;
  int64_t droppedMessages = 0; ///< messages that this turn left out because the context is full
  bool contextFull = false;    ///< the answer ends where the context does
  ChatTurnResult turn;
};

/// A person and a model in turns. The model sees the system message and as many of the last turns as fit its context.
class Conversation {
public:
  /// `endTokens`: what ends an answer; the engine outlives the conversation.
  Conversation(ChatPrompt prompt, Engine &engine, std::vector<int64_t> endTokens);

  /// Adds a user's turn and the model's answer, which goes to `onText` in pieces as it comes. What fails or is
  /// interrupted before its first token leaves the conversation as it was.
  Result<Answer> answer(const std::string &text, const std::function<void(std::string_view)> &onText,
                        const std::function<bool()> &interrupted);

  /// Replaces or adds the system message; empty: removes it.
  void setSystem(const std::string &text);
  std::string system() const;
  /// Forgets all turns and keeps the system message.
  void reset();
  /// All messages, also those that the model no longer sees.
  const std::vector<chat::Value> &messages() const { return history; }
  /// Goes on from other messages.
  Result<void> load(const chat::Value &messages, const std::string &where);

  /// Tokens of the last prompt and its answer.
  int64_t tokens() const { return static_cast<int64_t>(session.tokens().size()); }
  int64_t context() const { return session.context(); }

  ConversationOptions options;

private:
  ChatPrompt prompt;
  ChatSession session;
  std::vector<int64_t> endTokens;
  std::vector<chat::Value> history;
  size_t hidden = 0;    ///< messages behind the system's that the context has no room for
  std::string heldText; ///< what the session's tokens say; empty: unknown

  bool hasSystem() const;
  Result<std::vector<int32_t>> promptTokens(std::string &text);
  /// Hides the oldest turn; false when only the last is left.
  bool hideOldest();
};

/// A conversation as JSON: {"messages": […]}.
std::string printMessages(const std::vector<chat::Value> &messages);

} // namespace lathe
