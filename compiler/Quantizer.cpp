#include "compiler/Quantizer.h"

#include "compiler/ConfigDiagnostics.h"
#include "compiler/Half.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

namespace lathe {
namespace {

constexpr int kMaxGroup = 256;
constexpr int kRefinements = 2;
constexpr float kLeastImportance = 1e-3f;
constexpr float kGreatestHalf = 65504.0f;

// The same group of some rows, one a lane. Lanes never meet, so the bits do not depend on a machine's vectors.
constexpr int kLanes = 4;
using Floats [[gnu::vector_size(4 * kLanes)]] = float;
using Ints [[gnu::vector_size(4 * kLanes)]] = int32_t;

// Lambdas, which are always inlined: a function that takes such a vector has another ABI with AVX than without.

/// As f16 would store it (Half.h); what is beyond its range comes out above kGreatestHalf.
constexpr auto roundToHalf = [](Floats x) __attribute__((always_inline)) {
  Ints bits = std::bit_cast<Ints>(x), size = bits & 0x7fffffff;
  Ints normal = (size + 0xfff + (size >> 13 & 1)) & ~0x1fff;
  Floats subnormal = (std::bit_cast<Floats>(size) + 0.5f) - 0.5f;
  Ints rounded = size < (113 << 23) ? std::bit_cast<Ints>(subnormal) : normal;
  return std::bit_cast<Floats>((bits & ~0x7fffffff) | rounded);
};

/// The code of x, from `low` on, as a float. Adding 1.5 * 2^23 rounds to the nearest integer, ties to even.
constexpr auto codeOf = [](Floats x, Floats minimum, Floats inverse, float low) __attribute__((always_inline)) {
  Floats code = (x - minimum) * inverse;
  code = code < low ? Floats{} + low : code;
  code = code > low + 15 ? Floats{} + (low + 15) : code;
  return (code + 0x1.8p23f) - 0x1.8p23f;
};

constexpr auto inverseOf = [](Floats scale)
                               __attribute__((always_inline)) { return scale == 0 ? Floats{} : 1 / scale; };

class GroupFit {
public:
  /// Codes are 0..15 with minima, else -8..7.
  GroupFit(bool withMinimum) : withMinimum(withMinimum), low(withMinimum ? 0 : -8) {}

  void setImportance(std::span<const float> importance) {
    length = static_cast<int>(importance.size());
    std::copy(importance.begin(), importance.end(), w.begin());
    weight = 0;
    for (float value : importance)
      weight += value;
  }

  /// Fits the group that begins at `from` in each of `rows` rows that are `stride` apart.
  void fit(const float *from, int64_t stride, int rows) {
    for (int i = 0; i < length; ++i)
      for (int l = 0; l < kLanes; ++l)
        x[i][l] = from[std::min(l, rows - 1) * stride + i];
    Floats least = x[0], greatest = x[0];
    weighted = Floats{};
    for (int i = 0; i < length; ++i) {
      least = x[i] < least ? x[i] : least;
      greatest = x[i] > greatest ? x[i] : greatest;
      weighted += w[i] * x[i];
    }
    scale = minimum = Floats{};
    bestError = Floats{} + std::numeric_limits<float>::infinity();
    if (withMinimum)
      searchRanges(least, greatest);
    else
      searchScales(least, greatest);
  }

  /// Codes from 0 on of one of the rows, and their scale and minimum.
  void encode(int lane, uint8_t *codes, uint16_t &scaleBits, uint16_t *minimumBits) {
    Floats inverse = inverseOf(scale);
    for (int i = 0; i < length; ++i)
      codes[i] = static_cast<uint8_t>(codeOf(x[i], minimum, inverse, low)[lane] - low);
    scaleBits = floatToHalf(scale[lane]);
    if (minimumBits)
      *minimumBits = floatToHalf(minimum[lane]);
  }

private:
  void searchRanges(Floats least, Floats greatest) {
    Floats range = greatest - least;
    improve(range / 15, least);
    for (int step = 1; step <= 3; ++step) {
      Floats cut = 0.05f * static_cast<float>(step) * range;
      for (float below : {0.0f, 0.5f, 1.0f}) // how much of the cut is at the lower end
        improve((range - cut) / 15, least + below * cut);
    }
  }

  void searchScales(Floats least, Floats greatest) {
    Floats size = greatest > -least ? greatest : least;
    improve((size < 0 ? -size : size) / 7, Floats{});
    for (int step = 0; step < 7; ++step) {
      float steps = 8.5f - 0.5f * static_cast<float>(step);
      improve(size / -steps, Floats{});
      improve(size / steps, Floats{});
    }
  }

