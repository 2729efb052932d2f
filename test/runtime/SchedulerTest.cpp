#include "test/runtime/ToyModel.h"

#include "runtime/Scheduler.h"

#include <gtest/gtest.h>

namespace lathe {
namespace {

std::vector<std::vector<int32_t>> prompts() {
  std::vector<std::vector<int32_t>> list;
  for (int64_t length : {1, 9, 16, 17, 30, 3, 25})
    list.push_back(toy::drawTokens(length, length));
  return list;
}

Request greedy(std::vector<int32_t> prompt, int64_t count) {
  Request request;
  request.prompt = std::move(prompt);
  request.maxTokens = count;
  return request;
}

/// Runs all prompts together and checks each against the hand-written evaluation.
int64_t checkTogether(const EngineOptions &options, int64_t count, int64_t maxSequences = 0) {
  auto engine = toy::engine(options);
  int64_t pages = engine->kv().freePages(), preemptions = 0;
  {
    Scheduler scheduler(*engine, maxSequences);
    for (const auto &prompt : prompts())
      EXPECT_TRUE(scheduler.submit(greedy(prompt, count)));
    auto done = scheduler.finish();
    EXPECT_TRUE(done) << done.error().message;
    for (size_t i = 0; i < prompts().size(); ++i) {
      EXPECT_EQ(scheduler.completion(i).ids, toy::continuation(prompts()[i], count)) << "request " << i;
      EXPECT_EQ(scheduler.completion(i).finishReason, "length");
    }
    preemptions = scheduler.preemptions();
  }
  EXPECT_EQ(engine->kv().freePages(), pages) << "pages were lost";
  return preemptions;
}

TEST(Scheduler, EachGetsWhatItGetsAlone) {
  EXPECT_EQ(checkTogether({.threads = 2, .kvTokens = 1000}, 20), 0);
  checkTogether({.threads = 1, .kvTokens = 1000, .reusePrefixes = false}, 20);
}

TEST(Scheduler, SmallStepsChunkThePrompts) {
  for (int64_t rows : {1, 2, 5, 16})
    checkTogether({.threads = 2, .kvTokens = 1000, .maxRows = rows}, 12);
}

TEST(Scheduler, FewerLogitRowsThanRequests) { checkTogether({.kvTokens = 1000, .maxLogitRows = 2}, 12); }

// Too few pages for all: some give theirs back and are computed again, with the same result.
TEST(Scheduler, PreemptionChangesNothing) {
  int64_t preemptions = 0;
  for (int64_t tokens : {52, 64, 80, 120})
    for (bool reuse : {false, true})
      preemptions += checkTogether({.threads = 2, .kvTokens = tokens, .reusePrefixes = reuse}, 20);
  EXPECT_GT(preemptions, 0);
}

TEST(Scheduler, PrefixesAreFoundAgain) {
  auto engine = toy::engine({.kvTokens = 400});
  Scheduler scheduler(*engine);
  std::vector<int32_t> first = toy::drawTokens(3, 22), second = first;
  second[18] = (second[18] + 1) % toy::kVocab;
  ASSERT_TRUE(scheduler.submit(greedy(first, 5)) && scheduler.finish());
  ASSERT_TRUE(scheduler.submit(greedy(second, 5)) && scheduler.finish());
  ASSERT_TRUE(scheduler.submit(greedy(first, 5)) && scheduler.finish());
  EXPECT_EQ(scheduler.completion(0).cachedTokens, 0);
  EXPECT_EQ(scheduler.completion(1).cachedTokens, 16);
  EXPECT_EQ(scheduler.completion(2).cachedTokens, 20);
  EXPECT_EQ(scheduler.completion(1).ids, toy::continuation(second, 5));
  EXPECT_EQ(scheduler.completion(2).ids, scheduler.completion(0).ids);
}

TEST(Scheduler, EndsAtTheContext) {
  auto engine = toy::engine({.context = 32});
  Scheduler scheduler(*engine);
  auto number = scheduler.submit(greedy(toy::drawTokens(1, 29), 500));
  ASSERT_TRUE(number && scheduler.finish());
  EXPECT_EQ(scheduler.completion(*number).ids, toy::continuation(toy::drawTokens(1, 29), 3));
  EXPECT_EQ(scheduler.completion(*number).finishReason, "length");
  auto full = scheduler.submit(greedy(toy::drawTokens(1, 32), 5));
  ASSERT_TRUE(full && scheduler.finish());
  EXPECT_TRUE(scheduler.completion(*full).ids.empty());
  auto tooLong = scheduler.submit(greedy(toy::drawTokens(1, 40), 1));
  ASSERT_FALSE(tooLong);
  EXPECT_EQ(tooLong.error().message, "the prompt has 40 tokens, the context 32; shorten it or raise -c");
}

TEST(Scheduler, EndTokensAndStops) {
  auto engine = toy::engine();
  Scheduler scheduler(*engine);
  std::vector<int32_t> prompt = toy::drawTokens(9, 6), free = toy::continuation(prompt, 20);
  size_t end = 1;
  while (std::find(free.begin(), free.begin() + end, free[end]) != free.begin() + end)
    ++end;
  Request request = greedy(prompt, 20);
  request.endTokens = {free[end]};
  ASSERT_TRUE(scheduler.submit(request));
  int64_t seen = 0;
  request = greedy(prompt, 20);
  request.onToken = [&](int32_t id) {
    EXPECT_EQ(id, free[seen]);
    return ++seen == 4;
  };
  ASSERT_TRUE(scheduler.submit(request));
  ASSERT_TRUE(scheduler.submit(greedy(prompt, 0)));
  ASSERT_TRUE(scheduler.finish());
  EXPECT_EQ(scheduler.completion(0).ids, std::vector(free.begin(), free.begin() + end + 1));
  EXPECT_EQ(scheduler.completion(0).finishReason, "stop");
  EXPECT_EQ(scheduler.completion(1).ids, std::vector(free.begin(), free.begin() + 4));
  EXPECT_EQ(scheduler.completion(1).finishReason, "stop");
  EXPECT_TRUE(scheduler.completion(2).ids.empty());
}

TEST(Scheduler, SamplingDoesNotSeeTheBatch) {
  auto sampled = [](uint64_t seed) {
    Request request = greedy(toy::drawTokens(seed, 7), 15);
    request.sampling = {.temperature = 30, .topK = 20, .topP = 0.9, .seed = seed};
    return request;
  };
  std::vector<std::vector<int32_t>> alone;
  for (uint64_t seed = 0; seed < 6; ++seed) {
    auto engine = toy::engine();
    Scheduler scheduler(*engine);
    ASSERT_TRUE(scheduler.submit(sampled(seed)) && scheduler.finish());
    alone.push_back(scheduler.completion(0).ids);
  }
  auto engine = toy::engine({.threads = 2, .kvTokens = 60}); // small enough to preempt
  Scheduler scheduler(*engine);
  for (uint64_t seed = 0; seed < 6; ++seed)
    ASSERT_TRUE(scheduler.submit(sampled(seed)));
  ASSERT_TRUE(scheduler.finish());
  for (uint64_t seed = 0; seed < 6; ++seed)
    EXPECT_EQ(scheduler.completion(seed).ids, alone[seed]);
}

Request hot(std::vector<int32_t> prompt, uint64_t number) {
  Request request = greedy(std::move(prompt), 14);
  request.sampling = {.temperature = 25, .frequencyPenalty = 0.5, .mirostat = 2, .mirostatTau = 4, .seed = 3};
  request.sampling.request = number;
  return request;
}

// Samples of a prompt: pages of the prompt are held by all, and each gets what a request of its own gets.
TEST(Scheduler, SamplesShareThePromptAndNothingElse) {
  std::vector<int32_t> prompt = toy::drawTokens(5, 14); // three pages of four, and two tokens of a fourth
  std::vector<std::vector<int32_t>> alone;
  for (uint64_t i = 0; i < 5; ++i) {
    auto engine = toy::engine();
    Scheduler scheduler(*engine);
    ASSERT_TRUE(scheduler.submit(hot(prompt, i)) && scheduler.finish());
    alone.push_back(scheduler.completion(0).ids);
  }
  EXPECT_NE(alone[0], alone[1]);
  for (bool reuse : {true, false}) {
    auto engine = toy::engine({.threads = 2, .kvTokens = 400, .reusePrefixes = reuse});
    int64_t pages = engine->kv().freePages();
    {
      Scheduler scheduler(*engine);
      ASSERT_TRUE(scheduler.submit(greedy(toy::drawTokens(8, 5), 20)));
      auto first = scheduler.submit(hot(prompt, 0));
      ASSERT_TRUE(first);
      for (uint64_t i = 1; i < 5; ++i)
        ASSERT_TRUE(scheduler.submitSample(*first, hot({}, i)));
      ASSERT_TRUE(scheduler.step());
      // Beside the other request's: the prompt's four pages, held by all five samples.
      int64_t shared = 0;
      for (int32_t page = 0; page < engine->kv().pageCount(); ++page)
        shared += engine->kv().references(page) == 5;
      EXPECT_EQ(shared, 4);
      EXPECT_EQ(engine->kv().freePages(), pages - 4 - 2) << "the prompt is there once";
      ASSERT_TRUE(scheduler.finish());
      for (size_t i = 0; i < 5; ++i) {
        EXPECT_EQ(scheduler.completion(*first + i).ids, alone[i]) << "sample " << i;
        EXPECT_EQ(scheduler.completion(*first + i).finishReason, "length");
        EXPECT_EQ(scheduler.completion(*first + i).cachedTokens, i == 0 ? 0 : 14) << "sample " << i;
      }
      EXPECT_EQ(scheduler.completion(0).ids, toy::continuation(toy::drawTokens(8, 5), 20));
    }
    EXPECT_EQ(engine->kv().freePages(), pages) << "pages were lost";
  }
}

// Too few pages or places for all samples: some wait as requests of their own, some are preempted.
TEST(Scheduler, SamplesThatDoNotFitWait) {
  std::vector<int32_t> prompt = toy::drawTokens(6, 18);
  std::vector<std::vector<int32_t>> wide;
  for (auto [tokens, sequences] : {std::pair<int64_t, int64_t>{800, 0}, {800, 2}, {40, 0}, {60, 0}, {60, 3}, {36, 1}}) {
    auto engine = toy::engine({.threads = 2, .kvTokens = tokens, .maxRows = 7});
    int64_t pages = engine->kv().freePages(), finished = 0;
    std::vector<std::vector<int32_t>> ids;
    {
      Scheduler scheduler(*engine, sequences);
      auto first = scheduler.submit(hot(prompt, 0));
      for (uint64_t i = 1; i < 8; ++i) {
        Request request = hot({}, i);
        request.onFinish = [&] { ++finished; };
        ASSERT_TRUE(scheduler.submitSample(*first, request));
      }
      ASSERT_TRUE(scheduler.finish());
      for (size_t i = 0; i < 8; ++i)
        ids.push_back(scheduler.completion(i).ids);
    }
    EXPECT_EQ(finished, 7);
    EXPECT_EQ(engine->kv().freePages(), pages);
    wide = wide.empty() ? ids : wide;
    EXPECT_EQ(ids, wide) << tokens << " tokens, " << sequences << " sequences";
  }
}

TEST(Scheduler, SamplesWithoutTokens) {
  auto engine = toy::engine();
  Scheduler scheduler(*engine);
  auto first = scheduler.submit(greedy({1, 2}, 0));
  auto second = scheduler.submitSample(*first, greedy({}, 0));
  ASSERT_TRUE(second);
  EXPECT_TRUE(scheduler.idle());
  EXPECT_EQ(scheduler.completion(*second).finishReason, "length");
  auto late = scheduler.submitSample(*first, greedy({}, 3));
  ASSERT_TRUE(late && scheduler.finish());
  EXPECT_EQ(scheduler.completion(*late).ids, toy::continuation({1, 2}, 3));
  EXPECT_EQ(scheduler.submitSample(*late, greedy({}, 3)).error().code, ExitCode::internal);
}

TEST(Scheduler, LogprobsOfTheModel) {
  auto engine = toy::engine();
  Scheduler scheduler(*engine);
  Request request = greedy({4, 8}, 3);
  request.logprobs = 2;
  ASSERT_TRUE(scheduler.submit(request) && scheduler.finish());
  const Completion &completion = scheduler.completion(0);
  ASSERT_EQ(completion.logprobs.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    ASSERT_EQ(completion.logprobs[i].size(), 3u);
    EXPECT_EQ(completion.logprobs[i][0].id, completion.ids[i]);
    EXPECT_EQ(completion.logprobs[i][1].id, completion.ids[i]); // greedy: the likeliest
    EXPECT_LE(completion.logprobs[i][2].logprob, completion.logprobs[i][1].logprob);
    EXPECT_LE(completion.logprobs[i][1].logprob, 0);
  }
}

TEST(Scheduler, RefusesRequests) {
  auto engine = toy::engine({.kvTokens = 16});
  Scheduler scheduler(*engine);
  EXPECT_EQ(scheduler.submit(greedy({}, 1)).error().code, ExitCode::badInput);
  EXPECT_NE(scheduler.submit(greedy({1, 37}, 1)).error().message.find("token id 37"), std::string::npos);
  auto tooLarge = scheduler.submit(greedy(toy::drawTokens(1, 10), 30));
  ASSERT_FALSE(tooLarge);
  EXPECT_EQ(tooLarge.error().code, ExitCode::resource);
  EXPECT_NE(tooLarge.error().message.find("bytes"), std::string::npos);
  EXPECT_TRUE(scheduler.idle());
}

} // namespace
} // namespace lathe
