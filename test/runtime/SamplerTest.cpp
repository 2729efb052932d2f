#include "runtime/Sampler.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <random>
#include <set>

namespace lathe {
namespace {

std::vector<float> drawLogits(uint64_t seed, size_t count, float spread) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> logits(count);
  for (float &logit : logits)
    logit = normal(random);
  return logits;
}

/// Frequencies of `draws` samples at successive positions.
std::vector<double> frequencies(const std::vector<float> &logits, const SamplerOptions &options, int draws) {
  Sampler sampler;
  std::vector<double> counts(logits.size());
  std::vector<int32_t> history;
  for (int i = 0; i < draws; ++i) {
    history.assign(i % 1000 + 1, 0); // only its length matters without a penalty
    SamplerOptions drawn = options;
    drawn.request = i / 1000;
    counts[sampler.sample(logits, history, drawn)] += 1.0 / draws;
  }
  return counts;
}

/// Probabilities of what `keep` leaves, by the plain formulas.
std::vector<double> softmax(const std::vector<float> &logits, double temperature) {
  double best = *std::max_element(logits.begin(), logits.end()), total = 0;
  std::vector<double> probabilities;
  for (float logit : logits)
    total += probabilities.emplace_back(std::exp((logit - best) / temperature));
  for (double &p : probabilities)
    p /= total;
  return probabilities;
}

void expectNear(const std::vector<double> &actual, const std::vector<double> &expected, int draws) {
  for (size_t i = 0; i < expected.size(); ++i)
    EXPECT_NEAR(actual[i], expected[i], 5 * std::sqrt(expected[i] * (1 - expected[i]) / draws) + 1e-12)
        << "token " << i;
}

TEST(Sampler, ArgmaxTakesTheFirstOfEquals) {
  for (size_t size : {1, 5, 16, 17, 100}) {
    std::vector<float> logits(size, -3.0f);
    EXPECT_EQ(argmax(logits), 0);
    logits.back() = 2;
    EXPECT_EQ(argmax(logits), static_cast<int32_t>(size) - 1);
    if (size > 3) {
      logits[size / 2] = 2;
      EXPECT_EQ(argmax(logits), static_cast<int32_t>(size / 2));
    }
  }
  EXPECT_EQ(argmax(std::vector<float>{-INFINITY, -INFINITY}), 0);
  EXPECT_EQ(argmax(std::vector<float>{NAN, 1, 2, NAN}), 2);
}

// Known answers of Philox4x32-10 (Random123 kat_vectors): the first two words make the number.
TEST(Sampler, CounterGeneratorIsPhilox) {
  EXPECT_EQ(counterUniform(0, 0, 0), static_cast<double>(0x6627e8d5e169c58dULL >> 11) * 0x1p-53);
  EXPECT_EQ(counterUniform(~0ULL, ~0ULL, ~0ULL), static_cast<double>(0x408f276d41c83b0eULL >> 11) * 0x1p-53);
  EXPECT_EQ(counterUniform(0x299f31d0a4093822ULL, 0x0370734413198a2eULL, 0x85a308d3243f6a88ULL),
            static_cast<double>(0xd16cfe0994fdccebULL >> 11) * 0x1p-53);
}

// Whole numbers, within rounding of exp, and never larger for a smaller logit.
TEST(Sampler, ChancesAreThoseOfExp) {
  constexpr double kBest = double(uint64_t(1) << device::kChanceBits);
  for (float temperature : {0.1f, 1.0f, 3.0f}) {
    uint64_t before = device::chance_of(0, 0, temperature);
    EXPECT_EQ(double(before), kBest);
    for (int i = 1; i < 4000; ++i) {
      float logit = -float(i) * 0.01f * temperature;
      uint64_t chance = device::chance_of(logit, 0, temperature);
      double expected = std::exp(double(logit) / temperature) * kBest;
      EXPECT_NEAR(double(chance), expected, expected * 3e-6 + 1) << logit << " at " << temperature;
      EXPECT_LE(chance, before);
      before = chance;
    }
  }
  EXPECT_EQ(device::chance_of(-INFINITY, 1, 1), 0u);
  EXPECT_EQ(device::chance_of(-INFINITY, -INFINITY, 1), device::chance_of(1, 1, 1));
  EXPECT_EQ(device::chance_of(NAN, 1, 1), 0u);
}

TEST(Sampler, TemperatureGivesTheSoftmax) {
  std::vector<float> logits = drawLogits(1, 12, 2);
  for (double temperature : {0.5, 1.0, 2.0})
    expectNear(frequencies(logits, {.temperature = temperature, .seed = 7}, 40000), softmax(logits, temperature),
               40000);
}

TEST(Sampler, TopKKeepsTheBest) {
  std::vector<float> logits = {1, 3, 2, 3, 0, 3};
  auto seen = frequencies(logits, {.temperature = 1, .topK = 2}, 20000);
  expectNear(seen, {0, 0.5, 0, 0.5, 0, 0}, 20000); // equal logits rank by id
  EXPECT_NEAR(frequencies(logits, {.temperature = 5, .topK = 1}, 10)[1], 1, 1e-9);
}

TEST(Sampler, TopPKeepsTheFewestThatReachIt) {
  std::vector<float> logits = {std::log(0.1f), std::log(0.5f), std::log(0.25f), std::log(0.15f)};
  expectNear(frequencies(logits, {.temperature = 1, .topP = 0.7}, 20000), {0, 2.0 / 3, 1.0 / 3, 0}, 20000);
  expectNear(frequencies(logits, {.temperature = 1, .topP = 0.8}, 20000), {0, 5.0 / 9, 2.5 / 9, 1.5 / 9}, 20000);
  EXPECT_NEAR(frequencies(logits, {.temperature = 1, .topP = 0}, 10)[1], 1, 1e-9);
}

// A flat distribution over many tokens needs more candidates than are ranked at first.
TEST(Sampler, TopPOverALargeVocabulary) {
  std::vector<float> logits(5000);
  for (size_t i = 0; i < logits.size(); ++i)
    logits[i] = i % 2 ? 0.0f : -30.0f;
  Sampler sampler;
  std::set<int32_t> seen;
  for (size_t i = 0; i < 5000; ++i) {
    std::vector<int32_t> history(i % 100);
    SamplerOptions options{.temperature = 1, .topP = 0.8, .request = i / 100};
    seen.insert(sampler.sample(logits, history, options));
  }
  EXPECT_LE(*seen.rbegin(), 4001) << "of equals, the lowest 2001 ids hold just over 0.8";
  EXPECT_GT(seen.size(), 1700u);
  for (int32_t id : seen)
    EXPECT_EQ(id % 2, 1);
}

TEST(Sampler, MinPIsRelativeToTheBest) {
  std::vector<float> logits = {0, std::log(0.5f), std::log(0.2f), std::log(0.05f)};
  expectNear(frequencies(logits, {.temperature = 1, .minP = 0.1}, 20000), {10.0 / 17, 5.0 / 17, 2.0 / 17, 0}, 20000);
  EXPECT_NEAR(frequencies(logits, {.temperature = 1, .minP = 1}, 10)[0], 1, 1e-9);
}

TEST(Sampler, RepetitionPenalty) {
  Sampler sampler;
  std::vector<float> logits = {2.0f, 1.9f, -1.0f, -1.1f};
  SamplerOptions options{.repetitionPenalty = 1.2};
  EXPECT_EQ(sampler.sample(logits, std::vector<int32_t>{3}, options), 0);
  EXPECT_EQ(sampler.sample(logits, std::vector<int32_t>{0, 0, 0}, options), 1) << "2.0 / 1.2 is below 1.9";
  std::vector<float> negative = {-1.0f, -1.1f};
  EXPECT_EQ(sampler.sample(negative, std::vector<int32_t>{0}, options), 1) << "-1.0 * 1.2 is below -1.1";
  EXPECT_EQ(sampler.sample(negative, std::vector<int32_t>{9999, -4}, options), 0)
      << "ids beyond the vocabulary are ignored";
}

// The prompt is no text of the model's: only what was generated counts, each time for the frequency, once for presence.
TEST(Sampler, PresenceAndFrequencyLookAtWhatWasGenerated) {
  Sampler sampler;
  std::vector<float> logits = {2.0f, 1.5f, 1.0f};
  SamplerOptions presence{.presencePenalty = 0.6}, frequency{.frequencyPenalty = 0.3};
  SamplerState prompt{.promptTokens = 2}, none;
  std::vector<int32_t> twice = {0, 0};
  EXPECT_EQ(sampler.sample(logits, twice, presence, prompt), 0);
  EXPECT_EQ(sampler.sample(logits, twice, presence, none), 1) << "2.0 - 0.6 is below 1.5";
  EXPECT_EQ(sampler.sample(logits, twice, frequency, prompt), 0);
  EXPECT_EQ(sampler.sample(logits, twice, frequency, none), 1) << "2.0 - 2 * 0.3 is below 1.5";
  EXPECT_EQ(sampler.sample(logits, std::vector<int32_t>{0}, frequency, none), 0) << "2.0 - 0.3 is not";
  std::vector<int32_t> many(20, 0);
  EXPECT_EQ(sampler.sample(logits, many, presence, none), 1) << "presence counts once";
  EXPECT_EQ(sampler.sample(logits, std::vector<int32_t>{9999, -4}, presence, none), 0);
  // Nothing is left behind for the next request.
  EXPECT_EQ(sampler.sample(logits, {}, presence, none), 0);
}

TEST(Sampler, LogitBias) {
  Sampler sampler;
  std::vector<float> logits = {2.0f, 1.5f, 1.0f};
  EXPECT_EQ(sampler.sample(logits, {}, {.logitBias = {{2, 1.1}}}), 2);
  EXPECT_EQ(sampler.sample(logits, {}, {.logitBias = {{0, -INFINITY}}}), 1);
  EXPECT_EQ(sampler.sample(logits, {}, {.logitBias = {{0, -0.4}, {700, 50}, {-1, 50}}}), 0)
      << "unknown ids are ignored";
  SamplerOptions options{.temperature = 1, .logitBias = {{0, -INFINITY}}};
  for (auto [id, chance] : sampler.distribution(logits, {}, options))
    EXPECT_NE(id, 0) << chance;
}

// More candidates than are ranked at first, in typical sampling too.
TEST(Sampler, TypicalOverALargeVocabulary) {
  std::vector<float> logits = drawLogits(3, 5000, 1.0f);
  Sampler sampler;
  SamplerOptions options{.temperature = 1, .typicalP = 0.7};
  auto left = sampler.distribution(logits, {}, options);
  std::vector<double> chances = softmax(logits, 1);
  double entropy = 0, sum = 0;
  for (double p : chances)
    entropy -= p * std::log(p);
  std::vector<std::pair<double, double>> order; // distance from the entropy, probability
  for (double p : chances)
    order.push_back({std::abs(-std::log(p) - entropy), p});
  std::sort(order.begin(), order.end());
  size_t expected = 0;
  while (sum < 0.7)
    sum += order[expected++].second;
  EXPECT_EQ(left.size(), expected);
  EXPECT_GT(expected, 256u * 9);
}

TEST(Sampler, IsAFunctionOfSeedRequestAndPosition) {
  std::vector<float> logits = drawLogits(5, 300, 1);
  auto draws = [&](uint64_t seed, uint64_t request) {
    Sampler sampler;
    std::vector<int32_t> ids;
    for (size_t position = 1; position < 40; ++position)
      ids.push_back(sampler.sample(logits, std::vector<int32_t>(position),
                                   {.temperature = 1.5, .topP = 0.95, .seed = seed, .request = request}));
    return ids;
  };
  EXPECT_EQ(draws(1, 0), draws(1, 0));
  EXPECT_NE(draws(1, 0), draws(2, 0));
  EXPECT_NE(draws(1, 0), draws(1, 1));
}

TEST(Sampler, Logprobs) {
  std::vector<float> logits = {1, 4, 2, 4};
  auto list = logprobs(logits, 2, 3);
  double normaliser = std::log(std::exp(1.0) + 2 * std::exp(4.0) + std::exp(2.0));
  ASSERT_EQ(list.size(), 4u);
  EXPECT_EQ(list[0].id, 2);
  EXPECT_NEAR(list[0].logprob, 2 - normaliser, 1e-12);
  EXPECT_EQ(list[1].id, 1);
  EXPECT_EQ(list[2].id, 3);
  EXPECT_EQ(list[3].id, 2);
  EXPECT_NEAR(list[1].logprob, 4 - normaliser, 1e-12);
  EXPECT_EQ(logprobs(logits, 0, 100).size(), 5u);
}

} // namespace
} // namespace lathe
