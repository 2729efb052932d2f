//===- Scheduler.h - many requests through one engine ---------------------===//
//
// Continuous batching: every step takes one row of each request that generates and fills up with chunks of prompts.
// A request is admitted when the KV store has pages for its prompt; when pages run out, the youngest gives its pages
// back and is computed again later. Neither changes what any request gets: logits do not depend on the batch, and
// sampling draws from (seed, request, position).
//
// Where the device draws all tokens of a step, the next step is started before they are known: it takes them from
// where they were drawn. A request that ends with one of them leaves a row in that next step whose token nobody gets.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Engine.h"
#include "runtime/Sampler.h"

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <vector>

namespace lathe {

struct Request {
  std::vector<int32_t> prompt; ///< at least one token
  int64_t maxTokens = 128;     ///< new tokens at most
  SamplerOptions sampling;
  std::vector<int64_t> endTokens; ///< any of these ends the request; empty: none does
  int64_t logprobs = -1;          ///< not negative: log-probabilities of each new token and of so many alternatives
  /// Called with each new token. Returning true ends the request with finish reason "stop".
  std::function<bool(int32_t)> onToken;
  /// Called once, when the completion has its finish reason.
  std::function<void()> onFinish;
};

/// What became of a request. Names as in llama.cpp's server.
struct Completion {
  std::vector<int32_t> ids;                        ///< new tokens only; an end token is the last
  std::vector<std::vector<TokenLogprob>> logprobs; ///< per new token: itself, then the alternatives
  std::string finishReason;                        ///< "stop" or "length", empty while running
  int64_t promptTokens = 0, cachedTokens = 0;      ///< of the prompt, and how many of it the KV store had
  double promptSeconds = 0;                        ///< from the first step to the first token
  double predictedSeconds = 0;                     ///< from the first token to the last
};

class Scheduler {
public:
  /// At most `maxSequences` run together; 0: as many as a step has logit rows.
  explicit Scheduler(Engine &engine, int64_t maxSequences = 0);
  ~Scheduler();
  Scheduler(const Scheduler &) = delete;
  Scheduler &operator=(const Scheduler &) = delete;

  /// Queues a request and returns its number. A prompt that is empty, has unknown ids or is longer than the context,
  /// and a request that the whole KV pool could not hold, are refused.
  Result<size_t> submit(Request request);
  /// Queues another sample of the prompt of request `first`, which has no token yet. The prompt is computed once; its
  /// KV pages are shared, and copied where the samples part. `request.prompt` is not looked at. Each sample gets what a
  /// request of its own would get.
  Result<size_t> submitSample(size_t first, Request request);
  bool idle() const { return waiting.empty() && running.empty(); }
  /// What comes of one engine step; a no-op when idle.
  Result<void> step();
  /// Steps until idle.
  Result<void> finish();
  const Completion &completion(size_t number) const { return jobs[number].completion; }
  int64_t preemptions() const { return preempted; }

private:
  using Clock = std::chrono::steady_clock;
  struct Job {
    Request request;
    Completion completion;
    std::vector<int32_t> tokens; ///< prompt and what was generated
    KvStore::Sequence sequence = -1;
    SamplerState sampler;
    int32_t fed = 0;             ///< what stands for a token that is not known yet (Engine::drawnToken)
    std::vector<size_t> samples; ///< other requests that wait for this one's prompt
    bool started = false;
    Clock::time_point start, firstToken;
  };

  /// A logit row of a step that was started: whose it is, and whether the device draws its token.
  struct Row {
    size_t job = 0;
    bool drawn = false;
  };
  using Flight = std::vector<Row>;

  void admit();
  Result<bool> start();
  Result<void> collect();
  int64_t rowInFlight(size_t number) const;
  int64_t rowsLeft(size_t number) const;
  bool drawsAlone(const Job &job) const;
  int64_t pagesToFinishPrompt(size_t number) const;
  void preempt(size_t number);
  void retire(size_t number, const char *reason);
  void sample(size_t number, std::span<const float> logits);
  void accept(size_t number, int32_t id);
  void forkSamples(size_t number, std::span<const float> logits);
  void finishJob(Job &job, const char *reason);
  bool makeRoom(size_t number, int64_t rows);

  Engine &engine;
  int64_t maxSequences;
  std::deque<Job> jobs; ///< by request number; addresses stay
  std::deque<size_t> waiting;
  std::vector<size_t> running; ///< in order of admission
  std::deque<Flight> flights;  ///< at most two, the second only while the first is collected
  Sampler sampler;
  int64_t preempted = 0;
};

} // namespace lathe
