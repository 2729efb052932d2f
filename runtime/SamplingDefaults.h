//===- SamplingDefaults.h - what a model's makers recommend ---------------===//
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace lathe {

/// How a model's makers sample from it, as generation_config.json of Hugging Face or general.sampling.* of a GGUF file
/// says; what they do not say is empty. Meanings and ranges: SamplerOptions.
struct SamplingDefaults {
  std::string source; ///< where it was said, for people: "generation_config.json"; empty: nowhere
  std::optional<double> temperature, topP, minP, typicalP, repetitionPenalty, mirostatTau, mirostatEta;
  std::optional<int64_t> topK, mirostat;

  bool operator==(const SamplingDefaults &) const = default;
};

/// Calls `visit(key, value, low, high)` for each number, in the order in which it is shown: real numbers, then `whole`
/// ones. Keys are those of generation_config.json where it has them.
template <typename Defaults, typename Real, typename Whole>
void eachSamplingDefault(Defaults &defaults, const Real &real, const Whole &whole) {
  real("temperature", defaults.temperature, 0.0, 1e6);
  whole("top_k", defaults.topK, 0, INT32_MAX);
  real("top_p", defaults.topP, 0.0, 1.0);
  real("min_p", defaults.minP, 0.0, 1.0);
  real("typical_p", defaults.typicalP, 0.0, 1.0);
  real("repetition_penalty", defaults.repetitionPenalty, 1e-6, 1e6);
  whole("mirostat", defaults.mirostat, 0, 2);
  real("mirostat_tau", defaults.mirostatTau, 0.0, 1e6);
  real("mirostat_eta", defaults.mirostatEta, 0.0, 1e6);
}

} // namespace lathe