  /// Takes a range where it is better than the best, and likewise what least squares make of its codes.
  void improve(Floats wantedScale, Floats wantedMinimum) {
    Floats tryScale = roundToHalf(wantedScale), tryMinimum = roundToHalf(wantedMinimum);
    for (int round = 0; round <= kRefinements; ++round) {
      Floats inverse = inverseOf(tryScale), sumQ{}, sumQq{}, sumQx{}, sumError{};
      for (int i = 0; i < length; ++i) {
        Floats q = codeOf(x[i], tryMinimum, inverse, low), wq = w[i] * q;
        Floats error = x[i] - (tryScale * q + tryMinimum);
        sumQ += wq;
        sumQq += wq * q;
        sumQx += wq * x[i];
        sumError += w[i] * error * error;
      }
      Ints better = sumError < bestError;
      better &= (tryScale <= kGreatestHalf) & (tryScale >= -kGreatestHalf) & (tryMinimum <= kGreatestHalf) &
                (tryMinimum >= -kGreatestHalf);
      bestError = better ? sumError : bestError;
      scale = better ? tryScale : scale;
      minimum = better ? tryMinimum : minimum;
      if (withMinimum) {
        Floats determinant = weight * sumQq - sumQ * sumQ;
        Ints sound = determinant > 1e-6f * weight * sumQq; // else all codes are the same
        Floats fitted = (weight * sumQx - sumQ * weighted) / (sound ? determinant : Floats{} + 1.0f);
        tryScale = sound ? roundToHalf(fitted) : tryScale;
        tryMinimum = roundToHalf((weighted - tryScale * sumQ) / weight); // for the scale as it is stored
      } else {
        Ints sound = sumQq > 0;
        tryScale = sound ? roundToHalf(sumQx / (sound ? sumQq : Floats{} + 1.0f)) : tryScale;
      }
    }
  }

  bool withMinimum;
  float low;
  int length = 0;
  float weight = 0;
  Floats weighted, bestError, scale, minimum;
  std::array<Floats, kMaxGroup> x;
  std::array<float, kMaxGroup> w;
};

Result<void> checkValues(const std::string &name, int64_t row, std::span<const float> values) {
  float size = 0;
  bool finite = true;
  for (float value : values) {
    finite &= std::fabs(value) <= std::numeric_limits<float>::max();
    size = std::max(size, std::fabs(value));
  }
  if (!finite)
    return fail(ExitCode::badInput, "tensor {}: row {}: a value is not finite: the weights are damaged", inQuotes(name),
                row);
  if (size > kGreatestHalf)
    return fail(ExitCode::badInput,
                "tensor {}: row {}: expected values of at most {} (f16's greatest), found one of {}", inQuotes(name),
                row, kGreatestHalf, size);
  return {};
}

} // namespace

Result<void> quantizeRows(const std::string &name, int64_t row, std::span<const float> rows, int64_t k,
                          const BlockFormat &format, std::span<const float> importance, const BlockRows &out) {
  if (format.bits != 4 || format.super != 0 || format.group < 1 || format.group > kMaxGroup ||
      format.bias != (format.minimum ? 0 : 8))
    return fail(ExitCode::internal, "tensor {}: no quantiser for {} bits in groups of {}", inQuotes(name), format.bits,
                format.group);
  int64_t groups = k > 0 ? (k - 1) / format.group + 1 : 0, count = k > 0 ? static_cast<int64_t>(rows.size()) / k : 0;
  if (k < 1 || static_cast<size_t>(count * k) != rows.size() || out.codes.size() != rows.size() ||
      out.scales.size() != static_cast<size_t>(count * groups) ||
      out.minima.size() != (format.minimum ? out.scales.size() : 0) ||
      (!importance.empty() && importance.size() != static_cast<size_t>(k)))
    return fail(ExitCode::internal,
                "tensor {}: {} values in rows of {}, {} importances, room for {} codes, {} scales and {} minima",
                inQuotes(name), rows.size(), k, importance.size(), out.codes.size(), out.scales.size(),
                out.minima.size());
  double mean = 0;
  for (float value : importance) {
    if (!std::isfinite(value) || value < 0)
      return fail(ExitCode::badInput, "tensor {}: expected importances that are finite and not negative, found {}",
                  inQuotes(name), value);
    mean += value / static_cast<double>(k);
  }
  for (int64_t r = 0; r < count; ++r)
    if (auto checked = checkValues(name, row + r, rows.subspan(r * k, k)); !checked)
      return checked;
  std::array<float, kMaxGroup> weights;
  GroupFit group(format.minimum);
  for (int64_t g = 0; g < groups; ++g) {
    int64_t first = g * format.group, length = std::min(format.group, k - first);
    weights.fill(1.0f);
    if (mean > 0) // relative to the mean, so that products stay in float's range
      for (int64_t i = 0; i < length; ++i)
        weights[i] = std::max(static_cast<float>(importance[first + i] / mean), kLeastImportance);
    group.setImportance(std::span(weights).first(length));
    for (int64_t r = 0; r < count; r += kLanes) {
      int lanes = static_cast<int>(std::min<int64_t>(kLanes, count - r));
      group.fit(&rows[r * k + first], k, lanes);
      for (int lane = 0; lane < lanes; ++lane) {
        int64_t at = (r + lane) * groups + g;
        group.encode(lane, &out.codes[(r + lane) * k + first], out.scales[at],
                     format.minimum ? &out.minima[at] : nullptr);
      }
    }
  }
  return {};
}

} // namespace lathe
