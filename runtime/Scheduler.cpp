#include "runtime/Scheduler.h"

#include <algorithm>
#include <utility>

namespace lathe {

Scheduler::Scheduler(Engine &engine, int64_t maxSequences)
    : engine(engine),
      maxSequences(std::min(maxSequences > 0 ? maxSequences : engine.maxLogitRows(), engine.maxLogitRows())) {}

Scheduler::~Scheduler() {
  for (; !flights.empty(); flights.pop_front())
    (void)engine.collect(); // what it brings nobody waits for
  for (size_t number : running)
    engine.kv().close(jobs[number].sequence);
}

Result<size_t> Scheduler::submit(Request request) {
  int64_t count = static_cast<int64_t>(request.prompt.size());
  if (count == 0)
    return fail(ExitCode::badInput, "the prompt has no tokens; give at least one id");
  if (count > engine.context())
    return fail(ExitCode::badInput, "the prompt has {} tokens, the context {}; shorten it or raise -c", count,
                engine.context());
  for (int32_t id : request.prompt)
    if (id < 0 || id >= engine.plan().vocab)
      return fail(ExitCode::badInput, "token id {}: expected 0 to {}, the vocabulary's last", id,
                  engine.plan().vocab - 1);
  request.maxTokens = std::clamp<int64_t>(request.maxTokens, 0, engine.context() - count);
  // The last token is only ever output, never stored.
  int64_t pages =
      (count + std::max<int64_t>(0, request.maxTokens - 1) + engine.kv().pageTokens() - 1) / engine.kv().pageTokens();
  if (pages > engine.kv().pageCount())
    return fail(
        ExitCode::resource, "a request of {} tokens takes {} KV pages, {} bytes; the pool has {} pages, {} bytes",
        count + request.maxTokens, pages, static_cast<uint64_t>(pages) * (engine.kvBytes() / engine.kv().pageCount()),
        engine.kv().pageCount(), engine.kvBytes());
  size_t number = jobs.size();
  Job &job = jobs.emplace_back();
  job.tokens = request.prompt;
  job.completion.promptTokens = count;
  job.request = std::move(request);
  job.sampler.promptTokens = count;
  if (job.request.maxTokens == 0)
    finishJob(job, "length");
  else
    waiting.push_back(number);
  return number;
}

Result<size_t> Scheduler::submitSample(size_t first, Request request) {
  if (first >= jobs.size() || !jobs[first].completion.ids.empty())
    return fail(ExitCode::internal, "request {} has tokens already, or there is none", first);
  request.prompt = jobs[first].request.prompt;
  auto number = submit(std::move(request));
  // Without new tokens there is nothing to share; a first request that is over had none either.
  if (number && jobs[*number].completion.finishReason.empty() && jobs[first].completion.finishReason.empty()) {
    waiting.pop_back();
    jobs[first].samples.push_back(*number);
  }
  return number;
}

void Scheduler::finishJob(Job &job, const char *reason) {
  job.completion.finishReason = reason;
  if (job.request.onFinish)
    job.request.onFinish();
}

/// The logit row that draws a job's next token in the step under way, or -1.
int64_t Scheduler::rowInFlight(size_t number) const {
  if (flights.empty())
    return -1;
  auto found = std::ranges::find(flights.back(), number, &Row::job);
  return found == flights.back().end() ? -1 : found - flights.back().begin();
}

/// Tokens of a running job that no step has taken yet, the one that is being drawn included.
int64_t Scheduler::rowsLeft(size_t number) const {
  return static_cast<int64_t>(jobs[number].tokens.size()) + (rowInFlight(number) >= 0 ? 1 : 0) -
         engine.kv().length(jobs[number].sequence);
}

/// Whether the device can draw a job's next token: nobody wants more of the logits than that.
bool Scheduler::drawsAlone(const Job &job) const {
  return engine.draws() && lathe::drawsAlone(job.request.sampling) && job.request.logprobs < 0 && job.samples.empty();
}

/// Pages that a running job will still take until its next token is out.
int64_t Scheduler::pagesToFinishPrompt(size_t number) const {
  return engine.kv().pagesNeeded(jobs[number].sequence, rowsLeft(number));
}

void Scheduler::admit() {
  KvStore &kv = engine.kv();
  int64_t promised = 0;
  for (size_t number : running)
    promised += pagesToFinishPrompt(number);
  while (!waiting.empty() && static_cast<int64_t>(running.size()) < maxSequences) {
    size_t number = waiting.front();
    Job &job = jobs[number];
    job.sequence = kv.open();
    // The last token is computed in any case: its logits are wanted.
    int64_t found = kv.attach(job.sequence, std::span(job.tokens).first(job.tokens.size() - 1));
    int64_t needed = pagesToFinishPrompt(number);
    // One page of headroom for each that runs, so that admission does not cause the next preemption.
    if (!running.empty() && kv.freePages() < promised + needed + static_cast<int64_t>(running.size())) {
      kv.close(job.sequence);
      return;
    }
    promised += needed;
    waiting.pop_front();
    running.push_back(number);
    if (!job.started) {
      job.started = true;
      job.start = Clock::now();
      job.completion.cachedTokens = found;
    }
  }
}

/// Gives a job's pages back; what it generated stays and is computed again when it is admitted anew.
void Scheduler::preempt(size_t number) {
  engine.kv().close(jobs[number].sequence);
  std::erase(running, number);
  waiting.push_front(number);
  ++preempted;
}

/// Reserves room for `rows` more tokens, preempting the youngest others if need be. False when the job itself is
/// the youngest and was preempted, or when a step is under way, whose jobs stay.
bool Scheduler::makeRoom(size_t number, int64_t rows) {
  while (!engine.reserve(jobs[number].sequence, rows)) {
    if (!flights.empty())
      return false;
    size_t youngest = running.back();
    preempt(youngest);
    if (youngest == number)
      return false;
  }
  return true;
}

void Scheduler::retire(size_t number, const char *reason) {
  Job &job = jobs[number];
  engine.kv().close(job.sequence);
  std::erase(running, number);
  job.tokens = {};
  finishJob(job, reason);
}

/// The prompt of a job is in the KV store, and nothing behind it: its other samples take their first token from the
/// same logits and go on from shared pages. Those for which there is no room now wait as requests of their own, and
/// find the prompt's full pages then.
void Scheduler::forkSamples(size_t number, std::span<const float> logits) {
  std::vector<size_t> samples = std::exchange(jobs[number].samples, {});
  size_t forked = 0;
  for (; forked < samples.size(); ++forked) {
    // A page for each that runs: samples part at once, and each then writes into a page of its own.
    if (static_cast<int64_t>(running.size()) >= maxSequences ||
        engine.kv().freePages() <= static_cast<int64_t>(running.size()))
      break;
    Job &job = jobs[samples[forked]];
    job.sequence = engine.kv().fork(jobs[number].sequence);
    job.started = true;
    job.start = jobs[number].start;
    job.completion.cachedTokens = job.completion.promptTokens;
    running.push_back(samples[forked]);
  }
  waiting.insert(waiting.begin(), samples.begin() + static_cast<ptrdiff_t>(forked), samples.end());
  for (size_t i = 0; i < forked; ++i)
    sample(samples[i], logits);
}

/// Samples the next token of a job.
void Scheduler::sample(size_t number, std::span<const float> logits) {
  Job &job = jobs[number];
  if (!job.samples.empty())
    forkSamples(number, logits);
  int32_t id = sampler.sample(logits, job.tokens, job.request.sampling, job.sampler);
  if (job.request.logprobs >= 0)
    job.completion.logprobs.push_back(logprobs(logits, id, job.request.logprobs));
  accept(number, id);
}

/// Gives a job its next token.
void Scheduler::accept(size_t number, int32_t id) {
  Job &job = jobs[number];
  Clock::time_point now = Clock::now();
  if (job.completion.ids.empty()) {
    job.firstToken = now;
    job.completion.promptSeconds = std::chrono::duration<double>(job.firstToken - job.start).count();
  }
  job.completion.predictedSeconds = std::chrono::duration<double>(now - job.firstToken).count();
  job.tokens.push_back(id);
  job.completion.ids.push_back(id);
  bool stopped = job.request.onToken && job.request.onToken(id);
  const std::vector<int64_t> &ends = job.request.endTokens;
  if (stopped || std::find(ends.begin(), ends.end(), id) != ends.end())
    retire(number, "stop");
  else if (static_cast<int64_t>(job.completion.ids.size()) >= job.request.maxTokens)
    retire(number, "length");
}

/// Starts the next step; false where there is none to start. While another is under way nothing is preempted: where
/// room is short there is none to start.
Result<bool> Scheduler::start() {
  admit();
  std::vector<SequenceRows> batch;
  std::vector<size_t> taking;
  int64_t room = engine.maxRows();
  // Room is made before any span into the batch is kept: making it may preempt a job that was taken already.
  std::vector<size_t> order = running;
  std::erase_if(order, [&](size_t number) { // those that end with the token that is being drawn
    const Job &job = jobs[number];
    return rowInFlight(number) >= 0 && static_cast<int64_t>(job.completion.ids.size()) + 1 >= job.request.maxTokens;
  });
  std::stable_partition(order.begin(), order.end(), [&](size_t number) { return rowsLeft(number) == 1; });
  std::vector<int64_t> rowsOf(jobs.size(), 0);
  for (size_t number : order) {
    if (room == 0 || std::find(running.begin(), running.end(), number) == running.end())
      continue;
    rowsOf[number] = std::min(room, rowsLeft(number));
    if (makeRoom(number, rowsOf[number])) {
      taking.push_back(number);
      room -= rowsOf[number];
    } else if (!flights.empty()) {
      return false;
    }
  }
  std::erase_if(taking,
                [&](size_t number) { return std::find(running.begin(), running.end(), number) == running.end(); });
  Flight flight;
  for (size_t number : taking) {
    Job &job = jobs[number];
    int64_t done = engine.kv().length(job.sequence), rows = rowsOf[number], feeding = rowInFlight(number);
    SequenceRows part{.sequence = job.sequence, .tokens = {}, .logitRows = rows == rowsLeft(number) ? 1 : 0};
    if (feeding >= 0) {
      job.fed = Engine::drawnToken(feeding);
      part.tokens = {&job.fed, 1};
    } else {
      part.tokens = std::span(job.tokens).subspan(done, rows);
    }
    if (part.logitRows) {
      flight.push_back({number, drawsAlone(job)});
      if (flight.back().drawn)
        part.draw = drawOf(job.request.sampling, job.tokens.size() + (feeding >= 0 ? 1 : 0));
    }
    batch.push_back(part);
  }
  if (batch.empty())
    return false;
  if (auto started = engine.start(batch); !started)
    return propagate(started);
  flights.push_back(std::move(flight));
  return true;
}

/// Waits for the oldest step and gives its requests their tokens; what comes for one that is over is thrown away.
Result<void> Scheduler::collect() {
  Flight flight = std::move(flights.front());
  flights.pop_front();
  auto logits = engine.collect();
  if (!logits)
    return propagate(logits);
  for (size_t row = 0; row < flight.size(); ++row) {
    auto [number, drawn] = flight[row];
    Job &job = jobs[number];
    if (!job.completion.finishReason.empty())
      continue;
    if (!drawn) {
      sample(number, logits->row(static_cast<int64_t>(row)));
      continue;
    }
    // Samples that were submitted since the step began find the prompt's pages as requests of their own.
    waiting.insert(waiting.begin(), job.samples.begin(), job.samples.end());
    job.samples.clear();
    accept(number, logits->tokens[row]);
  }
  return {};
}

Result<void> Scheduler::step() {
  if (flights.empty())
    if (auto started = start(); !started)
      return propagate(started);
  if (flights.empty())
    return {};
  if (std::ranges::all_of(flights.front(), &Row::drawn))
    if (auto ahead = start(); !ahead)
      return propagate(ahead);
  auto done = collect();
  while (done && running.empty() && !flights.empty()) // whose rows are of requests that are over
    done = collect();
  return done;
}

Result<void> Scheduler::finish() {
  while (!idle())
    if (auto done = step(); !done)
      return done;
  return {};
}

} // namespace lathe
