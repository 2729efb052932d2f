// Steps that are started before the tokens of the step before are known: on a device that draws them everything is as
// on the CPU, where the host samples step by step.
#include "test/runtime/ToyModel.h"

#include "runtime/Scheduler.h"

#include <gtest/gtest.h>
#include <random>

namespace {
int64_t fedRows = 0, launchesLeft = -1; ///< until one fails; negative: none does
}

// What the toy device calls for each launch (ToyDevice.cpp).
extern "C" bool toy_launched(const char *kernel, int64_t fed);
extern "C" bool toy_launched(const char *, int64_t fed) {
  fedRows += fed;
  return launchesLeft >= 0 && launchesLeft-- == 0;
}

namespace lathe {
namespace {

class Random {
public:
  explicit Random(uint64_t seed) : engine(seed) {}
  int64_t below(int64_t count) { return static_cast<int64_t>(engine() % static_cast<uint64_t>(count)); }
  bool one(int64_t in) { return below(in) == 0; }
  template <class T> T pick(std::initializer_list<T> values) {
    return values.begin()[below(static_cast<int64_t>(values.size()))];
  }

private:
  std::mt19937_64 engine;
};

/// A request, when it comes, and what was streamed of it.
struct Planned {
  Request request;
  int64_t afterSteps = 0, stopAfter = -1;
  int64_t samples = 1;
};

/// Requests of all kinds. `host` of them in a hundred want what only the host can do.
std::vector<Planned> mix(uint64_t seed, int64_t host) {
  Random random(seed);
  std::vector<Planned> all(static_cast<size_t>(1 + random.below(9)));
  for (Planned &planned : all) {
    Request &r = planned.request;
    r.prompt = toy::drawTokens(seed * 31 + static_cast<uint64_t>(random.below(3)), 1 + random.below(24));
    r.maxTokens = 1 + random.below(20);
    r.sampling = {.temperature = random.pick({0.0, 0.0, 5.0, 25.0, 60.0}),
                  .topK = random.pick<int64_t>({0, 0, 1, 4, 30, 100}),
                  .topP = random.pick({1.0, 1.0, 0.9, 0.4}),
                  .minP = random.pick({0.0, 0.0, 0.02}),
                  .seed = seed,
                  .request = static_cast<uint64_t>(random.below(1000))};
    for (int64_t ends = random.below(4); ends > 0; --ends)
      r.endTokens.push_back(random.below(toy::kVocab));
    if (random.below(100) < host)
      switch (random.below(4)) {
      case 0:
        r.logprobs = 1;
        break;
      case 1:
        r.sampling.frequencyPenalty = 0.5;
        break;
      case 2:
        r.sampling.logitBias = {{3, 4.0}};
        break;
      default:
        r.sampling.mirostat = 2;
      }
    planned.afterSteps = random.one(2) ? 0 : random.below(25);
    planned.stopAfter = random.one(4) ? 1 + random.below(10) : -1;
    planned.samples = random.one(5) ? 1 + random.below(4) : 1;
  }
  return all;
}

struct Outcome {
  std::vector<std::vector<int32_t>> ids, streamed;
  std::vector<std::string> reasons;
  std::vector<size_t> logprobs;
  int64_t finished = 0;
  bool operator==(const Outcome &) const = default;
};

/// Runs a mix; requests come between steps. `preemptions` grows.
Outcome run(Engine &engine, const std::vector<Planned> &mix, int64_t sequences, int64_t &preemptions) {
  Outcome outcome;
  std::vector<size_t> numbers;
  int64_t pages = engine.kv().freePages();
  {
    Scheduler scheduler(engine, sequences);
    std::deque<std::vector<int32_t>> streamed;
    auto submit = [&](const Planned &planned) {
      size_t first = 0;
      for (int64_t sample = 0; sample < planned.samples; ++sample) {
        Request request = planned.request;
        request.sampling.request += static_cast<uint64_t>(sample);
        auto &stream = streamed.emplace_back();
        request.onToken = [&stream, &planned](int32_t id) {
          stream.push_back(id);
          return static_cast<int64_t>(stream.size()) == planned.stopAfter;
        };
        request.onFinish = [&] { ++outcome.finished; };
        auto number = sample == 0 ? scheduler.submit(request) : scheduler.submitSample(first, request);
        EXPECT_TRUE(number) << number.error().message;
        first = sample == 0 ? *number : first;
        numbers.push_back(*number);
      }
    };
    std::vector<bool> there(mix.size());
    for (int64_t steps = 0; !scheduler.idle() || std::ranges::find(there, false) != there.end(); ++steps) {
      for (size_t i = 0; i < mix.size(); ++i)
        if (!there[i] && mix[i].afterSteps <= steps)
          submit(mix[i]), there[i] = true;
      auto done = scheduler.step();
      EXPECT_TRUE(done) << done.error().message;
    }
    for (size_t number : numbers) {
      const Completion &completion = scheduler.completion(number);
      outcome.ids.push_back(completion.ids);
      outcome.reasons.push_back(completion.finishReason);
      outcome.logprobs.push_back(completion.logprobs.size());
    }
    outcome.streamed.assign(streamed.begin(), streamed.end());
    preemptions += scheduler.preemptions();
  }
  EXPECT_EQ(engine.kv().freePages(), pages) << "pages were lost";
  return outcome;
}

// Any mix of requests, of joins, ends and too few pages: the same tokens, streamed and kept, as step by step.
TEST(SchedulerAhead, EachGetsWhatTheHostSamples) {
  fedRows = 0;
  int64_t preemptions = 0, tokens = 0;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    Random random(seed + 1000);
    EngineOptions options{.threads = 1,
                          .kvTokens = random.pick<int64_t>({48, 64, 100, 600}),
                          .maxRows = random.pick<int64_t>({3, 16, 512}),
                          .maxLogitRows = random.pick<int64_t>({2, 8}),
                          .reusePrefixes = random.one(2)};
    int64_t sequences = random.pick<int64_t>({0, 1, 3}), ignored = 0;
    std::vector<Planned> requests = mix(seed, random.pick<int64_t>({0, 0, 10, 50}));
    Outcome expected = run(*toy::engine(options), requests, sequences, ignored);
    Outcome actual = run(*toy::deviceEngine(options), requests, sequences, preemptions);
    ASSERT_EQ(actual.ids, expected.ids) << "mix " << seed;
    ASSERT_EQ(actual.reasons, expected.reasons) << "mix " << seed;
    ASSERT_TRUE(actual == expected) << "mix " << seed;
    for (const auto &ids : actual.ids)
      tokens += static_cast<int64_t>(ids.size());
  }
  EXPECT_GT(preemptions, 20);
  EXPECT_GT(fedRows, tokens / 3) << "of " << tokens << " tokens";
}

Request greedy(std::vector<int32_t> prompt, int64_t count) {
  Request request;
  request.prompt = std::move(prompt);
  request.maxTokens = count;
  return request;
}

TEST(SchedulerAhead, EveryTokenButTheLastIsFed) {
  auto engine = toy::deviceEngine({.kvTokens = 200});
  ASSERT_TRUE(engine->draws());
  std::vector<int32_t> prompt = toy::drawTokens(9, 6), free = toy::continuation(prompt, 20);
  Scheduler scheduler(*engine);
  fedRows = 0;
  ASSERT_TRUE(scheduler.submit(greedy(prompt, 20)) && scheduler.finish());
  EXPECT_EQ(scheduler.completion(0).ids, free);
  EXPECT_EQ(fedRows, 19);
  // One that ends early has been fed its last token too; what comes of that nobody gets.
  Request request = greedy(prompt, 20);
  request.onToken = [seen = 0](int32_t) mutable { return ++seen == 4; };
  fedRows = 0;
  ASSERT_TRUE(scheduler.submit(request) && scheduler.finish());
  EXPECT_EQ(scheduler.completion(1).ids, std::vector(free.begin(), free.begin() + 4));
  EXPECT_EQ(fedRows, 4);
}

TEST(SchedulerAhead, NotWhereTheHostSamples) {
  auto engine = toy::deviceEngine({.kvTokens = 400});
  Scheduler scheduler(*engine);
  Request wants = greedy(toy::drawTokens(4, 5), 10);
  wants.logprobs = 0;
  fedRows = 0;
  ASSERT_TRUE(scheduler.submit(wants));
  ASSERT_TRUE(scheduler.submit(greedy(toy::drawTokens(5, 5), 30)) && scheduler.finish());
  EXPECT_EQ(scheduler.completion(0).ids, toy::continuation(toy::drawTokens(4, 5), 10));
  EXPECT_EQ(scheduler.completion(1).ids, toy::continuation(toy::drawTokens(5, 5), 30));
  EXPECT_EQ(fedRows, 19) << "the other's tokens from the eleventh on";
}

// Any launch may fail, of a step or of the one started behind it: one error, and nothing is kept.
TEST(SchedulerAhead, AFailureLeavesNothingBehind) {
  auto engine = toy::deviceEngine({.kvTokens = 200});
  int64_t pages = engine->kv().freePages(), failures = 0;
  for (int64_t launch = 0;; launch += 3) {
    launchesLeft = launch;
    Result<void> done;
    {
      Scheduler scheduler(*engine);
      ASSERT_TRUE(scheduler.submit(greedy(toy::drawTokens(1, 9), 6)));
      ASSERT_TRUE(scheduler.submit(greedy(toy::drawTokens(2, 3), 8)));
      done = scheduler.finish();
    }
    EXPECT_EQ(engine->kv().freePages(), pages) << launch;
    bool failed = launchesLeft < 0;
    launchesLeft = -1;
    if (!failed)
      break;
    ++failures;
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, ExitCode::checkFailed);
    EXPECT_EQ(done.error().message, "a launch that the test lets fail");
    Scheduler next(*engine); // and the next is served
    ASSERT_TRUE(next.submit(greedy(toy::drawTokens(1, 9), 3)) && next.finish());
    EXPECT_EQ(next.completion(0).ids, toy::continuation(toy::drawTokens(1, 9), 3));
  }
  EXPECT_GT(failures, 15);
}

