#include "compiler/Config.h"

#include "compiler/ConfigDiagnostics.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace lathe {
namespace {

// Upper limits. Together they keep every size computed later (parameters, rows, bytes of a tensor) far below 2^63.
constexpr int64_t kMaxVocab = int64_t{1} << 21;
constexpr int64_t kMaxHidden = int64_t{1} << 17;
constexpr int64_t kMaxIntermediate = int64_t{1} << 20;
constexpr int64_t kMaxLayers = 4096;
constexpr int64_t kMaxHeads = 8192;
constexpr int64_t kMaxHeadDim = 4096;
constexpr int64_t kMaxHeadsWidth = int64_t{1} << 20;
constexpr int64_t kMaxPositions = int64_t{1} << 27;
constexpr int64_t kMaxParameters = int64_t{1} << 48;

constexpr std::array<std::string_view, 5> kRopeTypes{"default", "linear", "llama3", "yarn", "none"};
constexpr std::array<std::string_view, 2> kRopeLayouts{"half", "interleaved"};
constexpr std::array<std::string_view, 1> kHiddenActs{"silu"};
constexpr std::array<std::string_view, 2> kNormTypes{"rms", "layer"};
constexpr std::array<std::string_view, 3> kQkNorms{"none", "rms", "layer"};

class Checker {
public:
  explicit Checker(const ModelConfig &config) : config(config) {}
  Result<void> check();

private:
  /// The error at a key; only the first one is kept.
  template <typename... Args> void report(const std::string &key, fmt::format_string<Args...> format, Args &&...args) {
    if (error)
      return;
    auto place = config.where.find(key);
    if (place == config.where.end())
      place = config.where.find("");
    error = fmt::format("{}{}: {}", place == config.where.end() ? "" : place->second + ": ", key,
                        fmt::format(format, std::forward<Args>(args)...));
  }
  void size(const std::string &key, int64_t value, int64_t most) {
    if (value < 1 || value > most)
      report(key, "expected an integer from 1 to {}, found {}", most, value);
  }
  void number(const std::string &key, double value, double least, double most) {
    if (!(value >= least && value <= most))
      report(key, "expected a number from {} to {}, found {}", least, most, value);
  }
  void oneOf(const std::string &key, const std::string &value, std::span<const std::string_view> allowed) {
    if (std::find(allowed.begin(), allowed.end(), value) == allowed.end())
      report(key, "unknown value {}{}", inQuotes(value), suggestion(value, allowed));
  }
  void token(const std::string &key, int64_t id) {
    if (id < 0 || id >= config.vocabSize)
      report(key, "expected a token id from 0 to {} (vocab_size - 1), found {}", config.vocabSize - 1, id);
  }
  void sizes();
  void rope();
  void windows();

