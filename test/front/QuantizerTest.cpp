// 4-bit codes from floats: errors against rounding to nearest, shapes, extremes; importances; halves.
#include "compiler/Quantizer.h"
#include "compiler/Half.h"
#include "test/MapWeights.h"
#include "test/front/Fixtures.h"

#include <algorithm>
#include <cmath>
#include <random>

using namespace lathe;
using namespace lathe::test;

namespace {

struct Quantized {
  std::vector<uint8_t> codes;
  std::vector<uint16_t> scales, minima;
  std::vector<float> values;
};

Result<Quantized> quantize(const std::vector<float> &rows, int64_t k, const BlockFormat &format,
                           const std::vector<float> &importance = {}) {
  int64_t count = static_cast<int64_t>(rows.size()) / k, groups = (k + format.group - 1) / format.group;
  Quantized result;
  result.codes.assign(rows.size(), 255);
  result.scales.assign(count * groups, 0x7e00);
  result.minima.assign(format.minimum ? count * groups : 0, 0x7e00);
  auto done = quantizeRows("w", 0, rows, k, format, importance, {result.codes, result.scales, result.minima, {}, {}});
  if (!done)
    return propagate(done);
  for (int64_t i = 0; i < static_cast<int64_t>(rows.size()); ++i) {
    int64_t g = i / k * groups + i % k / format.group;
    float value = halfToFloat(result.scales[g]) * static_cast<float>(result.codes[i] - format.bias);
    result.values.push_back(format.minimum ? value + halfToFloat(result.minima[g]) : value);
  }
  return result;
}

/// Rounding to nearest with a given range, stored in f16, as the simple quantisers of ggml do it.
std::vector<float> roundToNearest(const std::vector<float> &rows, int64_t k, const BlockFormat &format) {
  std::vector<float> result;
  for (size_t row = 0; row < rows.size(); row += k)
    for (int64_t first = 0; first < k; first += format.group) {
      auto from = rows.begin() + row + first, to = from + std::min(format.group, k - first);
      auto [least, greatest] = std::minmax_element(from, to);
      float size = std::max(-*least, *greatest);
      float minimum = format.minimum ? halfToFloat(floatToHalf(*least)) : 0;
      float scale = halfToFloat(floatToHalf(format.minimum ? (*greatest - *least) / 15 : size / 7));
      for (; from != to; ++from) {
        float low = static_cast<float>(-format.bias);
        float code = scale == 0 ? 0 : std::clamp(std::nearbyint((*from - minimum) / scale), low, low + 15);
        result.push_back(scale * code + minimum);
      }
    }
  return result;
}

double squaredError(const std::vector<float> &rows, const std::vector<float> &values, int64_t k,
                    const std::vector<float> &importance = {}) {
  double sum = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    double error = double(rows[i]) - values[i];
    sum += error * error * (importance.empty() ? 1.0 : importance[i % k]);
  }
  return sum;
}

std::vector<float> drawn(size_t count, bool heavyTailed, uint32_t seed = 1) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0, 0.05f);
  std::student_t_distribution<float> student(3);
  std::vector<float> values(count);
  for (float &value : values)
    value = heavyTailed ? 0.05f * student(generator) : normal(generator);
  return values;
}

} // namespace

TEST(Half, EveryHalfComesBack) {
  for (uint32_t bits = 0; bits < 1 << 16; ++bits)
    if ((bits & 0x7fff) <= 0x7c00) {
      ASSERT_EQ(floatToHalf(halfToFloat(static_cast<uint16_t>(bits))), bits);
    }
}

TEST(Half, RoundsToNearestTiesToEven) {
  for (uint16_t bits = 0; bits < 0x7bff; ++bits) {
    float low = halfToFloat(bits), high = halfToFloat(bits + 1), middle = (low + high) / 2;
    uint16_t even = bits & 1 ? bits + 1 : bits;
    ASSERT_EQ(floatToHalf(middle), even) << bits;
    ASSERT_EQ(floatToHalf(std::nextafter(middle, 0.0f)), bits) << bits;
    ASSERT_EQ(floatToHalf(-std::nextafter(middle, 1e9f)), (bits + 1) | 0x8000) << bits;
  }
  EXPECT_EQ(floatToHalf(65519.996f), 0x7bff);
  EXPECT_EQ(floatToHalf(65520.0f), 0x7c00);
  EXPECT_EQ(floatToHalf(-INFINITY), 0xfc00);
  EXPECT_EQ(floatToHalf(NAN) & 0x7fff, 0x7c00);
  EXPECT_EQ(floatToHalf(1e-45f), 0);
}

