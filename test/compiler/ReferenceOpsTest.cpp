//===- ReferenceOpsTest.cpp - each op against an independent formula ------===//
#include "ReferenceTesting.h"

#include "mlir/AsmParser/AsmParser.h"

#include <cmath>
#include <numbers>

using namespace lathe;
using Ops = ReferenceOps<double>;
using Tensor = ReferenceTensor<double>;

namespace {

ReferenceBatch rowsAt(std::vector<int64_t> positions) {
  ReferenceBatch batch;
  for (size_t i = 0; i < positions.size(); ++i)
    batch.sequences.push_back({.id = int64_t(i), .tokens = {0}, .start = positions[i]});
  return batch;
}

lm::RopeAttr ropeOf(Ir &ir, const std::string &text) {
  auto attr = mlir::parseAttribute("#lm.rope<" + text + ">", &ir.context);
  return llvm::dyn_cast_or_null<lm::RopeAttr>(attr);
}

TEST(ReferenceBf16, RoundsToNearestEvenAndUp) {
  EXPECT_EQ(roundToBf16(1.0f), 1.0f);
  EXPECT_EQ(roundToBf16(1.0f + 0x1p-8f), 1.0f);             // a tie goes to the even 1.0
  EXPECT_EQ(roundToBf16(1.0f + 0x1.8p-7f), 1.0f + 0x1p-6f); // and here up
  EXPECT_EQ(roundToBf16(1.0f + 0x1.02p-8f), 1.0f + 0x1p-7f);
  EXPECT_EQ(roundToBf16(-1.0f - 0x1.02p-8f), -1.0f - 0x1p-7f);
  EXPECT_EQ(ceilToBf16(1.0f), 1.0f);
  EXPECT_EQ(ceilToBf16(1.0f + 0x1p-23f), 1.0f + 0x1p-7f);
  EXPECT_EQ(ceilToBf16(-1.0f - 0x1p-23f), -1.0f);
  EXPECT_EQ(ceilToBf16(0x1.fffffep0f), 2.0f);
  EXPECT_TRUE(std::isnan(ceilToBf16(NAN)) && std::isnan(roundToBf16(NAN)));
}

TEST(ReferenceLinear, IsTheSumOfProductsPlusBias) {
  Tensor x = randomTensor({3, 21}, 1), w = randomTensor({5, 21}, 2), b = randomTensor({5}, 3);
  Tensor y = Ops::linear(x, w, &b), plain = Ops::linear(x, w, nullptr);
  ASSERT_EQ(y.shape, (std::vector<int64_t>{3, 5}));
  for (int64_t m = 0; m < 3; ++m)
    for (int64_t n = 0; n < 5; ++n) {
      double sum = 0;
      for (int64_t k = 0; k < 21; ++k)
        sum += x.values[m * 21 + k] * w.values[n * 21 + k];
      EXPECT_NEAR(plain.values[m * 5 + n], sum, 1e-12);
      EXPECT_NEAR(y.values[m * 5 + n], sum + b.values[n], 1e-12);
    }
}

TEST(ReferenceQuantize, CodesFollowTheText) {
  // absmax 254 gives scale 2: halves round to even, the short last group has its own scale, zeros stay zero.
  Tensor x = tensorOf({1, 10}, {254, 1, 3, -5, 0, 0, 0, 0, -127, 64});
  Tensor q = Ops::quantize(x, 4, false);
  EXPECT_EQ(q.scales, (std::vector<float>{2, 0, 1}));
  EXPECT_EQ(q.codes, (std::vector<int8_t>{127, 0, 2, -2, 0, 0, 0, 0, -127, 64}));
  // 1/127 = 0x1.020408p-7 lies between two bf16: the scale goes up, so the largest code stays within 127.
  Tensor up = Ops::quantize(tensorOf({1, 4}, {1, -1, 0.5, 0}), 4, true);
  EXPECT_EQ(up.scales, (std::vector<float>{0x1.04p-7f}));
  EXPECT_EQ(up.codes, (std::vector<int8_t>{126, -126, 63, 0}));
}

TEST(ReferenceQuantize, ErrorIsAtMostHalfAScale) {
  for (bool bf16 : {false, true}) {
    Tensor x = randomTensor({7, 100}, 4), q = Ops::quantize(x, 32, bf16);
    ASSERT_EQ(q.groups(), 4);
    for (int64_t r = 0; r < 7; ++r)
      for (int64_t c = 0; c < 100; ++c) {
        double scale = q.scales[r * 4 + c / 32];
        EXPECT_LE(std::abs(x.values[r * 100 + c] - q.at(r, c)), scale / 2 * (1 + 1e-6));
        EXPECT_LE(std::abs(x.values[r * 100 + c]), scale * 127 * (1 + 1e-6));
        EXPECT_TRUE(!bf16 || roundToBf16(float(scale)) == float(scale));
      }
  }
}

TEST(ReferenceQuantize, HostileNumbersGiveDefinedCodes) {
  Tensor q = Ops::quantize(tensorOf({1, 8}, {NAN, INFINITY, 1, -INFINITY, 1e-300, -1e-300, 0, 0}), 4, false);
  for (int8_t code : q.codes)
    EXPECT_GE(code, -127);
}

TEST(ReferenceLinear, QuantisedEqualsItsDequantisedOperands) {
  Tensor x = Ops::quantize(randomTensor({3, 100}, 5), 32, false),
         w = Ops::quantize(randomTensor({6, 100}, 6), 32, true);
  Tensor xf = Tensor::zeros(x.shape), wf = Tensor::zeros(w.shape);
  for (int64_t c = 0; c < 100; ++c) {
    for (int64_t r = 0; r < 3; ++r)
      xf.row(r)[c] = x.at(r, c);
    for (int64_t r = 0; r < 6; ++r)
      wf.row(r)[c] = w.at(r, c);
  }
  std::vector<double> want = Ops::linear(xf, wf, nullptr).values;
  EXPECT_LT(largestDifference(Ops::linear(x, w, nullptr).values, want), 1e-11);
  EXPECT_LT(largestDifference(Ops::linear(xf, w, nullptr).values, want), 1e-11);
}

// What the linear-merging passes rely on: split undoes stack through a linear, also with a short last block.
TEST(ReferenceStack, SplitUndoesItThroughALinear) {
  for (int64_t interleave : {0, 1, 4, 5, 16}) {
    for (bool quantised : {false, true}) {
      Tensor x = randomTensor({3, 16}, 7), a = randomTensor({10, 16}, 8), b = randomTensor({10, 16}, 9);
      if (quantised)
        x = Ops::quantize(x, 8, false), a = Ops::quantize(a, 8, true), b = Ops::quantize(b, 8, true);
      const Tensor *inputs[] = {&a, &b};
      int64_t widths[] = {10, 10};
      Tensor stacked = Ops::stack(inputs, interleave);
      ASSERT_EQ(stacked.shape, (std::vector<int64_t>{20, 16}));
      std::vector<Tensor> parts = Ops::split(Ops::linear(x, stacked, nullptr), widths, interleave);
      EXPECT_EQ(parts[0].values, Ops::linear(x, a, nullptr).values);
      EXPECT_EQ(parts[1].values, Ops::linear(x, b, nullptr).values);
    }
  }
}

TEST(ReferenceStack, InterleavesBlocksOfRows) {
  Tensor a = tensorOf({5}, {0, 1, 2, 3, 4}), b = tensorOf({5}, {10, 11, 12, 13, 14});
  const Tensor *inputs[] = {&a, &b};
  EXPECT_EQ(Ops::stack(inputs, 2).values, (std::vector<double>{0, 1, 10, 11, 2, 3, 12, 13, 4, 14}));
  EXPECT_EQ(Ops::stack(inputs, 0).values, (std::vector<double>{0, 1, 2, 3, 4, 10, 11, 12, 13, 14}));
  Tensor c = tensorOf({2}, {20, 21});
  const Tensor *unequal[] = {&a, &c};
  EXPECT_EQ(Ops::stack(unequal, 0).values, (std::vector<double>{0, 1, 2, 3, 4, 20, 21}));
}

TEST(ReferenceNorm, LayerHasMeanZeroAndVarianceOne) {
  Tensor x = randomTensor({4, 33}, 10), gain = tensorOf({33}, std::vector<double>(33, 1.0));
  Tensor y = Ops::norm(lm::NormKind::layer, x, gain, nullptr, 0, 33);
  for (int64_t r = 0; r < 4; ++r) {
    double mean = 0, square = 0;
    for (int64_t c = 0; c < 33; ++c)
      mean += y.row(r)[c] / 33, square += y.row(r)[c] * y.row(r)[c] / 33;
    EXPECT_NEAR(mean, 0, 1e-12);
    EXPECT_NEAR(square, 1, 1e-12);
  }
}

TEST(ReferenceNorm, GainBiasAndEpsilonWork) {
  Tensor x = tensorOf({1, 2}, {3, 4}), gain = tensorOf({2}, {10, 100}), bias = tensorOf({2}, {1, 2});
  // mean square 12.5, epsilon 3.5: the divisor is 4.
  Tensor rms = Ops::norm(lm::NormKind::rms, x, gain, nullptr, 3.5, 2);
  EXPECT_DOUBLE_EQ(rms.values[0], 3.0 / 4 * 10);
  EXPECT_DOUBLE_EQ(rms.values[1], 4.0 / 4 * 100);
  // mean 3.5, variance 0.25, epsilon 0.75: the divisor is 1.
  Tensor layer = Ops::norm(lm::NormKind::layer, x, gain, &bias, 0.75, 2);
  EXPECT_DOUBLE_EQ(layer.values[0], -0.5 * 10 + 1);
  EXPECT_DOUBLE_EQ(layer.values[1], 0.5 * 100 + 2);
}

TEST(ReferenceNorm, PerHeadEqualsEachHeadAlone) {
  Tensor x = randomTensor({2, 12}, 11), gain = randomTensor({4}, 12);
  Tensor whole = Ops::norm(lm::NormKind::rms, x, gain, nullptr, 1e-6, 4);
  for (int64_t head = 0; head < 3; ++head)
    for (int64_t r = 0; r < 2; ++r) {
      Tensor part = tensorOf({1, 4}, {x.row(r) + head * 4, x.row(r) + head * 4 + 4});
      Tensor alone = Ops::norm(lm::NormKind::rms, part, gain, nullptr, 1e-6, 4);
      for (int64_t c = 0; c < 4; ++c)
        EXPECT_EQ(alone.values[c], whole.row(r)[head * 4 + c]);
    }
}

// The point of rope: a score depends on the distance of two positions only.
TEST(ReferenceRope, ScoresDependOnDistanceOnly) {
  Ir ir;
  for (const char *text : {"layout = half, theta = 1.0e4, type = \"default\", params = {}",
                           "layout = interleaved, theta = 1.0e4, type = \"default\", params = {}",
                           "layout = half, theta = 1.0e4, type = \"linear\", params = {factor = 4.0}"}) {
    lm::RopeAttr rope = ropeOf(ir, text);
    ASSERT_TRUE(rope);
    Tensor q = randomTensor({1, 8}, 13), k = randomTensor({1, 8}, 14);
    auto score = [&](int64_t at, int64_t from) {
      Tensor a = *Ops::rope(q, rowsAt({at}), 8, rope), b = *Ops::rope(k, rowsAt({from}), 8, rope);
      return Ops::linear(a, b, nullptr).values[0];
    };
    EXPECT_NEAR(score(7, 4), score(1003, 1000), 1e-10);
    EXPECT_GT(std::abs(score(7, 4) - score(7, 5)), 1e-3);
    EXPECT_EQ(Ops::rope(q, rowsAt({0}), 8, rope)->values, q.values);
  }
}

TEST(ReferenceRope, RotatesThePairsOfItsLayout) {
  Ir ir;
  lm::RopeAttr half = ropeOf(ir, "layout = half, theta = 1.0e2, type = \"default\", params = {}");
  lm::RopeAttr interleaved = ropeOf(ir, "layout = interleaved, theta = 1.0e2, type = \"default\", params = {}");
  // Two heads of four columns: the first pair turns by 5 radians, the second by 5 / sqrt(100).
  Tensor x = tensorOf({1, 8}, {1, 2, 3, 4, 5, 6, 7, 8});
  double c0 = std::cos(5.0), s0 = std::sin(5.0), c1 = std::cos(0.5), s1 = std::sin(0.5);
  std::vector<double> wantHalf = {1 * c0 - 3 * s0, 2 * c1 - 4 * s1, 3 * c0 + 1 * s0, 4 * c1 + 2 * s1,
                                  5 * c0 - 7 * s0, 6 * c1 - 8 * s1, 7 * c0 + 5 * s0, 8 * c1 + 6 * s1};
  std::vector<double> wantInterleaved = {1 * c0 - 2 * s0, 2 * c0 + 1 * s0, 3 * c1 - 4 * s1, 4 * c1 + 3 * s1,
                                         5 * c0 - 6 * s0, 6 * c0 + 5 * s0, 7 * c1 - 8 * s1, 8 * c1 + 7 * s1};
  EXPECT_LT(largestDifference(Ops::rope(x, rowsAt({5}), 4, half)->values, wantHalf), 1e-12);
  EXPECT_LT(largestDifference(Ops::rope(x, rowsAt({5}), 4, interleaved)->values, wantInterleaved), 1e-12);
}

TEST(ReferenceRope, Llama3StretchesLongWavelengthsOnly) {
  Ir ir;
  lm::RopeAttr plain = ropeOf(ir, "layout = half, theta = 5.0e5, type = \"default\", params = {}");
  lm::RopeAttr scaled =
      ropeOf(ir, "layout = half, theta = 5.0e5, type = \"llama3\", params = {factor = 8.0, high_freq_factor = 4.0, "
                 "low_freq_factor = 1.0, original_max_position_embeddings = 8192.0}");
  auto before = lm::ropeFrequencies(plain, 64), after = lm::ropeFrequencies(scaled, 64);
  int kept = 0, stretched = 0, blended = 0;
  for (size_t j = 0; j < 32; ++j) {
    double turns = 8192 * before.inverse[j] / (2 * std::numbers::pi), ratio = before.inverse[j] / after.inverse[j];
    if (turns > 4) {
      ++kept;
      EXPECT_DOUBLE_EQ(ratio, 1);
    } else if (turns < 1) {
      ++stretched;
      EXPECT_DOUBLE_EQ(ratio, 8);
    } else {
      ++blended;
      EXPECT_NEAR(1 / ratio, (turns - 1) / 3 + (4 - turns) / 3 / 8, 1e-12);
    }
  }
  EXPECT_TRUE(kept > 0 && stretched > 0 && blended > 0);
}

TEST(ReferenceRope, YarnKeepsFastDimensionsStretchesSlowOnesAndScales) {
  Ir ir;
  lm::RopeAttr plain = ropeOf(ir, "layout = half, theta = 1.0e4, type = \"default\", params = {}");
  lm::RopeAttr scaled = ropeOf(ir, "layout = half, theta = 1.0e4, type = \"yarn\", params = {attention_factor = 1.25, "
                                   "beta_fast = 32.0, beta_slow = 1.0, "
                                   "factor = 4.0, original_max_position_embeddings = 4096.0, truncate = 1.0}");
  auto before = lm::ropeFrequencies(plain, 64), after = lm::ropeFrequencies(scaled, 64);
  EXPECT_EQ(after.attentionFactor, 1.25);
  // Dimension j turns 4096 f_j / 2π times in the original context: beta_fast 32 turns at 10.468, beta_slow 1 at 22.51.
  for (size_t j = 0; j < 32; ++j) {
    double stretch = std::clamp((double(j) - 10) / (23 - 10), 0.0, 1.0);
    EXPECT_NEAR(after.inverse[j] / before.inverse[j], 1 - stretch + stretch / 4, 1e-12) << j;
  }
  Tensor x = randomTensor({1, 64}, 15), y = *Ops::rope(x, rowsAt({0}), 64, scaled);
  for (int64_t c = 0; c < 64; ++c)
    EXPECT_DOUBLE_EQ(y.values[c], 1.25 * x.values[c]);
}

TEST(ReferenceAppend, RoundsToItsElementAndRefusesGaps) {
  Tensor k = tensorOf({1, 2}, {1.0 + 0x1p-20, 3.14159265358979}), v = tensorOf({1, 2}, {-2.718281828459045, 1e-3});
  ReferenceKv<double> f32{.heads = 1, .dim = 2}, bf16{.heads = 1, .dim = 2, .element = KvElement::bf16};
  auto held = Ops::append(k, v, f32, rowsAt({0}));
  ASSERT_TRUE(held);
  EXPECT_EQ(held->sequences[0].keys, (std::vector<double>{1.0 + 0x1p-20, 3.14159265358979f}));
  auto rounded = Ops::append(k, v, bf16, rowsAt({0}));
  ASSERT_TRUE(rounded);
  EXPECT_EQ(rounded->sequences[0].keys, (std::vector<double>{1.0, 3.140625}));
  EXPECT_EQ(rounded->sequences[0].values, (std::vector<double>{-2.71875, 0.00099945068359375}));

  // One scale a head: 2 / 127 and 1e-3 / 127. 3.5 steps of 2 / 127 are a tie and go to the even code.
  ReferenceKv<double> int8{.heads = 2, .dim = 2, .element = KvElement::int8};
  double scale = float(2.0 / 127), small = float(1e-3 / 127);
  auto coded = Ops::append(tensorOf({1, 4}, {2.0, 3.5 * scale, -1e-3, 0.0}), tensorOf({1, 4}, {0.0, 0.0, 1.01, -2.0}),
                           int8, rowsAt({0}));
  ASSERT_TRUE(coded);
  EXPECT_EQ(coded->sequences[0].keys, (std::vector<double>{127 * scale, 4 * scale, -127 * small, 0.0}));
  EXPECT_EQ(coded->sequences[0].values, (std::vector<double>{0.0, 0.0, 64 * scale, -127 * scale}));

  auto gap = Ops::append(k, v, f32, rowsAt({1}));
  ASSERT_FALSE(gap);
  EXPECT_EQ(gap.error().message, "sequence 0: expected a row at position 0 or before, found 1");
  auto again = Ops::append(v, k, *held, rowsAt({0}));
  ASSERT_TRUE(again);
  EXPECT_EQ(again->sequences[0].keys.size(), 2u);
  EXPECT_EQ(held->sequences[0].keys[1], double(3.14159265358979f)) << "a KV value never changes";
}

/// softmax(q kᵀ scale + mask) v with every step written out as matrices.
Tensor naiveAttention(const Tensor &q, const Tensor &k, const Tensor &v, int64_t heads, int64_t kvHeads, int64_t dim,
                      double scale, int64_t window) {
  int64_t rows = q.rows();
  Tensor out = Tensor::zeros(q.shape);
  for (int64_t h = 0; h < heads; ++h) {
    int64_t g = h * kvHeads / heads;
    for (int64_t r = 0; r < rows; ++r) {
      std::vector<double> p(rows, 0.0);
      double total = 0;
      for (int64_t s = 0; s < rows; ++s) {
        double score = 0;
        for (int64_t c = 0; c < dim; ++c)
          score += q.row(r)[h * dim + c] * k.row(s)[g * dim + c];
        bool seen = s <= r && (window == 0 || s > r - window);
        p[s] = seen ? std::exp(score * scale) : 0;
        total += p[s];
      }
      for (int64_t s = 0; s < rows; ++s)
        for (int64_t c = 0; c < dim; ++c)
          out.row(r)[h * dim + c] += p[s] / total * v.row(s)[g * dim + c];
    }
  }
  return out;
}

TEST(ReferenceAttention, EqualsTheMatrixFormula) {
  for (int64_t window : {0, 1, 3, 100}) {
    Tensor q = randomTensor({9, 6 * 4}, 16), k = randomTensor({9, 2 * 4}, 17), v = randomTensor({9, 2 * 4}, 18);
    ReferenceBatch batch = wholeSequence(std::vector<int64_t>(9, 0));
    auto kv = Ops::append(k, v, {.heads = 2, .dim = 4}, batch);
    ASSERT_TRUE(kv);
    auto out = Ops::attention(q, *kv, batch, 0.7, window);
    ASSERT_TRUE(out);
    EXPECT_LT(largestDifference(out->values, naiveAttention(q, k, v, 6, 2, 4, 0.7, window).values), 1e-12) << window;
  }
}

TEST(ReferenceAttention, SequencesDoNotSeeEachOther) {
  Tensor q = randomTensor({5, 4}, 19), k = randomTensor({5, 4}, 20), v = randomTensor({5, 4}, 21);
  ReferenceBatch both;
  both.sequences = {{.id = 7, .tokens = {0, 0, 0}}, {.id = 3, .tokens = {0, 0}}};
  auto kv = Ops::append(k, v, {.heads = 1, .dim = 4}, both);
  ASSERT_TRUE(kv);
  auto out = Ops::attention(q, *kv, both, 0.5, 0);
  ASSERT_TRUE(out);
  auto part = [](const Tensor &x, int64_t from, int64_t to) {
    return tensorOf({to - from, x.width()}, {x.row(from), x.row(0) + to * x.width()});
  };
  std::vector<double> expected = naiveAttention(part(q, 0, 3), part(k, 0, 3), part(v, 0, 3), 1, 1, 4, 0.5, 0).values;
  std::vector<double> second = naiveAttention(part(q, 3, 5), part(k, 3, 5), part(v, 3, 5), 1, 1, 4, 0.5, 0).values;
  expected.insert(expected.end(), second.begin(), second.end());
  EXPECT_LT(largestDifference(out->values, expected), 1e-6); // the cache is f32
  auto missing = Ops::attention(part(q, 0, 1), *kv, rowsAt({5}), 0.5, 0);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().message, "sequence 0: expected keys up to position 5, found 0");
}

