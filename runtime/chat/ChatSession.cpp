#include "runtime/chat/ChatSession.h"

#include <algorithm>
#include <chrono>

namespace lathe {

void ChatSession::reset() {
  if (sequence >= 0)
    engine.kv().close(sequence);
  sequence = -1;
  held.clear();
}

/// Makes the sequence hold a proper prefix of the prompt, and returns its length: all that it holds already, or else
/// the whole pages that the store finds again.
int64_t ChatSession::begin(const std::vector<int32_t> &prompt) {
  auto length = static_cast<size_t>(sequence >= 0 ? engine.kv().length(sequence) : 0);
  bool goesOn =
      length > 0 && length < prompt.size() && std::equal(prompt.begin(), prompt.begin() + length, held.begin());
  if (!goesOn) {
    reset();
    sequence = engine.kv().open();
    // The last token is computed in any case: its logits are wanted.
    length = static_cast<size_t>(engine.kv().attach(sequence, std::span(prompt).first(prompt.size() - 1)));
  }
  held = prompt;
  return static_cast<int64_t>(length);
}

Result<StepLogits> ChatSession::append(std::span<const int32_t> tokens, const SamplerOptions &sampling) {
  if (!engine.reserve(sequence, static_cast<int64_t>(tokens.size())))
    return fail(ExitCode::resource, "the KV pool has no room for {} more tokens of {}", tokens.size(), held.size());
  SequenceRows rows{sequence, tokens, 1};
  if (engine.draws() && drawsAlone(sampling))
    rows.draw = drawOf(sampling, held.size());
  return engine.step(std::span(&rows, 1));
}

Result<ChatTurnResult> ChatSession::run(const std::vector<int32_t> &prompt, const ChatTurn &turn) {
  auto count = static_cast<int64_t>(prompt.size());
  if (count == 0 || count >= engine.context())
    return fail(ExitCode::badInput, "a prompt of {} tokens: expected 1 to {}, one less than the context", count,
                engine.context() - 1);
  using Clock = std::chrono::steady_clock;
  auto seconds = [](Clock::duration time) { return std::chrono::duration<double>(time).count(); };
  auto interrupted = [&] { return turn.interrupted && turn.interrupted(); };
  ChatTurnResult result;
  Clock::time_point start = Clock::now();
  result.promptTokens = count;
  result.cachedTokens = begin(prompt);
  StepLogits logits;
  for (int64_t done = result.cachedTokens; done < count;) {
    if (interrupted()) {
      held.resize(static_cast<size_t>(done)); // what was computed is not lost
      result.finishReason = "interrupted";
      return result;
    }
    int64_t rows = std::min(engine.maxRows(), count - done);
    auto step = append(std::span(prompt).subspan(static_cast<size_t>(done), static_cast<size_t>(rows)), turn.sampling);
    if (!step)
      return propagate(step);
    logits = *step;
    done += rows;
  }
  int64_t limit = std::min(turn.maxTokens, engine.context() - count);
  Clock::time_point first = start;
  while (true) {
    if (static_cast<int64_t>(result.ids.size()) >= limit || interrupted()) {
      result.finishReason = static_cast<int64_t>(result.ids.size()) >= limit ? "length" : "interrupted";
      break;
    }
    if (!result.ids.empty()) { // the last token is only computed when another follows
      auto step = append(std::span(held).last(1), turn.sampling);
      if (!step)
        return propagate(step);
      logits = *step;
    }
    int32_t id = logits.tokens ? logits.tokens[0] : sampler.sample(logits.row(0), held, turn.sampling);
    held.push_back(id);
    result.ids.push_back(id);
    Clock::time_point now = Clock::now();
    if (result.ids.size() == 1)
      first = now, result.promptSeconds = seconds(now - start);
    result.predictedSeconds = seconds(now - first);
    if (turn.onToken)
      turn.onToken(id);
    if (std::ranges::find(turn.endTokens, id) != turn.endTokens.end()) {
      result.finishReason = "stop";
      break;
    }
  }
  return result;
}

} // namespace lathe
