#include "tools/lathe/Model.h"
#include "tools/support/CommandLine.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

namespace lathe {

void SamplingFlags::add(CLI::App &command) {
  auto flag = [&](const char *name, auto SamplerOptions::*field, const char *recommended, const char *help,
                  const CLI::Validator &check) {
    CLI::Option *option = command.add_option(name, options.*field, help)->check(check)->group("Sampling");
    if (!*recommended)
      option->capture_default_str();
    flags.push_back({option, recommended, [this, field](SamplerOptions &into) { into.*field = options.*field; }});
  };
  flag("--temp", &SamplerOptions::temperature, "temperature",
       "Temperature; 0 takes the likeliest token (default: the model's, else 0)", nonNegative());
  flag("--top-k", &SamplerOptions::topK, "top_k",
       "Sample from the K likeliest tokens; 0: all (default: the model's, else 0)", nonNegative());
  flag("--top-p", &SamplerOptions::topP, "top_p",
       "Sample from the likeliest tokens that hold P of the probability (default: the model's, else 1)",
       CLI::Range(0.0, 1.0));
  flag("--min-p", &SamplerOptions::minP, "min_p",
       "Drop tokens less than P times as likely as the likeliest (default: the model's, else 0)", CLI::Range(0.0, 1.0));
  flag("--typical-p", &SamplerOptions::typicalP, "typical_p",
       "Sample from the tokens whose information is nearest to the entropy and that hold P of the probability "
       "(default: the model's, else 1)",
       CLI::Range(0.0, 1.0));
  flag("--repeat-penalty", &SamplerOptions::repetitionPenalty, "repetition_penalty",
       "Divide positive logits of tokens seen so far by this, multiply negative ones (default: the model's, else 1)",
       positive());
  flag("--presence-penalty", &SamplerOptions::presencePenalty, "",
       "Subtract this from the logit of each token that was generated", CLI::Number);
  flag("--frequency-penalty", &SamplerOptions::frequencyPenalty, "",
       "Subtract this from the logit of a token for each time that it was generated", CLI::Number);
  flags.push_back({command
                       .add_option("--logit-bias", biases,
                                   "Add to a token's logit: ID+0.5, ID-2, or ID-inf to ban it; may be given several "
                                   "times, or several with commas")
                       ->delimiter(',')
                       ->allow_extra_args(false)
                       ->group("Sampling"),
                   "", [](SamplerOptions &) {}});
  flag("--mirostat", &SamplerOptions::mirostat, "mirostat",
       "2: Mirostat 2.0 in the place of top-k, top-p, min-p and typical-p; 0: off (default: the model's, else 0)",
       CLI::IsMember({0, 2}));
  flag("--mirostat-tau", &SamplerOptions::mirostatTau, "mirostat_tau",
       "Surprise that Mirostat aims at, in bits a token (default: the model's, else 5)", nonNegative());
  flag("--mirostat-eta", &SamplerOptions::mirostatEta, "mirostat_eta",
       "How fast Mirostat follows the surprise it sees (default: the model's, else 0.1)", nonNegative());
  flag("--seed", &SamplerOptions::seed, "", "Seed of sampling: equal seeds give equal text", nonNegative());
}

SamplerOptions defaultSampling(const SamplingDefaults &defaults) {
  SamplerOptions options;
  options.temperature = defaults.temperature.value_or(options.temperature);
  options.topK = defaults.topK.value_or(options.topK);
  options.topP = defaults.topP.value_or(options.topP);
  options.minP = defaults.minP.value_or(options.minP);
  options.typicalP = defaults.typicalP.value_or(options.typicalP);
  options.repetitionPenalty = defaults.repetitionPenalty.value_or(options.repetitionPenalty);
  options.mirostat = defaults.mirostat.value_or(0) == 2 ? 2 : 0; // Lathe has version 2 only
  options.mirostatTau = defaults.mirostatTau.value_or(options.mirostatTau);
  options.mirostatEta = defaults.mirostatEta.value_or(options.mirostatEta);
  return options;
}

Result<LogitBias> parseLogitBias(const std::string &text) {
  size_t sign = text.find_first_of("+-");
  LogitBias bias;
  const char *number = text.c_str() + std::min(sign, text.size());
  char *end = nullptr;
  bias.bias = std::strtod(number, &end);
  bool whole = sign != 0 && sign < text.size() && sign < 10 && text.find_first_not_of("0123456789") == sign &&
               end != number && *end == 0;
  if (!whole || std::isnan(bias.bias) || bias.bias == INFINITY)
    return fail(ExitCode::usage, "--logit-bias: expected ID+0.5, ID-2 or ID-inf, found '{}'", text);
  bias.id = static_cast<int32_t>(std::min<long>(std::strtol(text.c_str(), nullptr, 10), INT32_MAX));
  return bias;
}

void readSampling(JsonReader &reader, const Json &document, SamplerOptions &options) {
  auto integer = [&](const char *key, int64_t &value, int64_t low, int64_t high) {
    if (reader.has(key))
      value = reader.integer(key, low, high);
  };
  auto number = [&](const char *key, double &value, double low, double high) {
    if (reader.has(key))
      value = reader.number(key, low, high);
  };
  number("temp", options.temperature, 0, 1e6);
  integer("top_k", options.topK, 0, INT32_MAX);
  number("top_p", options.topP, 0, 1);
  number("min_p", options.minP, 0, 1);
  number("typical_p", options.typicalP, 0, 1);
  number("repeat_penalty", options.repetitionPenalty, 1e-6, 1e6);
  number("presence_penalty", options.presencePenalty, -1e6, 1e6);
  number("frequency_penalty", options.frequencyPenalty, -1e6, 1e6);
  integer("mirostat", options.mirostat, 0, 2);
  if (options.mirostat == 1)
    reader.refuse("mirostat", "expected 0 or 2, found 1");
  number("mirostat_tau", options.mirostatTau, 0, 1e6);
  number("mirostat_eta", options.mirostatEta, 0, 1e6);
  if (!reader.has("logit_bias"))
    return;
  // As in OpenAI's API: an object whose keys are token ids.
  const Json &biases = document["logit_bias"];
  if (!biases.is_object())
    return reader.refuse("logit_bias", "expected an object such as {\"42\": -100}");
  for (const auto &[key, value] : biases.items()) {
    int32_t id = -1;
    auto [end, failure] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (failure != std::errc() || end != key.data() + key.size() || id < 0 || !value.is_number())
      return reader.refuse("logit_bias",
                           fmt::format("expected token ids with numbers, found {}: {}",
                                       Json(key).dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 40),
                                       value.dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 40)));
    options.logitBias.push_back({id, value.get<double>()});
  }
}

