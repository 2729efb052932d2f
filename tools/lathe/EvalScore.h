//===- EvalScore.h - how well logits predict a text, and each other -------===//
//
// Formulas as in llama.cpp's perplexity tool, so that figures can be compared: the standard error of a mean is the
// sample's deviation by the square root of its size, that of a perplexity the mean's times the perplexity.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/support/Json.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace lathe {

/// Positions `begin` to `end` of a text run as one sequence; those from `scored` on are looked at.
struct Window {
  int64_t begin = 0, scored = 0, end = 0;
};
/// Windows of at most `length` tokens, one every `stride` (at most `length`) tokens: every position is looked at once,
/// in the first window that has it, so all but the first window's see at least `length - stride` tokens before.
std::vector<Window> planWindows(int64_t tokens, int64_t length, int64_t stride);

/// Mean and standard error of values that come one by one (Welford).
struct Mean {
  int64_t count = 0;
  double mean = 0, squares = 0;
  void add(double value);
  double error() const;
};

/// What is known of one position.
struct RowScore {
  double nll = 0;        ///< -ln of the probability of the next token
  double reference = 0;  ///< the same by the reference
  double divergence = 0; ///< KL(reference || this), nats
  bool sameBest = false; ///< both like the same token best; ties take the lowest id
};

/// `next` < 0: the text ends here, and no likelihood is computed.
RowScore scoreRow(std::span<const float> logits, int32_t next);
RowScore scoreRow(std::span<const float> logits, std::span<const float> reference, int32_t next);

/// Sums over the positions of a text, which must be added in order.
struct EvalSummary {
  int64_t window = 0, stride = 0;
  std::string against; ///< the reference's artifact; empty: none
  int64_t tokens = 0, agreed = 0, worst = 0;
  Mean nll, reference, divergence;
  double worstDivergence = -1; ///< at position `worst`

  void add(const RowScore &row, bool hasNext);
  std::string text() const;
  nlohmann::ordered_json json() const;
};

} // namespace lathe