// Not one group is worse than rounded to nearest, and all together are clearly better.
TEST(Quantizer, BeatsRoundingToNearest) {
  for (bool heavyTailed : {false, true})
    for (bool minimum : {true, false})
      for (int64_t group : {32, 64, 128}) {
        const int64_t k = 4 * group;
        BlockFormat format = int4Format(group, minimum);
        std::vector<float> rows = drawn(67 * k, heavyTailed), importance = drawn(k, true, 2);
        for (float &value : importance)
          value = value * value + 0.01f;
        double before = 0, after = 0;
        for (size_t first = 0; first < rows.size(); first += k) {
          std::vector<float> row(rows.begin() + first, rows.begin() + first + k);
          for (const std::vector<float> &weights : {std::vector<float>{}, importance}) {
            auto mine = quantize(row, k, format, weights);
            ASSERT_OK(mine);
            for (int64_t g = 0; g < k; g += group) {
              auto slice = [&](const std::vector<float> &from) {
                return std::vector<float>(from.begin() + g, from.begin() + g + group);
              };
              std::vector<float> some = weights.empty() ? weights : slice(weights);
              double theirs = squaredError(slice(row), slice(roundToNearest(row, k, format)), group, some),
                     error = squaredError(slice(row), slice(mine->values), group, some);
              ASSERT_LE(error, theirs * (1 + 1e-4));
              before += theirs;
              after += error;
            }
          }
        }
        EXPECT_LT(after, before * (heavyTailed ? 0.85 : 0.9)) << heavyTailed << minimum << group;
      }
}

TEST(Quantizer, RowsDoNotDependOnTheirNeighbours) {
  const int64_t k = 200;
  BlockFormat format = int4Format(64, true);
  std::vector<float> rows = drawn(9 * k, true);
  auto together = quantize(rows, k, format);
  ASSERT_OK(together);
  for (int64_t r = 0; r < 9; ++r) {
    auto alone = quantize({rows.begin() + r * k, rows.begin() + (r + 1) * k}, k, format);
    ASSERT_OK(alone);
    EXPECT_TRUE(std::equal(alone->codes.begin(), alone->codes.end(), together->codes.begin() + r * k)) << r;
    EXPECT_TRUE(std::equal(alone->scales.begin(), alone->scales.end(), together->scales.begin() + r * 4)) << r;
    EXPECT_TRUE(std::equal(alone->minima.begin(), alone->minima.end(), together->minima.begin() + r * 4)) << r;
  }
}

// These bits are part of the contract: another machine, compiler or version must give the same.
TEST(Quantizer, BitsAreFixed) {
  ModelConfig config;
  config.vocabSize = 11;
  config.hiddenSize = 300;
  auto source = randomWeights(config, 3);
  std::vector<float> rows(11 * 300);
  ASSERT_TRUE(source->read("model.embed_tokens.weight", 0, 11, rows).has_value());
  std::vector<float> importance(300);
  for (size_t i = 0; i < importance.size(); ++i)
    importance[i] = static_cast<float>(i * 7 % 50);
  std::string found;
  for (bool minimum : {true, false}) {
    auto result = quantize(rows, 300, int4Format(64, minimum), importance);
    ASSERT_OK(result);
    uint32_t hash = 2166136261u; // FNV-1a
    auto add = [&](uint32_t value) { hash = (hash ^ value) * 16777619u; };
    for (uint8_t code : result->codes)
      add(code);
    for (const auto *bits : {&result->scales, &result->minima})
      for (uint16_t half : *bits)
        add(half);
    found += fmt::format("{:08x} ", hash);
  }
  EXPECT_EQ(found, "b817cb88 eaf94d37 ");
}

// What 4 bits can hold exactly stays exact.
TEST(Quantizer, GridsAreKept) {
  std::vector<float> rows(128);
  for (bool minimum : {true, false}) {
    for (size_t i = 0; i < rows.size(); ++i)
      rows[i] = 0.125f * static_cast<float>(static_cast<int>(i * 7 % 16) - 8);
    auto kept = quantize(rows, 128, int4Format(64, minimum));
    ASSERT_OK(kept);
    EXPECT_EQ(kept->values, rows) << minimum;
    EXPECT_EQ(*std::max_element(kept->codes.begin(), kept->codes.end()), 15);
  }
}