Result<SamplerOptions> SamplingFlags::resolve(const Manifest &manifest) const {
  SamplerOptions resolved = defaultSampling(manifest.sampling);
  for (double value : {options.temperature, options.topP, options.minP, options.typicalP, options.repetitionPenalty,
                       options.presencePenalty, options.frequencyPenalty, options.mirostatTau, options.mirostatEta})
    if (!std::isfinite(value))
      return fail(ExitCode::usage, "--temp, --top-p, --min-p and the other numbers of sampling: expected finite ones");
  auto given = [&](std::string_view name) {
    for (const Given &flag : flags)
      if (name == flag.name)
        return flag.option->count() > 0;
    return false;
  };
  for (const Given &flag : flags)
    if (flag.option->count())
      flag.copy(resolved);
  for (const std::string &text : biases) {
    auto bias = parseLogitBias(text);
    if (!bias)
      return propagate(bias);
    resolved.logitBias.push_back(*bias);
  }
  std::string said;
  auto say = [&](std::string name, const auto &value, auto...) {
    if (!value || given(name))
      return;
    std::replace(name.begin(), name.end(), '_', '-');
    said += fmt::format("{}{} {}", said.empty() ? "" : ", ", name, *value);
  };
  eachSamplingDefault(manifest.sampling, say, say);
  if (!said.empty())
    fmt::print(stderr, "sampling: {} ({})\n", said, manifest.sampling.source);
  return resolved;
}

} // namespace lathe
