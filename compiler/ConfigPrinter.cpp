#include "compiler/Config.h"
#include "compiler/ConfigDiagnostics.h"

namespace lathe {
namespace {

std::string tomlString(std::string_view text) {
  std::string result = "\"";
  for (char c : printable(text)) {
    if (c == '"' || c == '\\')
      result += '\\';
    result += c;
  }
  return result + '"';
}

// The shortest digits that read back to the same double, always with a point or an exponent.
std::string tomlNumber(double value) {
  std::string digits = fmt::format("{}", value);
  return digits.find_first_of(".en") == std::string::npos ? digits + ".0" : digits;
}

std::string tomlList(const std::vector<std::string> &items) {
  std::string result;
  for (const std::string &item : items)
    result += (result.empty() ? "" : ", ") + tomlString(item);
  return "[" + result + "]";
}

// true, or the list of those that have a bias.
std::string biasList(std::initializer_list<std::pair<const char *, bool>> linears) {
  std::vector<std::string> names;
  for (const auto &[name, has] : linears)
    if (has)
      names.push_back(name);
  return names.empty() ? "false" : names.size() == linears.size() ? "true" : tomlList(names);
}

} // namespace

std::string printConfig(const ModelConfig &config) {
  std::string text;
  auto line = [&](std::string_view key, const std::string &value) { text += fmt::format("{} = {}\n", key, value); };
  auto integer = [&](std::string_view key, int64_t value) { text += fmt::format("{} = {}\n", key, value); };

  if (!config.name.empty())
    line("name", tomlString(config.name));
  if (!config.modelType.empty())
    line("model_type", tomlString(config.modelType));
  integer("vocab_size", config.vocabSize);
  integer("hidden_size", config.hiddenSize);
  integer("intermediate_size", config.intermediateSize);
  integer("num_hidden_layers", config.numHiddenLayers);
  integer("num_attention_heads", config.numAttentionHeads);
  integer("num_key_value_heads", config.numKeyValueHeads);
  integer("head_dim", config.headDim);
  integer("max_position_embeddings", config.maxPositionEmbeddings);
  line("hidden_act", tomlString(config.hiddenAct));
  line("norm_type", tomlString(config.normType));
  line(config.normType == "layer" ? "layer_norm_eps" : "rms_norm_eps", tomlNumber(config.normEps));
  line("qk_norm", tomlString(config.qkNorm));
  if (config.qkNorm != "none")
    line("qk_norm_eps", tomlNumber(config.qkNormEps));
  line("attention_bias", biasList({{"q", config.attentionBias.q},
                                   {"k", config.attentionBias.k},
                                   {"v", config.attentionBias.v},
                                   {"o", config.attentionBias.o}}));
  line("mlp_bias", biasList({{"gate", config.mlpBias.gate}, {"up", config.mlpBias.up}, {"down", config.mlpBias.down}}));
  line("tie_word_embeddings", config.tieWordEmbeddings ? "true" : "false");
  if (config.headBias)
    line("head_bias", "true");
  if (config.slidingWindow)
    integer("sliding_window", *config.slidingWindow);
  if (!config.layerTypes.empty())
    line("layer_types", tomlList(config.layerTypes));
  if (config.bosTokenId)
    integer("bos_token_id", *config.bosTokenId);
  if (config.eosTokenIds.size() == 1)
    integer("eos_token_id", config.eosTokenIds.front());
  else if (!config.eosTokenIds.empty())
    line("eos_token_id", fmt::format("[{}]", fmt::join(config.eosTokenIds, ", ")));

  if (config.sampling != SamplingDefaults{.source = config.sampling.source}) {
    text += "\n[generation_config]\n";
    eachSamplingDefault(
        config.sampling,
        [&](std::string_view key, const std::optional<double> &value, auto...) {
          if (value)
            line(key, tomlNumber(*value));
        },
        [&](std::string_view key, const std::optional<int64_t> &value, auto...) {
          if (value)
            integer(key, *value);
        });
  }

  const RopeConfig &rope = config.rope;
  text += "\n[rope_parameters]\n";
  line("rope_type", tomlString(rope.type));
  if (rope.type == "none")
    return text;
  line("rope_layout", tomlString(rope.layout));
  line("rope_theta", tomlNumber(rope.theta));
  if (rope.type != "default")
    line("factor", tomlNumber(rope.factor));
  if (rope.type == "llama3") {
    line("low_freq_factor", tomlNumber(rope.lowFreqFactor));
    line("high_freq_factor", tomlNumber(rope.highFreqFactor));
  }
  if (rope.type == "llama3" || rope.type == "yarn")
    integer("original_max_position_embeddings", rope.originalMaxPositionEmbeddings);
  if (rope.type == "yarn") {
    line("beta_fast", tomlNumber(rope.betaFast));
    line("beta_slow", tomlNumber(rope.betaSlow));
    if (rope.attentionFactor)
      line("attention_factor", tomlNumber(*rope.attentionFactor));
    if (rope.mscale)
      line("mscale", tomlNumber(*rope.mscale));
    if (rope.mscaleAllDim)
      line("mscale_all_dim", tomlNumber(*rope.mscaleAllDim));
    line("truncate", rope.truncate ? "true" : "false");
  }
  return text;
}

} // namespace lathe