TEST(SchedulerAhead, WhoLeavesInTheMiddleLeavesNothing) {
  auto engine = toy::deviceEngine({.kvTokens = 200});
  int64_t pages = engine->kv().freePages();
  for (int64_t steps = 0; steps < 6; ++steps) {
    {
      Scheduler scheduler(*engine);
      ASSERT_TRUE(scheduler.submit(greedy(toy::drawTokens(1, 9), 9)));
      for (int64_t i = 0; i < steps; ++i)
        ASSERT_TRUE(scheduler.step());
    }
    EXPECT_EQ(engine->kv().freePages(), pages);
  }
}

TEST(SchedulerAhead, EngineRefusesTokensThatNobodyDraws) {
  auto engine = toy::deviceEngine({.kvTokens = 200});
  KvStore::Sequence sequence = engine->kv().open();
  ASSERT_TRUE(engine->reserve(sequence, 4));
  std::vector<int32_t> tokens{1, 2}, fed{Engine::drawnToken(0)}, second{Engine::drawnToken(1)};
  auto refused = [&](SequenceRows rows) {
    auto started = engine->start({&rows, 1});
    EXPECT_FALSE(started);
    return started ? std::string() : started.error().message;
  };
  EXPECT_EQ(refused({sequence, fed, 1}), "a step takes the token of logit row 0, which no step before it draws");
  EXPECT_EQ(engine->collect().error().message, "no step was started");
  SequenceRows first{sequence, tokens, 1, drawOf({}, 2)};
  ASSERT_TRUE(engine->start({&first, 1}));
  EXPECT_EQ(refused({sequence, second, 1}), "a step takes the token of logit row 1, which no step before it draws");
  SequenceRows next{sequence, fed, 1};
  ASSERT_TRUE(engine->start({&next, 1}));
  EXPECT_EQ(engine->kv().length(sequence), 2) << "the third token is not known";
  EXPECT_EQ(refused({sequence, tokens, 1}),
            "a step is started while another whose logits are wanted, or two, were not collected");
  auto drawn = engine->collect();
  ASSERT_TRUE(drawn && drawn->tokens);
  EXPECT_EQ(drawn->tokens[0], toy::continuation(tokens, 1).front());
  EXPECT_EQ(engine->kv().length(sequence), 3);
  EXPECT_EQ(refused({sequence, tokens, 1}),
            "a step is started while another whose logits are wanted, or two, were not collected");
  auto logits = engine->collect();
  ASSERT_TRUE(logits);
  EXPECT_EQ(logits->tokens, nullptr);
  std::vector<int32_t> all{1, 2, toy::continuation(tokens, 1).front()};
  EXPECT_EQ(argmax(logits->row(0)), toy::continuation(all, 1).front());
  engine->kv().close(sequence);

  auto cpu = toy::engine();
  EXPECT_FALSE(cpu->draws());
  sequence = cpu->kv().open();
  ASSERT_TRUE(cpu->reserve(sequence, 4));
  SequenceRows wants{sequence, tokens, 1, drawOf({}, 2)};
  auto never = cpu->step({&wants, 1});
  ASSERT_FALSE(never);
  EXPECT_NE(never.error().message.find("which draws none"), std::string::npos) << never.error().message;
  cpu->kv().close(sequence);
}

} // namespace
} // namespace lathe
