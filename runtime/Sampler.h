//===- Sampler.h - from logits to the next token --------------------------===//
#pragma once

#include "lathe/chance.cuh"

#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace lathe {

/// Added to the logit of one token before anything else; -infinity bans it (OpenAI's logit_bias).
struct LogitBias {
  int32_t id = 0;
  double bias = 0;
};

/// What becomes of the logits, in this order. Formulas:
///   logit bias, presence and frequency penalty: OpenAI's API reference, "mu[j] - c[j] * frequency - (c[j] > 0) *
///     presence" with c[j] the times that token j was generated (the prompt does not count, as in vLLM)
///   repetition penalty, top-k, top-p, min-p, typical-p: Hugging Face's logits processors of these names; typical-p is
///     locally typical sampling (Meister et al., 2022)
///   mirostat: version 2 (Basu et al., 2021, algorithm 2) as llama.cpp has it: it stands in the place of top-k, top-p,
///     min-p and typical-p, which are not looked at then
struct SamplerOptions {
  double temperature = 0; ///< 0: greedy
  int64_t topK = 0;       ///< keep the k best; 0: all
  double topP = 1;        ///< keep the fewest best whose probabilities reach p; 1: all
  double minP = 0;        ///< keep those at least p times as likely as the best; 0: all
  double typicalP = 1;    ///< keep the fewest whose information is nearest to the entropy and that reach p; 1: all
  double repetitionPenalty = 1; ///< logits of tokens seen so far are divided (positive) or multiplied (negative) by it
  double presencePenalty = 0;   ///< subtracted once from the logit of a token that was generated
  double frequencyPenalty = 0;  ///< subtracted for each time that a token was generated
  int64_t mirostat = 0;         ///< 0: off; 2: cut what surprises more than a bound that follows the surprise seen
  double mirostatTau = 5;       ///< surprise aimed at, bits a token
  double mirostatEta = 0.1;     ///< how fast the bound follows
  std::vector<LogitBias> logitBias;
  uint64_t seed = 0;
  uint64_t request = 0; ///< tells requests of one seed apart
};

/// What sampling keeps of one request between its tokens.
struct SamplerState {
  int64_t promptTokens = 0; ///< at the front of the history: these were not generated
  std::optional<double> mu; ///< mirostat's bound in bits; begins at twice mirostatTau
};

/// 64 random bits, a pure function of its arguments: Philox4x32-10 (Salmon et al., 2011) with the seed as key and
/// (request, position) as counter.
uint64_t counterBits(uint64_t seed, uint64_t request, uint64_t position);
/// The upper 53 of them as a uniform number in [0, 1).
double counterUniform(uint64_t seed, uint64_t request, uint64_t position);

/// Whether temperature, top-k, top-p and min-p are all that becomes of the logits: what a block of threads can draw
/// from by itself (runtime/device/sample.cuh).
bool drawsAlone(const SamplerOptions &options);
/// What is asked of the logits behind `position` tokens, in whole numbers.
device::Draw drawOf(const SamplerOptions &options, uint64_t position);

/// The token after `history` (prompt and what was generated), whose logits are given. A function of its arguments
/// alone: it depends on no other request. Equal logits rank by id, lowest first. Keeps only scratch memory between
/// calls.
class Sampler {
public:
  int32_t sample(std::span<const float> logits, std::span<const int32_t> history, const SamplerOptions &options,
                 SamplerState &state);
  /// Of a request that keeps no state and had no prompt.
  int32_t sample(std::span<const float> logits, std::span<const int32_t> history, const SamplerOptions &options) {
    SamplerState state;
    return sample(logits, history, options, state);
  }
  /// What `sample` draws from: ids with their probabilities, which sum to 1, best first.
  std::vector<std::pair<int32_t, double>> distribution(std::span<const float> logits, std::span<const int32_t> history,
                                                       const SamplerOptions &options, const SamplerState &state = {});

private:
  using Candidate = std::pair<float, int32_t>; // logit, id
  std::span<const float> adjust(std::span<const float> logits, std::span<const int32_t> history,
                                const SamplerOptions &options, const SamplerState &state);
  void choose(std::span<const float> logits, const SamplerOptions &options, const SamplerState &state);
  void rankBest(size_t count);
  template <typename Weight> void keepTopP(uint64_t share, const Weight &weight);
  void keepTypical(double p);
  void keepBelow(double surprise);
  std::vector<float> adjusted;
  std::vector<uint32_t> times; ///< how often each token was seen; zero between calls
  std::vector<Candidate> candidates;
  std::vector<uint64_t> weights; ///< chances of the candidates; those that are not drawn have 0
  std::vector<std::pair<double, size_t>> ranked;
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
