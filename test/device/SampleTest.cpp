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

constexpr int kStride = 5003, kRows = 12, kWords = 10, kKinds = 6;

/// Numbers around 0; few different ones; all the same; very far apart; some banned; zeros of both signs.
std::vector<float> makeLogits(std::mt19937_64 &random, int kind, int count) {
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(static_cast<size_t>(count));
  for (float &logit : logits) {
    const float x = normal(random);
    const float kinds[kKinds] = {
        x, std::round(x), 1.5f, x * 1e37f, x < 0 ? -std::numeric_limits<float>::infinity() : x, x < 0 ? -0.0f : 0.0f};
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

/// Draws for rows of some kinds and sizes, on the device's kernel and by Sampler, which must agree.
void compare(std::mt19937_64 &random, std::initializer_list<int> sizes, unsigned long long order, bool check) {
  Buffer<float> logits(static_cast<size_t>(kStride) * kRows);
  Buffer<int> draws(kRows * kWords), tokens(kRows);
  std::vector<int32_t> expected;
  Sampler sampler;
  for (int row = 0; row < kRows; ++row) {
    const int count = pick(random, sizes);
    const std::vector<float> made = makeLogits(random, row % kKinds, count);
    std::copy(made.begin(), made.end(), logits.data() + row * kStride);
    const SamplerOptions options = makeOptions(random);
    const std::vector<int32_t> history(random() % 50);
    expected.push_back(sampler.sample(made, history, options));
    const Draw draw = lathe::drawOf(options, history.size());
    const Chance words[] = {draw.top_p, draw.least, draw.number};
    int *to = draws.data() + row * kWords;
    to[0] = count, to[1] = draw.top_k, to[2] = std::bit_cast<int>(draw.temperature), to[3] = 0;
    std::memcpy(to + 4, words, sizeof words);
  }
  EXPECT_EQ(
      Launch("sample", 1, kRows).rows(kRows).buffer(logits).buffer(draws).buffer(tokens).seed(order).check(check).run(),
      "");
  for (int row = 0; row < kRows; ++row)
    EXPECT_EQ(tokens[static_cast<size_t>(row)], expected[static_cast<size_t>(row)])
        << "row " << row << " of " << draws[static_cast<size_t>(row * kWords)] << " logits of kind " << row % kKinds;
}

} // namespace

TEST(Sample, DrawsWhatTheHostDraws) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 12; ++round)
    compare(random, {1, 2, 31, 33, 256, 257, 1000, 2049, kStride}, 0, false);
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
    Buffer<int> draws(kWords), tokens(1);
    const Chance words[] = {0, 0, number};
    draws[0] = kStride, draws[1] = topK, draws[2] = std::bit_cast<int>(1.0f), draws[3] = 0;
    std::memcpy(draws.data() + 4, words, sizeof words);
    EXPECT_EQ(Launch("sample", 1, 1).rows(1).buffer(logits).buffer(draws).buffer(tokens).run(), "");
    EXPECT_EQ(tokens[0], token) << topK;
  }
}
