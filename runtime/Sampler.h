//===- Sampler.h - from logits to the next token --------------------------===//
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace lathe {

/// Names, order and formulas are those of Hugging Face's logits processors: repetition penalty, temperature, top-k,
/// top-p, min-p.
struct SamplerOptions {
  double temperature = 0;       ///< 0: greedy
  int64_t topK = 0;             ///< keep the k best; 0: all
  double topP = 1;              ///< keep the fewest best whose probabilities reach p; 1: all
  double minP = 0;              ///< keep those at least p times as likely as the best; 0: all
  double repetitionPenalty = 1; ///< logits of tokens seen so far are divided (positive) or multiplied (negative) by it
  uint64_t seed = 0;
  uint64_t request = 0; ///< tells requests of one seed apart
};

/// A uniform number in [0, 1), a pure function of its arguments: Philox4x32-10 (Salmon et al., 2011) with the seed as
/// key and (request, position) as counter.
double counterUniform(uint64_t seed, uint64_t request, uint64_t position);

/// The token after `history` (prompt and what was generated), whose logits are given. A pure function: it depends on no
/// other request. Equal logits rank by id, lowest first. Keeps only scratch memory between calls.
class Sampler {
public:
  int32_t sample(std::span<const float> logits, std::span<const int32_t> history, const SamplerOptions &options);

private:
  using Candidate = std::pair<float, int32_t>; // logit, id
  void rankBest(size_t count);
  template <typename Weight> void keepTopP(double p, const Weight &weight);
  template <typename Weight> int32_t draw(const SamplerOptions &options, uint64_t position, const Weight &weight);
  std::vector<float> penalised;
  std::vector<Candidate> candidates;
  std::vector<double> weights;
};

/// Index of the largest value, the lowest one among equals. NaN is never chosen unless all are.
int32_t argmax(std::span<const float> logits);

struct TokenLogprob {
  int32_t id = 0;
  double logprob = 0; ///< natural logarithm
};
/// Log-probability of `id` first, then of the `count` likeliest tokens, best first; of the model, before any sampling
/// option.
std::vector<TokenLogprob> logprobs(std::span<const float> logits, int32_t id, int64_t count);

} // namespace lathe
