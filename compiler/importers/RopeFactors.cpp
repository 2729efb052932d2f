#include "compiler/importers/RopeFactors.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace lathe {

/// Divisors of the frequencies as llama3 scaling makes them (modeling_rope_utils.py, _compute_llama3_parameters).
static std::vector<double> llama3Factors(const RopeConfig &rope, int64_t pairs) {
  std::vector<double> factors;
  for (int64_t i = 0; i < pairs; ++i) {
    double turns = static_cast<double>(rope.originalMaxPositionEmbeddings) *
                   std::pow(rope.theta, -static_cast<double>(i) / static_cast<double>(pairs)) / (2 * std::numbers::pi);
    double smooth = std::clamp((turns - rope.lowFreqFactor) / (rope.highFreqFactor - rope.lowFreqFactor), 0.0, 1.0);
    factors.push_back(1 / ((1 - smooth) / rope.factor + smooth));
  }
  return factors;
}

std::optional<RopeConfig> fitLlama3(RopeConfig rope, const std::vector<float> &factors,
                                    std::span<const int64_t> lengths) {
  int64_t pairs = static_cast<int64_t>(factors.size());
  auto reproduces = [&](const RopeConfig &candidate) {
    std::vector<double> made = llama3Factors(candidate, pairs);
    for (size_t i = 0; i < factors.size(); ++i)
      if (!(std::abs(made[i] - factors[i]) <= 1e-6 * factors[i]))
        return false;
    return true;
  };
  rope.type = "llama3";
  rope.factor = *std::max_element(factors.begin(), factors.end());
  rope.lowFreqFactor = 1;
  rope.highFreqFactor = 4;
  if (!(rope.factor > 1) || !std::isfinite(rope.factor))
    return std::nullopt;
  for (int64_t length : lengths) {
    rope.originalMaxPositionEmbeddings = length;
    if (length > 0 && reproduces(rope))
      return rope;
  }
  // Between the two wavelengths, smooth = (length x frequency / 2 pi - low) / (high - low): a line in the frequency.
  double sumX = 0, sumY = 0, sumXX = 0, sumXY = 0, points = 0;
  for (int64_t i = 0; i < pairs; ++i) {
    double smooth = (1 / static_cast<double>(factors[i]) - 1 / rope.factor) / (1 - 1 / rope.factor);
    if (!(smooth > 1e-6 && smooth < 1 - 1e-6))
      continue;
    double x = std::pow(rope.theta, -static_cast<double>(i) / static_cast<double>(pairs)) / (2 * std::numbers::pi);
    points += 1, sumX += x, sumY += smooth, sumXX += x * x, sumXY += x * smooth;
  }
  double span = 3, length = 0;
  if (points == 1) {
    length = (sumY * span + 1) / sumX;
  } else if (points > 1) {
    double slope = (points * sumXY - sumX * sumY) / (points * sumXX - sumX * sumX),
           start = (sumY - slope * sumX) / points;
    span = -1 / start;
    length = slope * span;
    rope.highFreqFactor = std::round((span + 1) * 1e4) / 1e4;
  }
  if (!(length >= 0.5 && length < 1e9))
    return std::nullopt;
  rope.originalMaxPositionEmbeddings = std::llround(length);
  return reproduces(rope) ? std::optional(rope) : std::nullopt;
}

} // namespace lathe
