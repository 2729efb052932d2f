#include "runtime/Sampler.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <utility>

namespace lathe {
namespace {

/// A temperature as float must not be 0 where one is asked for.
constexpr float kLeastTemperature = 0x1p-100f;

/// Best first; equal logits by id.
bool better(const std::pair<float, int32_t> &a, const std::pair<float, int32_t> &b) {
  return a.first > b.first || (a.first == b.first && a.second < b.second);
}

} // namespace

uint64_t counterBits(uint64_t seed, uint64_t request, uint64_t position) {
  constexpr uint64_t kMultiply0 = 0xD2511F53, kMultiply1 = 0xCD9E8D57;
  constexpr uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
  auto low = [](uint64_t word) { return static_cast<uint32_t>(word); };
  auto high = [](uint64_t word) { return static_cast<uint32_t>(word >> 32); };
  uint32_t c0 = low(position), c1 = high(position), c2 = low(request), c3 = high(request);
  uint32_t k0 = low(seed), k1 = high(seed);
  for (int round = 0; round < 10; ++round) {
    uint64_t p0 = kMultiply0 * c0, p1 = kMultiply1 * c2;
    uint32_t n0 = high(p1) ^ c1 ^ k0, n2 = high(p0) ^ c3 ^ k1;
    c0 = n0, c1 = low(p1), c2 = n2, c3 = low(p0);
    k0 += kWeyl0, k1 += kWeyl1;
  }
  return uint64_t(c0) << 32 | c1;
}

double counterUniform(uint64_t seed, uint64_t request, uint64_t position) {
  return static_cast<double>(counterBits(seed, request, position) >> 11) * 0x1p-53;
}

bool drawsAlone(const SamplerOptions &options) {
  return options.repetitionPenalty == 1 && options.presencePenalty == 0 && options.frequencyPenalty == 0 &&
         options.logitBias.empty() && options.mirostat == 0 && options.typicalP >= 1;
}

device::Draw drawOf(const SamplerOptions &options, uint64_t position) {
  constexpr double kOne = 0x1p64, kBest = double(uint64_t(1) << device::kChanceBits);
  // A p of 0 keeps the best alone, as a share of next to nothing does; 0 stands for all.
  double share = std::max(options.topP, 0.0) * kOne, least = std::ceil(std::clamp(options.minP, 0.0, 1.0) * kBest);
  return {.top_k = static_cast<int>(std::clamp<int64_t>(options.topK, 0, INT32_MAX)),
          .temperature =
              options.temperature > 0 ? std::max(static_cast<float>(options.temperature), kLeastTemperature) : 0,
          .top_p = options.topP < 1 ? std::max<uint64_t>(1, static_cast<uint64_t>(share)) : 0,
          .least = static_cast<uint64_t>(least),
          .number = counterBits(options.seed, options.request, position)};
}

/// `share` of a sum, in 2^-64, rounded down.
static uint64_t part(uint64_t sum, uint64_t share) {
  return static_cast<uint64_t>(static_cast<unsigned __int128>(sum) * share >> 64);
}

int32_t argmax(std::span<const float> logits) {
  // Sixteen running maxima vectorise; the index is found in a second pass, in which the first equal one wins.
  std::array<float, 16> best;
  best.fill(-INFINITY);
  size_t whole = logits.size() / best.size() * best.size();
  for (size_t i = 0; i < whole; i += best.size())
    for (size_t lane = 0; lane < best.size(); ++lane)
      best[lane] = logits[i + lane] > best[lane] ? logits[i + lane] : best[lane];
  float most = *std::max_element(best.begin(), best.end());
  for (size_t i = whole; i < logits.size(); ++i)
    most = logits[i] > most ? logits[i] : most;
  for (size_t i = 0; i < logits.size(); ++i)
    if (logits[i] == most)
      return static_cast<int32_t>(i);
  return 0;
}

/// The `count` best candidates, in order, at the front.
void Sampler::rankBest(size_t count) {
  auto middle = candidates.begin() + static_cast<ptrdiff_t>(std::min(count, candidates.size()));
  std::nth_element(candidates.begin(), middle, candidates.end(), better);
  std::sort(candidates.begin(), middle, better);
}

/// Logits with biases and penalties; the given ones where there are none.
std::span<const float> Sampler::adjust(std::span<const float> logits, std::span<const int32_t> history,
                                       const SamplerOptions &options, const SamplerState &state) {
  bool counts = options.presencePenalty != 0 || options.frequencyPenalty != 0;
  if (options.repetitionPenalty == 1 && !counts && options.logitBias.empty())
    return logits;
  adjusted.assign(logits.begin(), logits.end());
  times.resize(logits.size());
  auto known = [&](int32_t id) { return id >= 0 && static_cast<size_t>(id) < logits.size(); };
  for (const LogitBias &bias : options.logitBias)
    if (known(bias.id))
      adjusted[bias.id] = static_cast<float>(adjusted[bias.id] + bias.bias);
  if (options.repetitionPenalty != 1) {
    for (int32_t id : history) // each token once, however often it was seen
      if (known(id) && times[id]++ == 0)
        adjusted[id] = static_cast<float>(adjusted[id] > 0 ? adjusted[id] / options.repetitionPenalty
                                                           : adjusted[id] * options.repetitionPenalty);
    for (int32_t id : history)
      if (known(id))
        times[id] = 0;
  }
  if (counts) {
    auto generated = history.subspan(std::min(history.size(), static_cast<size_t>(state.promptTokens)));
    for (int32_t id : generated)
      if (known(id))
        ++times[id];
    for (int32_t id : generated)
      if (known(id) && times[id] > 0)
        adjusted[id] = static_cast<float>(
            adjusted[id] - (options.frequencyPenalty * std::exchange(times[id], 0) + options.presencePenalty));
  }
  return adjusted;
}

/// Fills `candidates` and `weights` with what can be drawn. The temperature is not 0.
void Sampler::choose(std::span<const float> logits, const SamplerOptions &options, const SamplerState &state) {
  int32_t best = argmax(logits);
  device::Draw draw = drawOf(options, 0);
  // Tokens that are no chance at all need not be ranked.
  double threshold = logits[best] - 60 * M_LN2 * draw.temperature;
  candidates.clear();
  for (size_t id = 0; id < logits.size(); ++id)
    if (logits[id] >= threshold || static_cast<int32_t>(id) == best)
      candidates.push_back({logits[id], static_cast<int32_t>(id)});
  bool filters = options.mirostat == 0;
  if (filters && options.topK > 0 && static_cast<size_t>(options.topK) < candidates.size()) {
    rankBest(static_cast<size_t>(options.topK));
    candidates.resize(static_cast<size_t>(options.topK));
  }
  auto weight = [&](const Candidate &candidate) -> uint64_t {
    return device::chance_of(candidate.first, logits[best], draw.temperature);
  };
  if (filters && draw.top_p > 0)
    keepTopP(draw.top_p, weight);
  // Tokens are drawn in order of their ids, as a device without sorting draws them.
  auto byId = [](const Candidate &a, const Candidate &b) { return a.second < b.second; };
  if (!std::is_sorted(candidates.begin(), candidates.end(), byId))
    std::sort(candidates.begin(), candidates.end(), byId);
  weights.clear();
  for (const Candidate &candidate : candidates) {
    uint64_t mass = weight(candidate);
    weights.push_back(filters && mass < draw.least ? 0 : mass);
  }
  if (filters && options.typicalP < 1)
    keepTypical(options.typicalP);
  if (!filters)
    keepBelow(state.mu.value_or(2 * options.mirostatTau));
}

int32_t Sampler::sample(std::span<const float> logits, std::span<const int32_t> history, const SamplerOptions &options,
                        SamplerState &state) {
  logits = adjust(logits, history, options, state);
  if (options.temperature <= 0 || (options.topK == 1 && options.mirostat == 0))
    return argmax(logits);
  choose(logits, options, state);
  uint64_t total = std::accumulate(weights.begin(), weights.end(), uint64_t(0));
  uint64_t rest = part(total, counterBits(options.seed, options.request, history.size()));
  size_t drawn = 0;
  while (drawn + 1 < weights.size() && rest >= weights[drawn])
    rest -= weights[drawn++];
  if (options.mirostat != 0)
    state.mu = state.mu.value_or(2 * options.mirostatTau) -
               options.mirostatEta * (-std::log2(double(weights[drawn]) / double(total)) - options.mirostatTau);
  return candidates[drawn].second;
}

std::vector<std::pair<int32_t, double>> Sampler::distribution(std::span<const float> logits,
                                                              std::span<const int32_t> history,
                                                              const SamplerOptions &options,
                                                              const SamplerState &state) {
  logits = adjust(logits, history, options, state);
  if (options.temperature <= 0)
    return {{argmax(logits), 1.0}};
  choose(logits, options, state);
  auto total = double(std::accumulate(weights.begin(), weights.end(), uint64_t(0)));
  std::vector<std::pair<int32_t, double>> chances;
  for (size_t i = 0; i < weights.size(); ++i)
    if (weights[i] > 0)
      chances.push_back({candidates[i].second, double(weights[i]) / total});
  std::sort(chances.begin(), chances.end(), [](const auto &a, const auto &b) {
    return a.second > b.second || (a.second == b.second && a.first < b.first);
  });
  return chances;
}

/// Keeps the fewest best candidates that hold a share of the weight, in 2^-64. They are ranked in growing numbers:
/// sorting a whole vocabulary would take longer than a decode step.
template <typename Weight> void Sampler::keepTopP(uint64_t share, const Weight &weight) {
  uint64_t total = 0;
  for (const Candidate &candidate : candidates)
    total += weight(candidate);
  uint64_t enough = part(total, share);
  for (size_t ranked = 256;; ranked *= 8) {
    rankBest(ranked);
    uint64_t sum = 0;
    size_t kept = 0, end = std::min(ranked, candidates.size());
    while (kept < end && (kept == 0 || sum < enough))
      sum += weight(candidates[kept++]);
    if (sum >= enough || end == candidates.size()) {
      candidates.resize(kept);
      return;
    }
  }
}

/// Keeps the fewest candidates that hold `p` of the weight, those first whose information is nearest to the entropy.
void Sampler::keepTypical(double p) {
  double entropy = 0;
  auto total = double(std::accumulate(weights.begin(), weights.end(), uint64_t(0)));
  auto logarithm = [&](uint64_t weight) { return std::log(double(weight) / total); };
  for (uint64_t weight : weights)
    if (weight > 0)
      entropy -= double(weight) / total * logarithm(weight);
  ranked.clear();
  for (size_t i = 0; i < weights.size(); ++i)
    if (weights[i] > 0)
      ranked.push_back({std::abs(-logarithm(weights[i]) - entropy), i});
  // Of equals the better one first.
  auto nearer = [&](const auto &a, const auto &b) {
    return a.first < b.first || (a.first == b.first && better(candidates[a.second], candidates[b.second]));
  };
  double sum = 0;
  size_t kept = 0;
  for (size_t end = 0; (end == 0 || sum < p * total) && end < ranked.size();) {
    size_t next = std::min(ranked.size(), end + std::max<size_t>(256, end * 8));
    auto begin = ranked.begin() + static_cast<ptrdiff_t>(end), middle = ranked.begin() + static_cast<ptrdiff_t>(next);
    std::nth_element(begin, middle, ranked.end(), nearer);
    std::sort(begin, middle, nearer);
    for (end = next; kept < end && (kept == 0 || sum < p * total); ++kept)
      sum += double(weights[ranked[kept].second]);
  }
  for (size_t i = kept; i < ranked.size(); ++i)
    weights[ranked[i].second] = 0;
}

/// Keeps candidates whose information is at most `surprise` bits; the best always.
void Sampler::keepBelow(double surprise) {
  auto total = double(std::accumulate(weights.begin(), weights.end(), uint64_t(0)));
  size_t best = 0;
  for (size_t i = 1; i < candidates.size(); ++i)
    if (better(candidates[i], candidates[best]))
      best = i;
  for (size_t i = 0; i < weights.size(); ++i)
    if (i != best && -std::log2(double(weights[i]) / total) > surprise)
      weights[i] = 0;
}

std::vector<TokenLogprob> logprobs(std::span<const float> logits, int32_t id, int64_t count) {
  double best = logits[argmax(logits)], total = 0;
  for (float logit : logits)
    total += std::exp(logit - best);
  double normaliser = best + std::log(total);
  std::vector<std::pair<float, int32_t>> ranked;
  for (size_t i = 0; i < logits.size(); ++i)
    ranked.push_back({logits[i], static_cast<int32_t>(i)});
  size_t kept = std::min(ranked.size(), static_cast<size_t>(std::max<int64_t>(0, count)));
  std::partial_sort(ranked.begin(), ranked.begin() + static_cast<ptrdiff_t>(kept), ranked.end(), better);
  std::vector<TokenLogprob> result{{id, logits[id] - normaliser}};
  for (size_t i = 0; i < kept; ++i)
    result.push_back({ranked[i].second, ranked[i].first - normaliser});
  return result;
}

} // namespace lathe