TEST(ReferenceAttention, LargeScoresDoNotOverflow) {
  Tensor q = tensorOf({2, 2}, {1e3, 0, 0, 1e3}), k = tensorOf({2, 2}, {1e3, 0, 0, 1e3}),
         v = tensorOf({2, 2}, {1, 2, 3, 4});
  ReferenceBatch batch = wholeSequence({0, 0});
  auto out = Ops::attention(q, *Ops::append(k, v, {.heads = 1, .dim = 2}, batch), batch, 1, 0);
  ASSERT_TRUE(out);
  EXPECT_EQ(out->values, (std::vector<double>{1, 2, 3, 4}));
}

TEST(ReferenceActivation, KnownValues) {
  using Kind = lm::ActivationKind;
  EXPECT_DOUBLE_EQ(Ops::activation(Kind::silu, 0), 0);
  EXPECT_NEAR(Ops::activation(Kind::silu, 1), 0.7310585786300049, 1e-15);
  EXPECT_NEAR(Ops::activation(Kind::silu, -1000), 0, 1e-15);
  // Φ(1) = 0.8413447460685429
  EXPECT_NEAR(Ops::activation(Kind::gelu, 1), 0.8413447460685429, 1e-15);
  EXPECT_NEAR(Ops::activation(Kind::gelu, -1), -0.15865525393145707, 1e-15);
  // torch.nn.functional.gelu(x, approximate="tanh") at 1 and -0.5
  EXPECT_NEAR(Ops::activation(Kind::gelu_tanh, 1), 0.8411919906082768, 1e-12);
  EXPECT_NEAR(Ops::activation(Kind::gelu_tanh, -0.5), -0.15428599017516514, 1e-12);
  EXPECT_EQ(Ops::activation(Kind::relu, -2), 0);
  EXPECT_EQ(Ops::activation(Kind::relu, 2), 2);
}

