//===- OscConfig.cpp - a .cfg of OSC-Transformers -> ModelConfig ----------===//
//
// The components and their parameters are those of github.com/di-osc/osc-transformers; a component's section becomes
// the keys of a ModelConfig. "LayerNorm" is not one of theirs, but their examples register it.
//
//===----------------------------------------------------------------------===//
#include "compiler/ConfigDiagnostics.h"
#include "compiler/importers/Importers.h"
#include "compiler/importers/Json.h"
#include "compiler/importers/OscSyntax.h"
#include "runtime/support/MappedFile.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace lathe {
namespace {

using nlohmann::json;

// A .cfg says no context length: TransformerDecoder.setup(max_model_len=4096).
constexpr int64_t kDefaultPositions = 4096;

constexpr std::array<std::string_view, 2> kArchitectures{"TransformerDecoder", "AutoRegressiveTransformer"};
constexpr std::array<std::string_view, 1> kAttentions{"PagedAttention"}, kEmbeddings{"VocabEmbedding"},
    kHeads{"LMHead"};
constexpr std::array<std::string_view, 3> kFeedforwards{"SwiGLU", "SwiGLU.torch", "SwiGLU.triton"};
constexpr std::array<std::string_view, 4> kNormalizations{"RMSNorm", "RMSNorm.torch", "RMSNorm.triton", "LayerNorm"};

constexpr std::array<std::string_view, 3> kModelKeys{"@architecture", "num_layers", "prenorm"};
constexpr std::array<std::string_view, 14> kAttentionKeys{
    "@attention", "in_dim", "num_heads",    "head_dim", "num_query_groups", "q_bias",    "k_bias",
    "v_bias",     "o_bias", "use_qkv_proj", "qkv_bias", "apply_rope",       "rope_base", "scale"};
constexpr std::array<std::string_view, 3> kNormKeys{"@normalization", "in_dim", "eps"};
constexpr std::array<std::string_view, 3> kEmbeddingKeys{"@embedding", "num_embeddings", "embedding_dim"};
constexpr std::array<std::string_view, 6> kFeedforwardKeys{"@feedforward", "in_dim",    "hidden_dim",
                                                           "up_bias",      "gate_bias", "down_bias"};
constexpr std::array<std::string_view, 4> kHeadKeys{"@head", "in_dim", "out_dim", "bias"};

constexpr std::array<std::string_view, 9> kSections{"model",
                                                    "model.attention",
                                                    "model.attention.q_norm",
                                                    "model.attention.k_norm",
                                                    "model.embedding",
                                                    "model.feedforward",
                                                    "model.head",
                                                    "model.norm",
                                                    "model.sampler"};

struct Norm {
  std::string type;
  int64_t width = 0;
  double eps = 0;
};

class Translator {
public:
  explicit Translator(const OscFile &file) : file(file) {}
  Result<ModelConfig> translate();

private:
  void keep(std::string message) {
    if (!error)
      error = std::move(message);
  }
  std::string at(size_t line, size_t column) const { return fmt::format("{}:{}:{}", file.path(), line, column); }
  template <typename... Args>
  void report(std::string_view section, const std::string &key, fmt::format_string<Args...> format, Args &&...args) {
    const OscSection *found = file.section(section);
    auto value = found ? found->values.find(key) : decltype(found->values.find(key))();
    bool written = found && value != found->values.end();
    keep(fmt::format("{}: [{}] {}: {}",
                     written ? at(value->second.line, value->second.valueColumn) : at(found ? found->line : 1, 1),
                     section, key, fmt::format(format, std::forward<Args>(args)...)));
  }
  void missing(std::string_view section, const std::string &key, std::string_view what) {
    const OscSection *found = file.section(section);
    keep(fmt::format("{}: [{}] missing key '{}': expected {}", at(found ? found->line : 1, 1), section, key, what));
  }

  /// Null (and an error when `required`) when the section is not there; otherwise checks its keys and which component
  /// it names.
  const OscSection *component(std::string_view name, std::span<const std::string_view> keys,
                              std::span<const std::string_view> known, bool required);
  const json *find(const OscSection &section, const std::string &key, const std::string &canonical);
  int64_t integer(const OscSection &section, const std::string &key, const std::string &canonical = {},
                  std::optional<int64_t> fallback = {});
  double number(const OscSection &section, const std::string &key, const std::string &canonical, double fallback);
  bool boolean(const OscSection &section, const std::string &key, std::optional<bool> fallback,
               const std::string &canonical = {});
  std::optional<Norm> norm(std::string_view section, bool required);
  void sameWidth(const OscSection &section, const std::string &key, int64_t width, std::string_view of);

  void attention();
  void others();

