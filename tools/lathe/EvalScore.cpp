#include "tools/lathe/EvalScore.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace lathe {
namespace {

/// ln of the sum of exp.
double logSum(std::span<const float> logits) {
  double most = *std::max_element(logits.begin(), logits.end()), sum = 0;
  for (float logit : logits)
    sum += std::exp(double(logit) - most);
  return most + std::log(sum);
}

int64_t best(std::span<const float> logits) { return std::max_element(logits.begin(), logits.end()) - logits.begin(); }

/// A mean's value, its error, exp of it and that one's error.
struct Perplexity {
  double nll, nllError, value, error;
  explicit Perplexity(const Mean &mean)
      : nll(mean.mean), nllError(mean.error()), value(std::exp(nll)), error(nllError * value) {}
};

void addPerplexity(nlohmann::ordered_json &json, const Mean &mean) {
  Perplexity found(mean);
  json["nll"] = found.nll;
  json["nll_stderr"] = found.nllError;
  json["perplexity"] = found.value;
  json["perplexity_stderr"] = found.error;
}

std::string perplexityLine(const Mean &mean) {
  Perplexity found(mean);
  return fmt::format("perplexity {:.4f} ± {:.4f}, NLL per token {:.6f} ± {:.6f}\n", found.value, found.error, found.nll,
                     found.nllError);
}

} // namespace

std::vector<Window> planWindows(int64_t tokens, int64_t length, int64_t stride) {
  std::vector<Window> windows;
  for (int64_t begin = 0, scored = 0; scored < tokens; begin += stride) {
    int64_t end = std::min(tokens, begin + length);
    windows.push_back({begin, scored, end});
    scored = end;
  }
  return windows;
}

void Mean::add(double value) {
  double before = value - mean;
  mean += before / double(++count);
  squares += before * (value - mean);
}

double Mean::error() const { return count > 1 ? std::sqrt(squares / double(count - 1) / double(count)) : 0; }

RowScore scoreRow(std::span<const float> logits, int32_t next) {
  RowScore score;
  if (next >= 0)
    score.nll = logSum(logits) - double(logits[next]);
  return score;
}

RowScore scoreRow(std::span<const float> logits, std::span<const float> reference, int32_t next) {
  double sum = logSum(logits), referenceSum = logSum(reference);
  RowScore score;
  if (next >= 0) {
    score.nll = sum - double(logits[next]);
    score.reference = referenceSum - double(reference[next]);
  }
  for (size_t token = 0; token < logits.size(); ++token) {
    double logP = double(reference[token]) - referenceSum, p = std::exp(logP);
    if (p > 0) // an impossible token costs nothing, whatever this model thinks of it
      score.divergence += p * (logP - (double(logits[token]) - sum));
  }
  score.sameBest = best(logits) == best(reference);
  return score;
}

void EvalSummary::add(const RowScore &row, bool hasNext) {
  if (hasNext) {
    nll.add(row.nll);
    reference.add(row.reference);
  }
  if (!against.empty()) {
    divergence.add(row.divergence);
    agreed += row.sameBest;
    if (!(row.divergence <= worstDivergence)) { // also where it is no number
      worstDivergence = row.divergence;
      worst = tokens;
    }
  }
  ++tokens;
}

std::string EvalSummary::text() const {
  std::string out =
      fmt::format("{} tokens in windows of {} every {}, {} predicted\n", tokens, window, stride, nll.count);
  if (nll.count)
    out += perplexityLine(nll);
  if (against.empty())
    return out;
  if (nll.count)
    out += fmt::format("{}: {}", against, perplexityLine(reference));
  return out + fmt::format("KL from it: mean {:.6f} ± {:.6f}, most {:.6f} at position {}; same best token {:.2f} %\n",
                           divergence.mean, divergence.error(), worstDivergence, worst,
                           100 * double(agreed) / double(tokens));
}

nlohmann::ordered_json EvalSummary::json() const {
  nlohmann::ordered_json json;
  json["tokens"] = tokens;
  json["window"] = window;
  json["stride"] = stride;
  json["predicted"] = nll.count;
  if (nll.count)
    addPerplexity(json, nll);
  if (against.empty())
    return json;
  nlohmann::ordered_json other;
  other["artifact"] = against;
  if (nll.count)
    addPerplexity(other, reference);
  other["mean_kl"] = divergence.mean;
  other["mean_kl_stderr"] = divergence.error();
  other["max_kl"] = worstDivergence;
  other["max_kl_position"] = worst;
  other["top1_agreement"] = double(agreed) / double(tokens);
  json["against"] = other;
  return json;
}

} // namespace lathe
