//===- ChatCommands.h - /help and the like --------------------------------===//
#pragma once

#include "runtime/chat/Conversation.h"

#include <optional>
#include <string>

namespace lathe {

/// Lines of a chat that begin with '/'.
class ChatCommands {
public:
  explicit ChatCommands(Conversation &conversation) : conversation(conversation) {}

  /// Carries a command out; true when the chat ends. What it says goes to standard error. A mistake is an error and
  /// changes nothing.
  Result<bool> run(const std::string &line);
  /// Keeps the figures that /stats gives.
  void note(const Answer &answer);

private:
  Conversation &conversation;
  std::optional<ChatTurnResult> last;
  int64_t turns = 0;

  Result<void> set(const std::string &text);
  Result<void> save(const std::string &path) const;
  Result<void> load(const std::string &path);
  void showSettings() const;
  void showStats() const;
};

} // namespace lathe
