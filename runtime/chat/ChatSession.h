//===- ChatSession.h - one sequence that stays in the KV store ------------===//
#pragma once

#include "runtime/Engine.h"
#include "runtime/Sampler.h"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace lathe {

struct ChatTurn {
  int64_t maxTokens = INT64_MAX; ///< new tokens at most; the context is a limit, too
  SamplerOptions sampling;
  std::vector<int64_t> endTokens;
  std::function<void(int32_t)> onToken;
  std::function<bool()> interrupted; ///< asked between steps; true ends the turn
};

struct ChatTurnResult {
  std::vector<int32_t> ids;                   ///< new tokens; an end token is the last
  std::string finishReason;                   ///< "stop", "length" or "interrupted"
  int64_t promptTokens = 0, cachedTokens = 0; ///< of the prompt, and how many of it the KV store had
  double promptSeconds = 0;                   ///< until the first token
  double predictedSeconds = 0;                ///< from the first token to the last
};

/// Answers prompts, each of which usually begins with the one before and its answer: only what is new is computed.
class ChatSession {
public:
  explicit ChatSession(Engine &engine) : engine(engine) {}
  ~ChatSession() { reset(); }
  ChatSession(const ChatSession &) = delete;
  ChatSession &operator=(const ChatSession &) = delete;

  /// A prompt without tokens, or one that leaves no room in the context, is ExitCode::badInput.
  Result<ChatTurnResult> run(const std::vector<int32_t> &prompt, const ChatTurn &turn);
  /// The last prompt and its answer.
  const std::vector<int32_t> &tokens() const { return held; }
  int64_t context() const { return engine.context(); }
  void reset();

private:
  Engine &engine;
  KvStore::Sequence sequence = -1;
  std::vector<int32_t> held;
  Sampler sampler;

  int64_t begin(const std::vector<int32_t> &prompt);
  Result<StepLogits> append(std::span<const int32_t> tokens, const SamplerOptions &sampling);
};

} // namespace lathe