  const OscFile &file;
  ModelConfig config;
  std::optional<std::string> error;
};

const OscSection *Translator::component(std::string_view name, std::span<const std::string_view> keys,
                                        std::span<const std::string_view> known, bool required) {
  const OscSection *section = file.section(name);
  if (!section) {
    if (!required)
      return nullptr;
    std::vector<std::string_view> names;
    for (const OscSection &other : file.sections())
      if (std::find(kSections.begin(), kSections.end(), other.name) == kSections.end())
        names.push_back(other.name);
    std::string_view near = nearestName(name, names);
    keep(fmt::format("{}: missing section [{}]{}", at(1, 1), name,
                     near.empty() ? "" : fmt::format("; did you mean it by [{}]?", printable(near))));
    return nullptr;
  }
  const std::string kind(keys.front());
  for (const auto &[key, value] : section->values)
    if (std::find(keys.begin(), keys.end(), key) == keys.end())
      keep(fmt::format("{}: [{}] unknown key {}{}", at(value.line, value.keyColumn), name, inQuotes(key),
                       suggestion(key, keys)));
  auto registered = section->values.find(kind);
  if (registered == section->values.end()) {
    missing(name, kind, "one of " + listed(known));
    return section;
  }
  const json &value = registered->second.value;
  if (!value.is_string() || std::find(known.begin(), known.end(), value.get_ref<const std::string &>()) == known.end())
    report(name, kind, "{} is not registered{}", describeJson(value),
           suggestion(value.is_string() ? value.get_ref<const std::string &>() : "", known));
  return section;
}

const json *Translator::find(const OscSection &section, const std::string &key, const std::string &canonical) {
  auto value = section.values.find(key);
  if (value == section.values.end() || value->second.value.is_null())
    return nullptr;
  if (!canonical.empty())
    config.where[canonical] =
        fmt::format("{}:{}:{}", baseName(file.path()), value->second.line, value->second.valueColumn);
  return &value->second.value;
}

int64_t Translator::integer(const OscSection &section, const std::string &key, const std::string &canonical,
                            std::optional<int64_t> fallback) {
  const json *value = find(section, key, canonical);
  if (!value) {
    if (!fallback)
      missing(section.name, key, "an integer");
    return fallback.value_or(0);
  }
  if (auto found = oscInteger(*value))
    return *found;
  report(section.name, key, "expected an integer, found {}", describeJson(*value));
  return 0;
}

double Translator::number(const OscSection &section, const std::string &key, const std::string &canonical,
                          double fallback) {
  const json *value = find(section, key, canonical);
  if (!value)
    return fallback;
  if (auto found = oscNumber(*value))
    return *found;
  report(section.name, key, "expected a number, found {}", describeJson(*value));
  return fallback;
}

bool Translator::boolean(const OscSection &section, const std::string &key, std::optional<bool> fallback,
                         const std::string &canonical) {
  const json *value = find(section, key, canonical);
  if (!value) {
    if (!fallback)
      missing(section.name, key, "true or false");
    return fallback.value_or(false);
  }
  if (auto found = oscBoolean(*value))
    return *found;
  report(section.name, key, "expected true or false, found {}", describeJson(*value));
  return false;
}

std::optional<Norm> Translator::norm(std::string_view name, bool required) {
  const OscSection *section = component(name, kNormKeys, kNormalizations, required);
  if (!section || error)
    return std::nullopt;
  Norm result;
  bool layer = section->values.at("@normalization").value == "LayerNorm";
  result.type = layer ? "layer" : "rms";
  result.width = integer(*section, "in_dim");
  result.eps = number(*section, "eps", name == "model.norm" ? layer ? "layer_norm_eps" : "rms_norm_eps" : "qk_norm_eps",
                      layer ? 1e-5 : 1e-6);
  return result;
}

void Translator::sameWidth(const OscSection &section, const std::string &key, int64_t width, std::string_view of) {
  if (int64_t found = integer(section, key); found != width && !error)
    report(section.name, key, "expected {}, as {} is, found {}", width, of, found);
}

void Translator::attention() {
  const OscSection *section = component("model.attention", kAttentionKeys, kAttentions, true);
  if (!section || error)
    return;
  sameWidth(*section, "in_dim", config.hiddenSize, "embedding_dim of [model.embedding]");
  config.numAttentionHeads = integer(*section, "num_heads", "num_attention_heads");
  int64_t derived = config.numAttentionHeads > 0 ? config.hiddenSize / config.numAttentionHeads : 0;
  config.headDim = integer(*section, "head_dim", "head_dim", derived);
  config.numKeyValueHeads = integer(*section, "num_query_groups", "num_key_value_heads", config.numAttentionHeads);
  AttentionBias &bias = config.attentionBias;
  if (boolean(*section, "use_qkv_proj", false))
    bias.q = bias.k = bias.v = boolean(*section, "qkv_bias", false, "attention_bias");
  else
    bias = {boolean(*section, "q_bias", false, "attention_bias"), boolean(*section, "k_bias", false),
            boolean(*section, "v_bias", false), false};
  bias.o = boolean(*section, "o_bias", false);
  double base = number(*section, "rope_base", "rope_parameters.rope_theta", 10000);
  if (boolean(*section, "apply_rope", true, "rope_parameters.rope_type"))
    config.rope.theta = base;
  else
    config.rope.type = "none";
  double plain = 1 / std::sqrt(static_cast<double>(std::max<int64_t>(config.headDim, 1)));
  if (double scale = number(*section, "scale", "", plain); scale != 0 && std::abs(scale - plain) > 1e-6 * plain)
    report(section->name, "scale", "{} is not supported: expected 1 / sqrt(head_dim) = {}", scale, plain);

  auto query = norm("model.attention.q_norm", false), key = norm("model.attention.k_norm", false);
  if (query.has_value() != key.has_value())
    keep(fmt::format("{}: [model.attention] has only one of [model.attention.q_norm] and [model.attention.k_norm]: "
                     "give both or neither",
                     at(section->line, 1)));
  if (!query || !key)
    return;
  for (const auto &[name, one] :
       {std::pair("model.attention.q_norm", *query), std::pair("model.attention.k_norm", *key)})
    if (one.width != config.headDim)
      report(name, "in_dim", "expected head_dim = {}, found {}", config.headDim, one.width);
  if (query->type != key->type || query->eps != key->eps)
    report("model.attention.k_norm", "@normalization",
           "differs from [model.attention.q_norm] in kind or eps, which is not supported");
  config.qkNorm = query->type;
  config.qkNormEps = query->eps;
}

void Translator::others() {
  if (const OscSection *section = component("model.feedforward", kFeedforwardKeys, kFeedforwards, true);
      section && !error) {
    sameWidth(*section, "in_dim", config.hiddenSize, "embedding_dim of [model.embedding]");
    config.intermediateSize = integer(*section, "hidden_dim", "intermediate_size");
    config.mlpBias = {boolean(*section, "gate_bias", false, "mlp_bias"), boolean(*section, "up_bias", false),
                      boolean(*section, "down_bias", false)};
  }
  if (auto last = norm("model.norm", true)) {
    if (last->width != config.hiddenSize)
      report("model.norm", "in_dim", "expected {}, as embedding_dim of [model.embedding] is, found {}",
             config.hiddenSize, last->width);
    config.normType = last->type;
    config.normEps = last->eps;
  }
  if (const OscSection *section = component("model.head", kHeadKeys, kHeads, true); section && !error) {
    sameWidth(*section, "in_dim", config.hiddenSize, "embedding_dim of [model.embedding]");
    sameWidth(*section, "out_dim", config.vocabSize, "num_embeddings of [model.embedding]");
    config.headBias = boolean(*section, "bias", std::nullopt, "head_bias");
  }
}

Result<ModelConfig> Translator::translate() {
  config.where[""] = baseName(file.path()) + ":1:1";
  config.name = printable(baseName(file.path()));
  if (config.name.ends_with(".cfg"))
    config.name.resize(config.name.size() - 4);
  config.modelType = "osc-transformers";
  config.maxPositionEmbeddings = kDefaultPositions;
  for (const OscSection &section : file.sections())
    if (section.name.starts_with("model.") && !section.name.starts_with("model.sampler.") &&
        std::find(kSections.begin(), kSections.end(), section.name) == kSections.end())
      keep(fmt::format("{}: unknown section [{}]{}", at(section.line, 1), printable(section.name.substr(0, 80)),
                       suggestion(section.name, kSections)));
  if (const OscSection *section = component("model", kModelKeys, kArchitectures, true); section && !error) {
    config.numHiddenLayers = integer(*section, "num_layers", "num_hidden_layers");
    if (!boolean(*section, "prenorm", true) && !error)
      report("model", "prenorm", "false is not supported: expected norms before attention and feed-forward");
  }
  if (const OscSection *section = component("model.embedding", kEmbeddingKeys, kEmbeddings, true); section && !error) {
    config.vocabSize = integer(*section, "num_embeddings", "vocab_size");
    config.hiddenSize = integer(*section, "embedding_dim", "hidden_size");
  }
  attention();
  others();
  if (error)
    return fail(ExitCode::badInput, "{}", *error);
  return std::move(config);
}

} // namespace

Result<ModelConfig> importOscConfig(std::string_view text, const std::string &path) {
  auto file = OscFile::parse(text, path);
  if (!file)
    return propagate(file);
  return Translator(*file).translate();
}

} // namespace lathe
