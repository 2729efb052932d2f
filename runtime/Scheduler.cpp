#include "runtime/Scheduler.h"

#include <algorithm>
#include <utility>

namespace lathe {

Scheduler::Scheduler(Engine &engine, int64_t maxSequences)
    : engine(engine),
      maxSequences(std::min(maxSequences > 0 ? maxSequences : engine.maxLogitRows(), engine.maxLogitRows())) {}

Scheduler::~Scheduler() {
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

/// Pages that a running job will still take until its next token is out.
int64_t Scheduler::pagesToFinishPrompt(const Job &job) const {
  int64_t left = static_cast<int64_t>(job.tokens.size()) - engine.kv().length(job.sequence);
  return engine.kv().pagesNeeded(job.sequence, left);
}

void Scheduler::admit() {
  KvStore &kv = engine.kv();
  int64_t promised = 0;
  for (size_t number : running)
    promised += pagesToFinishPrompt(jobs[number]);
  while (!waiting.empty() && static_cast<int64_t>(running.size()) < maxSequences) {
    size_t number = waiting.front();
    Job &job = jobs[number];
    job.sequence = kv.open();
    // The last token is computed in any case: its logits are wanted.
    int64_t found = kv.attach(job.sequence, std::span(job.tokens).first(job.tokens.size() - 1));
    int64_t needed = pagesToFinishPrompt(job);
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
/// the youngest and was preempted.
bool Scheduler::makeRoom(size_t number, int64_t rows) {
  while (!engine.reserve(jobs[number].sequence, rows)) {
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
    accept(samples[i], logits);
}

/// Samples the next token of a job.
void Scheduler::accept(size_t number, std::span<const float> logits) {
  Job &job = jobs[number];
  if (!job.samples.empty())
    forkSamples(number, logits);
  int32_t id = sampler.sample(logits, job.tokens, job.request.sampling, job.sampler);
  Clock::time_point now = Clock::now();
  if (job.completion.ids.empty()) {
    job.firstToken = now;
    job.completion.promptSeconds = std::chrono::duration<double>(job.firstToken - job.start).count();
  }
  job.completion.predictedSeconds = std::chrono::duration<double>(now - job.firstToken).count();
  job.tokens.push_back(id);
  job.completion.ids.push_back(id);
  if (job.request.logprobs >= 0)
    job.completion.logprobs.push_back(logprobs(logits, id, job.request.logprobs));
  bool stopped = job.request.onToken && job.request.onToken(id);
  const std::vector<int64_t> &ends = job.request.endTokens;
  if (stopped || std::find(ends.begin(), ends.end(), id) != ends.end())
    retire(number, "stop");
  else if (static_cast<int64_t>(job.completion.ids.size()) >= job.request.maxTokens)
    retire(number, "length");
}

Result<void> Scheduler::step() {
  admit();
  std::vector<SequenceRows> batch;
  std::vector<size_t> taking;
  int64_t room = engine.maxRows();
  auto left = [&](size_t number) {
    return static_cast<int64_t>(jobs[number].tokens.size()) - engine.kv().length(jobs[number].sequence);
  };
  auto take = [&](size_t number, int64_t rows) {
    taking.push_back(number);
    room -= rows;
  };
  // Room is made before any span into the batch is kept: making it may preempt a job that was taken already.
  std::vector<size_t> order = running;
  std::stable_partition(order.begin(), order.end(), [&](size_t number) { return left(number) == 1; });
  std::vector<int64_t> rowsOf(jobs.size(), 0);
  for (size_t number : order) {
    if (room == 0 || std::find(running.begin(), running.end(), number) == running.end())
      continue;
    rowsOf[number] = std::min(room, left(number));
    if (makeRoom(number, rowsOf[number]))
      take(number, rowsOf[number]);
  }
  std::erase_if(taking,
                [&](size_t number) { return std::find(running.begin(), running.end(), number) == running.end(); });
  for (size_t number : taking) {
    int64_t done = engine.kv().length(jobs[number].sequence), rows = rowsOf[number];
    batch.push_back(
        {jobs[number].sequence, std::span(jobs[number].tokens).subspan(done, rows), rows == left(number) ? 1 : 0});
  }
  if (batch.empty())
    return {};
  auto logits = engine.step(batch);
  if (!logits)
    return propagate(logits);
  int64_t row = 0;
  for (size_t i = 0; i < batch.size(); ++i)
    if (batch[i].logitRows)
      accept(taking[i], logits->row(row++));
  return {};
}

Result<void> Scheduler::finish() {
  while (!idle())
    if (auto done = step(); !done)
      return done;
  return {};
}

} // namespace lathe
