//===- HuggingFace.cpp - config.json -> ModelConfig -----------------------===//
//
// Both generations: `rope_parameters` (transformers 5) and `rope_theta` + `rope_scaling` (before).
// A key that is absent has the default of its configuration class (configuration_llama.py and so on).
// Keys that would change the maths in a way Lathe does not know are errors; all others are ignored.
//
//===----------------------------------------------------------------------===//
#include "compiler/ConfigDiagnostics.h"
#include "compiler/importers/HuggingFaceJson.h"
#include "compiler/importers/Importers.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>

namespace lathe {
namespace {

using nlohmann::json;

enum class Window { none, always, whenUsed };

/// What a model_type implies beside its keys.
struct Family {
  std::string_view name;
  int64_t keyValueHeads; ///< default; 0: as many as attention heads
  int64_t headDim;       ///< default; 0: hidden_size / num_attention_heads
  bool qkvBias;          ///< always
  bool attentionBiasKey; ///< attention_bias means q, k, v and o
  bool mlpBiasKey;       ///< mlp_bias means gate, up and down
  std::string_view qkNorm;
  Window window;
};
constexpr std::array<Family, 4> kFamilies{{
    {"llama", 0, 0, false, true, true, "none", Window::none},
    {"mistral", 8, 0, false, false, false, "none", Window::always},
    {"qwen2", 32, 0, true, false, false, "none", Window::whenUsed},
    {"qwen3", 32, 128, false, true, false, "rms", Window::whenUsed},
}};
constexpr int64_t kDefaultWindow = 4096;        // of the classes that have one
constexpr int64_t kDefaultMaxWindowLayers = 28; // Qwen2Config, Qwen3Config

/// Keys of other models that change the maths, with the value (beside null) that does not.
const std::pair<const char *, json> kForeignKeys[] = {
    {"quantization_config", nullptr},
    {"compression_config", nullptr},
    {"partial_rotary_factor", 1.0},
    {"rotary_pct", 1.0},
    {"rope_interleaved", false},
    {"rope_interleave", false},
    {"use_mrope", false},
    {"no_rope_layers", nullptr},
    {"no_rope_layer_interval", nullptr},
    {"attn_logit_softcapping", nullptr},
    {"final_logit_softcapping", nullptr},
    {"logits_soft_cap", nullptr},
    {"query_pre_attn_scalar", nullptr},
    {"attention_multiplier", nullptr},
    {"attention_chunk_size", nullptr},
    {"residual_multiplier", 1.0},
    {"embedding_multiplier", 1.0},
    {"logits_scaling", 1.0},
    {"logit_scale", 1.0},
    {"scale_emb", 1.0},
    {"scale_depth", nullptr},
    {"dim_model_base", nullptr},
    {"clip_qkv", nullptr},
    {"qkv_bias", nullptr},
    {"use_qk_norm", false},
    {"qk_layernorm", false},
    {"hidden_activation", nullptr},
    {"num_experts", 0},
    {"num_local_experts", 0},
    {"n_routed_experts", 0},
    {"alibi", false},
    {"use_alibi", false},
    {"use_parallel_residual", false},
    {"parallel_attn", false},
    {"is_encoder_decoder", false},
    {"add_cross_attention", false},
};

constexpr std::array<std::string_view, 15> kRopeKeys{"rope_type",
                                                     "type",
                                                     "rope_theta",
                                                     "factor",
                                                     "low_freq_factor",
                                                     "high_freq_factor",
                                                     "original_max_position_embeddings",
                                                     "beta_fast",
                                                     "beta_slow",
                                                     "attention_factor",
                                                     "mscale",
                                                     "mscale_all_dim",
                                                     "truncate",
                                                     "partial_rotary_factor",
                                                     "finetuned"};

class Reader : public HuggingFaceJson {
public:
  explicit Reader(HuggingFaceJson file) : HuggingFaceJson(std::move(file)) {}
  Result<void> read();

private:
  void tokenIds();
  void foreignKeys();
  void windows();
  void rope();
  void scaledRope(const std::string &table);

