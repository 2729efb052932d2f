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
