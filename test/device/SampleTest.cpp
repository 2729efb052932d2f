// Tokens that a block of threads draws, against those that the host's sampler draws: the same, whatever the logits.
#include "runtime/Sampler.h"
#include "test/device/Launching.h"

#include <cmath>
#include <limits>

using namespace lathe::device;
using namespace lathe::device::testing;
using lathe::Sampler;
using lathe::SamplerOptions;

namespace {

constexpr int kStride = 5004, kRows = 14, kKinds = 7;

/// Numbers around 0; few different ones; all the same; very far apart; some banned; zeros of both signs; some
/// that are no numbers, or all.
std::vector<float> makeLogits(std::mt19937_64 &random, int kind, int count) {
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(static_cast<size_t>(count));
  for (float &logit : logits) {
    const float x = normal(random);
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const float kinds[kKinds] = {x,
                                 std::round(x),
                                 1.5f,
                                 x * 1e37f,
                                 x < 0 ? -std::numeric_limits<float>::infinity() : x,
                                 x < 0 ? -0.0f : 0.0f,
                                 x < 1 || count == 31 ? std::copysign(nan, x) : x};
    logit = kinds[kind];
  }
  return logits;
}

template <class T> T pick(std::mt19937_64 &random, std::initializer_list<T> values) {
  return values.begin()[random() % values.size()];
}

SamplerOptions makeOptions(std::mt19937_64 &random) {
  return {.temperature = pick(random, {0.0, 1e-30, 0.3, 1.0, 1.0, 2.5}),
          .topK = pick<int64_t>(random, {0, 0, 1, 2, 20, 700, 100000}),
          .topP = pick(random, {1.0, 1.0, 0.999, 0.9, 0.5, 0.0}),
          .minP = pick(random, {0.0, 0.0, 0.05, 1.0}),
          .seed = random(),
          .request = random()};
}

/// The integers of a Draw as a step has them.
std::vector<int> wordsOf(const Draw &draw) {
  std::vector<int> words(kDrawInts);
  std::memcpy(words.data(), &draw, sizeof draw);
  return words;
}

/// Draws for rows of some kinds and sizes, on the device's kernel and by Sampler, which must agree.
void compare(std::mt19937_64 &random, std::initializer_list<int> sizes, unsigned long long order, bool check) {
  Buffer<float> logits(static_cast<size_t>(kStride) * kRows);
  Buffer<int> counts(kRows), tokens(kRows);
  std::vector<int> draws;
  std::vector<int32_t> expected;
  Sampler sampler;
  for (int row = 0; row < kRows; ++row) {
    const int count = pick(random, sizes);
    counts[static_cast<size_t>(row)] = count;
    const std::vector<float> made = makeLogits(random, row % kKinds, count);
    std::copy(made.begin(), made.end(), logits.data() + row * kStride);
    const SamplerOptions options = makeOptions(random);
    const std::vector<int32_t> history(random() % 50);
    expected.push_back(sampler.sample(made, history, options));
    const std::vector<int> words = wordsOf(lathe::drawOf(options, history.size()));
    draws.insert(draws.end(), words.begin(), words.end());
  }
  EXPECT_EQ(Launch("sample", 1, kRows)
                .rows(kRows)
                .array(kDraws, draws)
                .buffer(logits)
                .buffer(counts)
                .buffer(tokens)
                .seed(order)
                .check(check)
                .dependent()
                .run(),
            "");
  for (int row = 0; row < kRows; ++row)
    EXPECT_EQ(tokens[static_cast<size_t>(row)], expected[static_cast<size_t>(row)])
        << "row " << row << " of " << counts[static_cast<size_t>(row)] << " logits of kind " << row % kKinds;
}

} // namespace

TEST(Sample, DrawsWhatTheHostDraws) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 12; ++round)
    compare(random, {1, 2, 31, 33, 256, 257, 1000, 2049, 5003, kStride}, 0, false);
}

TEST(Sample, InAnyOrderOfThreadsAndWithoutARace) {
  std::mt19937_64 random(2);
  for (unsigned long long order = 1; order <= 3; ++order)
    compare(random, {1, 33, 511, 700}, order, true);
}

TEST(Sample, EqualLogitsAreTakenInOrderOfTheirIds) {
  Buffer<float> logits(kStride);
  std::fill_n(logits.data(), kStride, 0.25f);
  for (auto [topK, number, token] :
       {std::tuple(0, ~Chance(0), kStride - 1), {0, Chance(0), 0}, {7, ~Chance(0), 6}, {7, Chance(1) << 63, 3}}) {
    Buffer<int> counts(1), tokens(1);
    counts[0] = kStride;
    const Draw draw = {topK, 1.0f, 0, 0, number};
    EXPECT_EQ(
        Launch("sample", 1, 1).rows(1).array(kDraws, wordsOf(draw)).buffer(logits).buffer(counts).buffer(tokens).run(),
        "");
    EXPECT_EQ(tokens[0], token) << topK;
  }
}

TEST(Sample, RowsThatNobodyDrawsFromHaveNoToken) {
  Buffer<float> logits(kStride);
  Buffer<int> counts(1), tokens(1);
  counts[0] = kStride;
  std::vector<int> nothing(kDrawInts, 0);
  nothing[0] = -1;
  EXPECT_EQ(Launch("sample", 1, 1).rows(1).array(kDraws, nothing).buffer(logits).buffer(counts).buffer(tokens).run(),
            "");
  EXPECT_EQ(tokens[0], -1);
}