  Family family;
};

void Reader::foreignKeys() {
  for (const auto &[key, neutral] : kForeignKeys)
    if (const json *value = peek(key); value && *value != neutral)
      report(key, describeJson(*value) + " is not supported, and ignoring it would change what the model computes");
  if (const json *value = peek("attention_bias"); value && !family.attentionBiasKey && *value != json(false))
    report("attention_bias", fmt::format("model_type {} has no such key", family.name));
  if (const json *value = peek("mlp_bias"); value && !family.mlpBiasKey && *value != json(false))
    report("mlp_bias", fmt::format("model_type {} has no such key", family.name));
  if (const json *names = peek("architectures"); names && names->is_array())
    for (const json &name : *names)
      if (!name.is_string() || !name.get_ref<const std::string &>().ends_with("ForCausalLM"))
        expected("architectures", "a model with a language head (…ForCausalLM)", name);
}

void Reader::tokenIds() {
  if (const json *value = find("bos_token_id")) {
    int64_t id = 0;
    if (asInteger(*value, id))
      config.bosTokenId = id;
    else
      expected("bos_token_id", "an integer", *value);
  }
  endTokens();
}

void Reader::windows() {
  std::vector<std::string> types;
  if (const json *list = find("layer_types")) {
    if (!list->is_array())
      return expected("layer_types", "a list of strings", *list);
    for (const json &item : *list) {
      if (!item.is_string())
        return expected("layer_types", "a list of strings", item);
      types.push_back(item.get<std::string>());
    }
  }
  std::optional<int64_t> window;
  bool used = family.window == Window::always ||
              (family.window == Window::whenUsed && boolean("use_sliding_window", false, "sliding_window"));
  if (used && !(root.contains("sliding_window") && root["sliding_window"].is_null())) {
    window = kDefaultWindow;
    integer("sliding_window", *window, false);
  }
  if (types.empty() && window && family.window == Window::whenUsed) {
    int64_t first = kDefaultMaxWindowLayers;
    integer("max_window_layers", first, false, "layer_types");
    // The limit keeps a hostile count from becoming an allocation; checkConfig says that it is too large.
    for (int64_t layer = 0; layer < std::min<int64_t>(config.numHiddenLayers, 1 << 16); ++layer)
      types.push_back(layer >= first ? "sliding_attention" : "full_attention");
  }
  auto all = [&](std::string_view kind) {
    return static_cast<int64_t>(types.size()) == config.numHiddenLayers &&
           std::all_of(types.begin(), types.end(), [&](const std::string &type) { return type == kind; });
  };
  if (family.window == Window::always && !types.empty() && !all(window ? "sliding_attention" : "full_attention"))
    return report("layer_types", fmt::format("model_type {} has the same attention in every layer, and {}", family.name,
                                             window ? "slides: expected sliding_attention only"
                                                    : "no window: expected full_attention only"));
  if (all("full_attention")) {
    window.reset();
    types.clear();
  } else if (window && all("sliding_attention")) {
    types.clear();
  }
  config.slidingWindow = window;
  config.layerTypes = std::move(types);
}

void Reader::rope() {
  const char *table = peek("rope_parameters") ? "rope_parameters" : peek("rope_scaling") ? "rope_scaling" : "";
  std::string prefix = table;
  bool known = number("rope_theta", config.rope.theta, "rope_parameters.rope_theta");
  if (!prefix.empty()) {
    if (const json *value = find(prefix, "rope_parameters"); !value->is_object())
      return expected(prefix, "an object", *value);
    known |= number(prefix + ".rope_theta", config.rope.theta, "rope_parameters.rope_theta");
  }
  // 10000 is the default of the first llamas, whose files do not say it; later families always say theirs.
  if (!known && family.name != "llama")
    complain(fmt::format("{}: missing key 'rope_theta': expected a number", place("")));
  if (!prefix.empty())
    scaledRope(prefix);
}

void Reader::scaledRope(const std::string &table) {
  RopeConfig &rope = config.rope;
  for (const auto &[key, value] : peek(table)->items())
    if (std::find(kRopeKeys.begin(), kRopeKeys.end(), key) == kRopeKeys.end())
      report(table, fmt::format("unknown key {}{}", inQuotes(key), suggestion(key, kRopeKeys)));
  std::string own = table + ".", canonical = "rope_parameters.";
  std::string typeKey = own + (peek(own + "rope_type") ? "rope_type" : "type");
  rope.type = string(typeKey, "default", canonical + "rope_type");
  static constexpr std::array<std::string_view, 5> types{"default", "linear", "llama3", "yarn", "none"};
  if (std::find(types.begin(), types.end(), rope.type) == types.end())
    return report(typeKey,
                  fmt::format("rope type {} is not supported{}", inQuotes(rope.type), suggestion(rope.type, types)));
  if (double part = 1; number(own + "partial_rotary_factor", part, "rope_parameters") && part != 1)
    report(own + "partial_rotary_factor", fmt::format("{} is not supported: only whole heads are rotated", part));
  if (rope.type == "default" || rope.type == "none")
    return;

  auto required = [&](const std::string &key, double &value) {
    if (!number(own + key, value, canonical + key))
      complain(fmt::format("{}: missing key '{}{}': rope type {} needs it", place(table), own, key, rope.type));
  };
  auto optional = [&](const std::string &key, std::optional<double> &value) {
    if (double found = 0; number(own + key, found, canonical + key))
      value = found;
  };
  std::string original = "original_max_position_embeddings";
  if (rope.type == "llama3") {
    required("low_freq_factor", rope.lowFreqFactor);
    required("high_freq_factor", rope.highFreqFactor);
    integer(own + original, rope.originalMaxPositionEmbeddings, true, canonical + original);
  } else if (rope.type == "yarn") {
    rope.originalMaxPositionEmbeddings = config.maxPositionEmbeddings;
    integer(own + original, rope.originalMaxPositionEmbeddings, false, canonical + original);
    number(own + "beta_fast", rope.betaFast, canonical + "beta_fast");
    number(own + "beta_slow", rope.betaSlow, canonical + "beta_slow");
    optional("attention_factor", rope.attentionFactor);
    optional("mscale", rope.mscale);
    optional("mscale_all_dim", rope.mscaleAllDim);
    rope.truncate = boolean(own + "truncate", true, canonical + "truncate");
    // modeling_rope_utils.py: without a factor it is the ratio of the two lengths.
    if (!peek(own + "factor") && peek(own + original) && rope.originalMaxPositionEmbeddings > 0) {
      rope.factor =
          static_cast<double>(config.maxPositionEmbeddings) / static_cast<double>(rope.originalMaxPositionEmbeddings);
      return;
    }
  }
  required("factor", rope.factor);
}

Result<void> Reader::read() {
  find("");
  std::string type = string("model_type", "");
  std::vector<std::string_view> names;
  for (const Family &candidate : kFamilies)
    names.push_back(candidate.name);
  auto found =
      std::find_if(kFamilies.begin(), kFamilies.end(), [&](const Family &candidate) { return candidate.name == type; });
  if (!error && found == kFamilies.end()) {
    if (type.empty())
      return fail(ExitCode::badInput, "{}: missing key 'model_type'; supported: {}", place(""), listed(names));
    return fail(ExitCode::badInput, "{}: model_type: {} is not supported; supported: {}", place("model_type"),
                inQuotes(type), listed(names));
  }
  if (error)
    return finish();
  family = *found;
  foreignKeys();
  config.modelType = type;
  integer("vocab_size", config.vocabSize);
  integer("hidden_size", config.hiddenSize);
  integer("intermediate_size", config.intermediateSize);
  integer("num_hidden_layers", config.numHiddenLayers);
  integer("num_attention_heads", config.numAttentionHeads);
  integer("max_position_embeddings", config.maxPositionEmbeddings);
  config.numKeyValueHeads =
      family.keyValueHeads && !root.contains("num_key_value_heads") ? family.keyValueHeads : config.numAttentionHeads;
  integer("num_key_value_heads", config.numKeyValueHeads, false);
  if (family.headDim && !root.contains("head_dim"))
    config.headDim = family.headDim;
  else if (config.numAttentionHeads > 0)
    config.headDim = config.hiddenSize / config.numAttentionHeads;
  integer("head_dim", config.headDim, false);
  config.hiddenAct = string("hidden_act", "silu");
  number("rms_norm_eps", config.normEps);
  config.qkNorm = family.qkNorm;
  if (config.qkNorm != "none")
    config.qkNormEps = config.normEps;
  bool attentionBias = family.attentionBiasKey && boolean("attention_bias", false);
  config.attentionBias.q = config.attentionBias.k = config.attentionBias.v = family.qkvBias || attentionBias;
  config.attentionBias.o = attentionBias;
  config.mlpBias.gate = config.mlpBias.up = config.mlpBias.down = family.mlpBiasKey && boolean("mlp_bias", false);
  config.tieWordEmbeddings = boolean("tie_word_embeddings", false);
  windows();
  rope();
  tokenIds();
  return finish();
}

} // namespace

Result<ModelConfig> importHuggingFaceConfig(const std::string &path) {
  ModelConfig config;
  auto file = HuggingFaceJson::open(path, config);
  if (!file)
    return propagate(file);
  if (auto read = Reader(std::move(*file)).read(); !read)
    return propagate(read);
  std::filesystem::path folder = std::filesystem::path(path).parent_path();
  std::error_code ignored;
  std::string generation = (folder / "generation_config.json").string();
  if (std::filesystem::exists(generation, ignored))
    if (auto read = importGenerationConfig(generation, config); !read)
      return propagate(read);
  std::filesystem::path whole = std::filesystem::weakly_canonical(folder.empty() ? "." : folder, ignored);
  config.name = printable(baseName(whole.string()));
  return config;
}

} // namespace lathe