TEST(ReferenceEmbed, ReadsRowsAlsoOfAQuantisedTableAndRefusesOthers) {
  Tensor table = randomTensor({4, 6}, 22), coded = Ops::quantize(table, 4, true);
  ReferenceBatch batch = wholeSequence({3, 0});
  auto plain = Ops::embed(table, batch), quantised = Ops::embed(coded, batch);
  ASSERT_TRUE(plain && quantised);
  for (int64_t c = 0; c < 6; ++c) {
    EXPECT_EQ(plain->row(0)[c], table.row(3)[c]);
    EXPECT_EQ(plain->row(1)[c], table.row(0)[c]);
    EXPECT_EQ(quantised->row(0)[c], double(coded.codes[18 + c]) * coded.scales[6 + c / 4]);
  }
  for (int64_t token : {-1, 4}) {
    auto outside = Ops::embed(table, wholeSequence({0, token}));
    ASSERT_FALSE(outside);
    EXPECT_EQ(outside.error().message, fmt::format("expected a token below 4, found {} in row 1", token));
  }
}

TEST(ReferenceSelectRows, TakesTheWantedRows) {
  Tensor x = tensorOf({3, 2}, {1, 2, 3, 4, 5, 6});
  ReferenceBatch batch = wholeSequence({0, 0, 0});
  batch.wanted = {2, 0, 2};
  EXPECT_EQ(Ops::selectRows(x, batch)->values, (std::vector<double>{5, 6, 1, 2, 5, 6}));
  batch.wanted = {3};
  auto outside = Ops::selectRows(x, batch);
  ASSERT_FALSE(outside);
  EXPECT_EQ(outside.error().message, "expected a wanted row below 3, found 3");
  auto rows = Ops::selectRows(x, wholeSequence({0}));
  ASSERT_FALSE(rows);
  EXPECT_EQ(rows.error().message, "expected one row for each of the batch's 1 tokens, found 3");
}

} // namespace