TEST(Quantizer, TailsAreAShortGroup) {
  for (int64_t k : {1, 5, 63, 65, 127, 130}) {
    std::vector<float> rows = drawn(3 * k, false);
    for (bool minimum : {true, false}) {
      auto result = quantize(rows, k, int4Format(64, minimum));
      ASSERT_OK(result);
      std::vector<float> plain = roundToNearest(rows, k, int4Format(64, minimum));
      EXPECT_LE(squaredError(rows, result->values, k), squaredError(rows, plain, k) * (1 + 1e-4)) << k;
      EXPECT_LE(*std::max_element(result->codes.begin(), result->codes.end()), 15) << k;
    }
  }
}

TEST(Quantizer, ExtremeGroups) {
  for (bool minimum : {true, false}) {
    BlockFormat format = int4Format(32, minimum);
    auto zeros = quantize(std::vector<float>(32, -0.0f), 32, format);
    ASSERT_OK(zeros);
    EXPECT_EQ(zeros->scales[0] & 0x7fff, 0);
    EXPECT_EQ(squaredError(zeros->values, std::vector<float>(32), 32), 0);
    auto denormal = quantize(std::vector<float>(32, 1e-42f), 32, format);
    ASSERT_OK(denormal);
    EXPECT_EQ(squaredError(denormal->values, std::vector<float>(32), 32), 0) << "below half the least f16";
    for (float size : {0.3f, -0.3f, 6e-8f, 3e-5f, 65504.0f, -65504.0f}) {
      auto constant = quantize(std::vector<float>(32, size), 32, format);
      ASSERT_OK(constant);
      // 7 and 8 steps do not divide every f16.
      EXPECT_NEAR(constant->values[0], size, std::fabs(size) * (std::fabs(size) < 1e-4f ? 1.0 : 1e-3)) << size;
      std::vector<float> rows(32, 0.0f);
      rows[17] = size; // one outlier
      auto outlier = quantize(rows, 32, format);
      ASSERT_OK(outlier);
      EXPECT_NEAR(outlier->values[17], size, std::fabs(size) * (std::fabs(size) < 1e-4f ? 1.0 : 1e-3)) << size;
      EXPECT_LE(std::fabs(outlier->values[16]), std::fabs(size) * 1e-3) << size;
    }
    std::vector<float> both(32, 65504.0f);
    both[0] = -65504.0f;
    auto wide = quantize(both, 32, format);
    ASSERT_OK(wide);
    EXPECT_NEAR(wide->values[0], -65504, 100);
    EXPECT_NEAR(wide->values[1], 65504, 5000);
  }
}

TEST(Quantizer, ImportanceDecides) {
  // Two values off the grid of the others: the important one is met.
  std::vector<float> rows = drawn(64, false), importance(64, 0.0f);
  rows[3] = 0.9f, rows[40] = -1.1f;
  auto errorAt = [&](size_t at) {
    std::vector<float> some = importance;
    some[at] = 1;
    auto result = quantize(rows, 64, int4Format(64, true), some);
    EXPECT_TRUE(result.has_value());
    return result ? std::fabs(result->values[at] - rows[at]) : 1;
  };
  for (size_t at : {3, 40, 20})
    EXPECT_LT(errorAt(at), 0.002) << at;
  auto none = quantize(rows, 64, int4Format(64, true)), zero = quantize(rows, 64, int4Format(64, true), importance);
  ASSERT_OK(zero);
  EXPECT_EQ(none->values, zero->values) << "importances of zero alone say nothing";
}