  const ModelConfig &config;
  std::optional<std::string> error;
};

void Checker::sizes() {
  size("vocab_size", config.vocabSize, kMaxVocab);
  size("hidden_size", config.hiddenSize, kMaxHidden);
  size("intermediate_size", config.intermediateSize, kMaxIntermediate);
  size("num_hidden_layers", config.numHiddenLayers, kMaxLayers);
  size("num_attention_heads", config.numAttentionHeads, kMaxHeads);
  size("num_key_value_heads", config.numKeyValueHeads, kMaxHeads);
  size("head_dim", config.headDim, kMaxHeadDim);
  size("max_position_embeddings", config.maxPositionEmbeddings, kMaxPositions);
  if (error)
    return;
  if (config.numAttentionHeads % config.numKeyValueHeads != 0)
    report("num_key_value_heads",
           "{} does not divide num_attention_heads = {}: every key/value head serves an equal group",
           config.numKeyValueHeads, config.numAttentionHeads);
  if (config.numAttentionHeads * config.headDim > kMaxHeadsWidth)
    report("head_dim", "num_attention_heads x head_dim = {} x {} is beyond the limit of {}", config.numAttentionHeads,
           config.headDim, kMaxHeadsWidth);
}

void Checker::rope() {
  const RopeConfig &rope = config.rope;
  oneOf("rope_parameters.rope_type", rope.type, kRopeTypes);
  oneOf("rope_parameters.rope_layout", rope.layout, kRopeLayouts);
  if (rope.type == "none" || error)
    return;
  if (config.headDim % 2 != 0)
    report("head_dim", "{} is odd: rotary embedding turns pairs; use an even head_dim or rope_type = \"none\"",
           config.headDim);
  number("rope_parameters.rope_theta", rope.theta, 1e-6, 1e16);
  if (rope.type == "default")
    return;
  number("rope_parameters.factor", rope.factor, 1e-6, 1e6);
  if (rope.type == "linear")
    return;
  size("rope_parameters.original_max_position_embeddings", rope.originalMaxPositionEmbeddings, kMaxPositions);
  if (rope.type == "llama3") {
    number("rope_parameters.low_freq_factor", rope.lowFreqFactor, 1e-6, 1e6);
    number("rope_parameters.high_freq_factor", rope.highFreqFactor, 1e-6, 1e6);
    if (rope.highFreqFactor <= rope.lowFreqFactor)
      report("rope_parameters.high_freq_factor", "{} is not above low_freq_factor = {}", rope.highFreqFactor,
             rope.lowFreqFactor);
    return;
  }
  number("rope_parameters.beta_fast", rope.betaFast, 1e-6, 1e6);
  number("rope_parameters.beta_slow", rope.betaSlow, 1e-6, 1e6);
  if (rope.betaFast < rope.betaSlow)
    report("rope_parameters.beta_fast", "{} is below beta_slow = {}", rope.betaFast, rope.betaSlow);
  if (rope.theta <= 1)
    report("rope_parameters.rope_theta", "yarn takes the logarithm of it: expected more than 1, found {}", rope.theta);
  if (rope.attentionFactor)
    number("rope_parameters.attention_factor", *rope.attentionFactor, 1e-6, 1e6);
  if (rope.mscale)
    number("rope_parameters.mscale", *rope.mscale, 0, 1e6);
  if (rope.mscaleAllDim)
    number("rope_parameters.mscale_all_dim", *rope.mscaleAllDim, 0, 1e6);
}

void Checker::windows() {
  if (config.slidingWindow)
    size("sliding_window", *config.slidingWindow, kMaxPositions);
  if (config.layerTypes.empty())
    return;
  if (static_cast<int64_t>(config.layerTypes.size()) != config.numHiddenLayers)
    report("layer_types", "expected num_hidden_layers = {} entries, found {}", config.numHiddenLayers,
           config.layerTypes.size());
  static constexpr std::array<std::string_view, 2> kinds{"full_attention", "sliding_attention"};
  bool slides = false;
  for (const std::string &type : config.layerTypes) {
    oneOf("layer_types", type, kinds);
    slides |= type == "sliding_attention";
  }
  if (slides && !config.slidingWindow)
    report("layer_types", "says sliding_attention, but there is no sliding_window: give one, or say full_attention");
  if (!slides && config.slidingWindow)
    report("sliding_window",
           "no entry of layer_types is sliding_attention: remove sliding_window, or let a layer slide");
}

Result<void> Checker::check() {
  sizes();
  oneOf("hidden_act", config.hiddenAct, kHiddenActs);
  oneOf("norm_type", config.normType, kNormTypes);
  oneOf("qk_norm", config.qkNorm, kQkNorms);
  number(config.normType == "layer" ? "layer_norm_eps" : "rms_norm_eps", config.normEps, 1e-30, 1);
  number("qk_norm_eps", config.qkNormEps, 1e-30, 1);
  rope();
  windows();
  if (config.bosTokenId)
    token("bos_token_id", *config.bosTokenId);
  if (config.eosTokenIds.size() > 4096)
    report("eos_token_id", "expected at most 4096 ids, found {}", config.eosTokenIds.size());
  for (int64_t id : config.eosTokenIds)
    token("eos_token_id", id);
  auto within = [&](const std::string &key, const auto &value, auto low, auto high) {
    if (value && !(*value >= low && *value <= high))
      report("generation_config." + key, "expected {} to {}, found {}", low, high, *value);
  };
  eachSamplingDefault(config.sampling, within, within);
  if (config.sampling.mirostat == 1)
    report("generation_config.mirostat", "expected 0 or 2, the version of Mirostat that Lathe has, found 1");
  if (!error) {
    int64_t parameters = countParameters(config);
    if (parameters > kMaxParameters)
      report("num_hidden_layers", "the sizes make {} parameters, the limit is {}", parameters, kMaxParameters);
  }
  if (error)
    return std::unexpected(Error{ExitCode::badInput, std::move(*error)});
  return {};
}

} // namespace

Result<void> checkConfig(const ModelConfig &config) { return Checker(config).check(); }

std::vector<WeightSpec> listWeights(const ModelConfig &config) {
  std::vector<WeightSpec> weights;
  auto norm = [&](const std::string &name, const std::string &type, int64_t width) {
    weights.push_back({name + ".weight", {width}});
    if (type == "layer")
      weights.push_back({name + ".bias", {width}});
  };
  auto linear = [&](const std::string &name, int64_t out, int64_t in, bool bias) {
    weights.push_back({name + ".weight", {out, in}});
    if (bias)
      weights.push_back({name + ".bias", {out}});
  };
  int64_t hidden = config.hiddenSize, inner = config.intermediateSize;
  int64_t queries = config.numAttentionHeads * config.headDim, keys = config.numKeyValueHeads * config.headDim;
  weights.push_back({"model.embed_tokens.weight", {config.vocabSize, hidden}});
  for (int64_t layer = 0; layer < config.numHiddenLayers; ++layer) {
    std::string prefix = fmt::format("model.layers.{}.", layer), attention = prefix + "self_attn.",
                mlp = prefix + "mlp.";
    norm(prefix + "input_layernorm", config.normType, hidden);
    linear(attention + "q_proj", queries, hidden, config.attentionBias.q);
    linear(attention + "k_proj", keys, hidden, config.attentionBias.k);
    linear(attention + "v_proj", keys, hidden, config.attentionBias.v);
    if (config.qkNorm != "none") {
      norm(attention + "q_norm", config.qkNorm, config.headDim);
      norm(attention + "k_norm", config.qkNorm, config.headDim);
    }
    linear(attention + "o_proj", hidden, queries, config.attentionBias.o);
    norm(prefix + "post_attention_layernorm", config.normType, hidden);
    linear(mlp + "gate_proj", inner, hidden, config.mlpBias.gate);
    linear(mlp + "up_proj", inner, hidden, config.mlpBias.up);
    linear(mlp + "down_proj", hidden, inner, config.mlpBias.down);
  }
  norm("model.norm", config.normType, hidden);
  if (!config.tieWordEmbeddings)
    weights.push_back({"lm_head.weight", {config.vocabSize, hidden}});
  if (config.headBias)
    weights.push_back({"lm_head.bias", {config.vocabSize}});
  return weights;
}

int64_t countParameters(const ModelConfig &config) {
  int64_t total = 0;
  for (const WeightSpec &weight : listWeights(config)) {
    int64_t product = 1;
    for (int64_t extent : weight.shape)
      product *= extent;
    total += product;
  }
  return total;
}

} // namespace lathe
