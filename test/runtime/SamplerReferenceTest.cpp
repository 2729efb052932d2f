// The sampler against llama.cpp's samplers: test/data/sampler/make.py says how the expected numbers were made.
#include "runtime/Sampler.h"
#include "runtime/support/Json.h"
#include "runtime/support/MappedFile.h"

#include <cmath>
#include <gtest/gtest.h>

namespace lathe {
namespace {

Json readExpected() {
  auto file = MappedFile::open(SAMPLER_DATA "/expected.json");
  if (!file)
    return {};
  auto parsed = parseJson((*file)->text(), "expected.json");
  return parsed ? *parsed : Json();
}

SamplerOptions optionsOf(const Json &json) {
  SamplerOptions options;
  options.temperature = json.value("temperature", 0.0);
  options.topK = json.value("topK", 0);
  options.topP = json.value("topP", 1.0);
  options.minP = json.value("minP", 0.0);
  options.typicalP = json.value("typicalP", 1.0);
  options.repetitionPenalty = json.value("repetitionPenalty", 1.0);
  options.presencePenalty = json.value("presencePenalty", 0.0);
  options.frequencyPenalty = json.value("frequencyPenalty", 0.0);
  options.mirostat = json.contains("mirostatTau") ? 2 : 0;
  options.mirostatTau = json.value("mirostatTau", 0.0);
  options.mirostatEta = json.value("mirostatEta", 0.0);
  if (json.contains("logitBias"))
    for (const auto &[id, bias] : json["logitBias"].items())
      options.logitBias.push_back({std::stoi(id), bias.get<double>()});
  return options;
}

using Chances = std::vector<std::pair<int32_t, double>>;

/// llama.cpp computes in float32, so that equally likely tokens may stand in another order.
void expectSame(const Chances &actual, const Json &expected, const std::string &what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  std::map<int32_t, double> chances(actual.begin(), actual.end());
  for (const Json &entry : expected) {
    int32_t id = entry[0];
    ASSERT_TRUE(chances.contains(id)) << what << ": token " << id;
    EXPECT_NEAR(chances[id], entry[1].get<double>(), 2e-6) << what << ": token " << id;
  }
}

TEST(SamplerReference, LeavesWhatLlamaCppLeaves) {
  Json expected = readExpected();
  ASSERT_GE(expected["cases"].size(), 30u);
  Sampler sampler;
  for (const Json &one : expected["cases"]) {
    auto logits = one["logits"].get<std::vector<float>>();
    auto history = one["history"].get<std::vector<int32_t>>();
    expectSame(sampler.distribution(logits, history, optionsOf(one["options"])), one["left"], one["options"].dump());
  }
}

TEST(SamplerReference, MirostatFollowsLlamaCpp) {
  Json expected = readExpected();
  ASSERT_GE(expected["mirostat"].size(), 3u);
  Sampler sampler;
  for (const Json &one : expected["mirostat"]) {
    SamplerOptions options = optionsOf(one["options"]);
    SamplerState state;
    size_t cut = 0;
    for (const Json &step : one["steps"]) {
      auto logits = step["logits"].get<std::vector<float>>();
      Chances left = sampler.distribution(logits, {}, options, state);
      expectSame(left, step["left"], one["options"].dump());
      cut += left.size() < logits.size();
      // The bound moves by what llama.cpp drew.
      auto drawn = std::find_if(left.begin(), left.end(), [&](auto &entry) { return entry.first == step["drawn"]; });
      ASSERT_NE(drawn, left.end());
      state.mu = state.mu.value_or(2 * options.mirostatTau) -
                 options.mirostatEta * (-std::log2(drawn->second) - options.mirostatTau);
    }
    EXPECT_GT(cut, 0u) << "no step cut anything";
  }
}

// What `sample` does to the state is what the formula says of the token that it drew.
TEST(SamplerReference, SamplingMovesTheBound) {
  Json step = readExpected()["mirostat"][0]["steps"][0];
  auto logits = step["logits"].get<std::vector<float>>();
  SamplerOptions options{.temperature = 1, .mirostat = 2, .mirostatTau = 3, .mirostatEta = 0.5, .seed = 4};
  Sampler sampler;
  SamplerState state;
  std::vector<int32_t> history;
  double mu = 6;
  for (int i = 0; i < 50; ++i) {
    SamplerState before = state;
    Chances left = sampler.distribution(logits, history, options, before);
    int32_t id = sampler.sample(logits, history, options, state);
    double chance = 0;
    for (auto [other, p] : left)
      chance = other == id ? p : chance;
    ASSERT_GT(chance, 0) << "a token was drawn that is not among those left";
    mu -= 0.5 * (-std::log2(chance) - 3);
    EXPECT_NEAR(*state.mu, mu, 1e-9);
    history.push_back(id);
  }
}

} // namespace
} // namespace lathe