TEST(Quantizer, ErrorsNameTensorAndRow) {
  std::vector<float> rows(128, 1.0f);
  auto damaged = [&](float value, std::vector<float> importance = {}) {
    rows[100] = value;
    return messageOf(quantize(rows, 64, int4Format(64, true), importance));
  };
  EXPECT_EQ(damaged(NAN), "tensor \"w\": row 1: a value is not finite: the weights are damaged");
  EXPECT_EQ(damaged(-INFINITY), "tensor \"w\": row 1: a value is not finite: the weights are damaged");
  EXPECT_EQ(damaged(7e4f),
            "tensor \"w\": row 1: expected values of at most 65504 (f16's greatest), found one of 70000");
  std::vector<float> importance(64, 1.0f);
  importance[5] = -1;
  EXPECT_EQ(damaged(1, importance), "tensor \"w\": expected importances that are finite and not negative, found -1");
  importance[5] = NAN;
  EXPECT_EQ(damaged(1, importance), "tensor \"w\": expected importances that are finite and not negative, found nan");
  std::vector<uint8_t> codes(128);
  std::vector<uint16_t> scales(2), minima(2);
  for (const BlockRows &out :
       {BlockRows{std::span(codes).first(64), scales, minima, {}, {}},
        BlockRows{codes, std::span(scales).first(1), minima, {}, {}}, BlockRows{codes, scales, {}, {}, {}}})
    EXPECT_FALSE(quantizeRows("w", 0, rows, 64, int4Format(64, true), {}, out).has_value());
  BlockRows out{codes, scales, minima, {}, {}};
  EXPECT_TRUE(quantizeRows("w", 0, rows, 64, int4Format(64, true), {}, out).has_value());
  EXPECT_FALSE(quantizeRows("w", 0, rows, 0, int4Format(64, true), {}, out).has_value());
  EXPECT_FALSE(quantizeRows("w", 0, rows, 60, int4Format(64, true), {}, out).has_value());
  EXPECT_FALSE(quantizeRows("w", 0, rows, 64, int4Format(512, true), {}, out).has_value());
  EXPECT_FALSE(quantizeRows("w", 0, rows, 64, *blockFormat("Q8_0"), {}, out).has_value());
}

TEST(Quantizer, ImportanceOfInputsComesFromTheWeightsBefore) {
  ModelConfig config;
  config.headDim = 1;
  config.numAttentionHeads = 4;
  config.numKeyValueHeads = 2;
  MapWeights source;
  const std::string layer = "model.layers.7.";
  source.add(layer + "input_layernorm.weight", {2}, {2, -3});
  source.add(layer + "input_layernorm.bias", {2}, {1, 0});
  source.add(layer + "self_attn.v_proj.weight", {2, 2}, {1, 2, 0, 1});
  source.add(layer + "post_attention_layernorm.weight", {2}, {1, 2});
  source.add(layer + "mlp.gate_proj.weight", {3, 2}, {1, 0, 0, 1, 1, 1});
  source.add(layer + "mlp.up_proj.weight", {3, 2}, {1, 0, 1, 0, 1, -1});
  source.add("model.norm.weight", {2}, {0.5f, 0});
  auto of = [&](const std::string &name) {
    auto result = inputImportance(config, source, name);
    EXPECT_TRUE(result.has_value()) << result.error().message;
    return result.value_or(std::vector<float>{-1});
  };
  for (const char *linear : {"q_proj", "k_proj", "v_proj"})
    EXPECT_EQ(of(layer + "self_attn." + linear + ".weight"), (std::vector<float>{5, 9})) << linear;
  EXPECT_EQ(of(layer + "self_attn.o_proj.weight"), (std::vector<float>{41, 41, 9, 9})) << "heads share their values";
  EXPECT_EQ(of(layer + "mlp.up_proj.weight"), (std::vector<float>{1, 4}));
  // 1 * 1 + 2 * 1, 4 * 1 + 0, 5 * 5 + 2 * (1 - 4)^2
  EXPECT_EQ(of(layer + "mlp.down_proj.weight"), (std::vector<float>{3, 4, 43}));
  EXPECT_EQ(of("lm_head.weight"), (std::vector<float>{0.25f, 0}));
  EXPECT_EQ(of("model.layers.7.mlp.other.weight"), std::vector<float>{});
  EXPECT_EQ(of("other"), std::vector<float>{});

  EXPECT_EQ(messageOf(inputImportance(config, source, "model.layers.8.mlp.up_proj.weight")),
            "weights: there is no tensor 'model.layers.8.post_attention_layernorm.weight'");
  config.numKeyValueHeads = 4;
  EXPECT_EQ(messageOf(inputImportance(config, source, layer + "self_attn.o_proj.weight")),
            "weights: tensor 'model.layers.7.self_attn.v_proj.weight': expected 4 rows, found 2");
  source.add(layer + "mlp.up_proj.weight", {2, 2}, {1, 0, 1, 0});
  EXPECT_EQ(messageOf(inputImportance(config, source, layer + "mlp.down_proj.weight")),
            "weights: tensors 'model.layers.7.mlp.gate_proj.weight' and 'model.layers.7.mlp.up_proj.weight': expected "
            "two matrices of width 2");
}
