//===- ConfigReader.cpp - the canonical TOML -> ModelConfig ---------------===//
//
// Every problem is collected with its place; the one nearest to the top of the file is
// reported, a missing key only when nothing that is written is wrong (a misspelt key is
// also a missing one, and the misspelling is what the user wants to hear of).
//
//===----------------------------------------------------------------------===//
#include "compiler/Config.h"
#include "compiler/ConfigDiagnostics.h"
#include "compiler/TomlFile.h"
#include "runtime/support/MappedFile.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <tuple>

namespace lathe {
namespace {

constexpr size_t kMaxBytes = size_t{1} << 18;

constexpr std::array<std::string_view, 24> kKeys{"name",
                                                 "model_type",
                                                 "vocab_size",
                                                 "hidden_size",
                                                 "intermediate_size",
                                                 "num_hidden_layers",
                                                 "num_attention_heads",
                                                 "num_key_value_heads",
                                                 "head_dim",
                                                 "max_position_embeddings",
                                                 "hidden_act",
                                                 "norm_type",
                                                 "rms_norm_eps",
                                                 "layer_norm_eps",
                                                 "qk_norm",
                                                 "qk_norm_eps",
                                                 "attention_bias",
                                                 "mlp_bias",
                                                 "tie_word_embeddings",
                                                 "head_bias",
                                                 "sliding_window",
                                                 "layer_types",
                                                 "bos_token_id",
                                                 "eos_token_id"};
constexpr std::array<std::string_view, 2> kTables{"generation_config", "rope_parameters"};
constexpr std::array<std::string_view, 9> kGenerationKeys{"temperature", "top_k",        "top_p",
                                                          "min_p",       "typical_p",    "repetition_penalty",
                                                          "mirostat",    "mirostat_tau", "mirostat_eta"};
constexpr std::array<std::string_view, 13> kRopeKeys{"rope_type",
                                                     "rope_layout",
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
                                                     "truncate"};

/// The keys that mean something beside rope_type.
std::vector<std::string_view> ropeKeysOf(std::string_view type) {
  if (type == "none")
    return {"rope_type"};
  std::vector<std::string_view> keys{"rope_type", "rope_layout", "rope_theta"};
  if (type == "linear" || type == "llama3" || type == "yarn")
    keys.push_back("factor");
  if (type == "llama3")
    keys.insert(keys.end(), {"low_freq_factor", "high_freq_factor", "original_max_position_embeddings"});
  if (type == "yarn")
    keys.insert(keys.end(), {"original_max_position_embeddings", "beta_fast", "beta_slow", "attention_factor", "mscale",
                             "mscale_all_dim", "truncate"});
  return keys;
}

class Reader {
public:
  explicit Reader(const std::string &file) : file(file) {}
  Result<ModelConfig> read(std::string_view text);

private:
  struct Problem {
    bool missing;
    toml::source_position place;
    std::string message;
  };
  /// A table of the file and the path of its keys.
  struct Scope {
    const toml::table &table;
    std::string prefix;
    toml::source_position place;
  };

  void wrong(toml::source_position place, std::string message) {
    problems.push_back({false, place, std::move(message)});
  }
  void expected(const Scope &scope, std::string_view key, std::string_view what, const toml::node &node) {
    wrong(node.source().begin, fmt::format("{}{}: expected {}, found {}", scope.prefix, key, what, describe(node)));
  }
  std::string at(toml::source_position place) const { return fmt::format("{}:{}:{}", file, place.line, place.column); }

  /// Null when absent; a required key that is absent is a problem.
  const toml::node *find(const Scope &scope, std::string_view key, std::string_view what, bool required) {
    const toml::node *node = scope.table.get(key);
    if (node)
      config.where[scope.prefix + std::string(key)] = at(node->source().begin);
    else if (required)
      problems.push_back({true, scope.place, fmt::format("missing key '{}{}': expected {}", scope.prefix, key, what)});
    return node;
  }
  void integer(const Scope &scope, std::string_view key, int64_t &value, bool required = true) {
    constexpr std::string_view what = "an integer";
    if (const toml::node *node = find(scope, key, what, required)) {
      if (auto found = node->value_exact<int64_t>())
        value = *found;
      else
        expected(scope, key, what, *node);
    }
  }
  void number(const Scope &scope, std::string_view key, double &value, bool required) {
    constexpr std::string_view what = "a number";
    if (const toml::node *node = find(scope, key, what, required)) {
      if (auto found = node->value_exact<double>(); found && std::isfinite(*found))
        value = *found;
      else if (auto whole = node->value_exact<int64_t>())
        value = static_cast<double>(*whole);
      else
        expected(scope, key, what, *node);
    }
  }
  void text(const Scope &scope, std::string_view key, std::string &value) {
    constexpr std::string_view what = "a string";
    if (const toml::node *node = find(scope, key, what, false)) {
      if (auto found = node->value_exact<std::string>())
        value = *found;
      else
        expected(scope, key, what, *node);
    }
  }
  void boolean(const Scope &scope, std::string_view key, bool &value) {
    if (const toml::node *node = find(scope, key, "true or false", false)) {
      if (auto found = node->value_exact<bool>())
        value = *found;
      else
        expected(scope, key, "true or false", *node);
    }
  }
  template <typename T> void optional(const Scope &scope, std::string_view key, std::optional<T> &value) {
    if (!scope.table.contains(key))
      return;
    T found{};
    if constexpr (std::is_same_v<T, double>)
      number(scope, key, found, false);
    else
      integer(scope, key, found, false);
    value = found;
  }
  void biases(const Scope &scope, std::string_view key, std::span<const std::pair<std::string_view, bool *>> linears);
  void tokenIds(const Scope &scope);
  void layerTypes(const Scope &scope);
  void knownKeys(const Scope &scope, std::span<const std::string_view> keys, std::span<const std::string_view> tables);
  void root(const toml::table &table);
  void rope(const toml::table &table);
  void norms(const Scope &scope);
  void sampling(const toml::table &table);

  const std::string &file;
  ModelConfig config;
  std::vector<Problem> problems;
};

void Reader::knownKeys(const Scope &scope, std::span<const std::string_view> keys,
                       std::span<const std::string_view> tables) {
  std::vector<std::string_view> known(keys.begin(), keys.end());
  known.insert(known.end(), tables.begin(), tables.end());
  for (const auto &[key, node] : scope.table) {
    if (std::find(known.begin(), known.end(), key.str()) != known.end())
      continue;
    std::string hint = suggestion(key.str(), known);
    // rope_theta at the top is what older Hugging Face configs have.
    if (scope.prefix.empty() && std::find(kRopeKeys.begin(), kRopeKeys.end(), key.str()) != kRopeKeys.end())
      hint = ": it belongs into the table [rope_parameters]";
    wrong(key.source().begin,
          fmt::format("unknown key '{}{}'{}", scope.prefix, printable(key.str().substr(0, 80)), hint));
  }
}

void Reader::biases(const Scope &scope, std::string_view key,
                    std::span<const std::pair<std::string_view, bool *>> linears) {
  std::vector<std::string_view> names;
  for (const auto &[name, flag] : linears)
    names.push_back(name);
  std::string what = fmt::format("true, false, or a list of {}", listed(names));
  const toml::node *node = find(scope, key, what, false);
  if (!node)
    return;
  if (auto all = node->value_exact<bool>()) {
    for (const auto &[name, flag] : linears)
      *flag = *all;
    return;
  }
  const toml::array *list = node->as_array();
  if (!list)
    return expected(scope, key, what, *node);
  for (const toml::node &item : *list) {
    auto name = item.value_exact<std::string_view>();
    auto linear =
        std::find_if(linears.begin(), linears.end(), [&](const auto &entry) { return name && entry.first == *name; });
    if (linear == linears.end())
      expected(scope, key, what, item);
    else if (*linear->second)
      wrong(item.source().begin, fmt::format("{}{}: names {} twice", scope.prefix, key, inQuotes(*name)));
    else
      *linear->second = true;
  }
}

void Reader::tokenIds(const Scope &scope) {
  constexpr std::string_view what = "an integer or a list of integers";
  const toml::node *node = find(scope, "eos_token_id", what, false);
  if (!node)
    return;
  if (auto id = node->value_exact<int64_t>()) {
    config.eosTokenIds = {*id};
    return;
  }
  const toml::array *list = node->as_array();
  if (!list)
    return expected(scope, "eos_token_id", what, *node);
  for (const toml::node &item : *list) {
    if (auto id = item.value_exact<int64_t>())
      config.eosTokenIds.push_back(*id);
    else
      expected(scope, "eos_token_id", what, item);
  }
}

void Reader::layerTypes(const Scope &scope) {
  constexpr std::string_view what = "a list of \"full_attention\" and \"sliding_attention\", one a layer";
  const toml::node *node = find(scope, "layer_types", what, false);
  if (!node)
    return;
  const toml::array *list = node->as_array();
  if (!list)
    return expected(scope, "layer_types", what, *node);
  for (const toml::node &item : *list) {
    if (auto type = item.value_exact<std::string>())
      config.layerTypes.push_back(*type);
    else
      expected(scope, "layer_types", what, item);
  }
}

void Reader::norms(const Scope &scope) {
  text(scope, "norm_type", config.normType);
  text(scope, "qk_norm", config.qkNorm);
  bool layer = config.normType == "layer";
  std::string_view own = layer ? "layer_norm_eps" : "rms_norm_eps", other = layer ? "rms_norm_eps" : "layer_norm_eps";
  if (const toml::node *node = scope.table.get(other))
    wrong(node->source().begin, fmt::format("{}: contradicts norm_type = \"{}\", whose epsilon is {}", other,
                                            printable(config.normType), own));
  number(scope, own, config.normEps, !scope.table.contains(other));
  if (config.qkNorm != "none") {
    config.qkNormEps = config.normEps;
    number(scope, "qk_norm_eps", config.qkNormEps, false);
  } else if (const toml::node *node = scope.table.get("qk_norm_eps")) {
    wrong(node->source().begin,
          "qk_norm_eps: has no meaning with qk_norm = \"none\": remove it, or choose rms or layer");
  }
}

void Reader::root(const toml::table &table) {
  Scope scope{table, "", {1, 1}};
  knownKeys(scope, kKeys, kTables);
  text(scope, "name", config.name);
  text(scope, "model_type", config.modelType);
  integer(scope, "vocab_size", config.vocabSize);
  integer(scope, "hidden_size", config.hiddenSize);
  integer(scope, "intermediate_size", config.intermediateSize);
  integer(scope, "num_hidden_layers", config.numHiddenLayers);
  integer(scope, "num_attention_heads", config.numAttentionHeads);
  config.numKeyValueHeads = config.numAttentionHeads;
  integer(scope, "num_key_value_heads", config.numKeyValueHeads, false);
  bool divides = config.numAttentionHeads > 0 && config.hiddenSize % config.numAttentionHeads == 0;
  config.headDim = divides ? config.hiddenSize / config.numAttentionHeads : 0;
  integer(scope, "head_dim", config.headDim, !divides);
  integer(scope, "max_position_embeddings", config.maxPositionEmbeddings);
  text(scope, "hidden_act", config.hiddenAct);
  norms(scope);
  AttentionBias &attention = config.attentionBias;
  biases(scope, "attention_bias",
         std::array<std::pair<std::string_view, bool *>, 4>{
             {{"q", &attention.q}, {"k", &attention.k}, {"v", &attention.v}, {"o", &attention.o}}});
  MlpBias &mlp = config.mlpBias;
  biases(
      scope, "mlp_bias",
      std::array<std::pair<std::string_view, bool *>, 3>{{{"gate", &mlp.gate}, {"up", &mlp.up}, {"down", &mlp.down}}});
  boolean(scope, "tie_word_embeddings", config.tieWordEmbeddings);
  boolean(scope, "head_bias", config.headBias);
  optional(scope, "sliding_window", config.slidingWindow);
  layerTypes(scope);
  optional(scope, "bos_token_id", config.bosTokenId);
  tokenIds(scope);
  if (const toml::node *node = find(scope, "generation_config", "a table", false)) {
    if (const toml::table *inner = node->as_table())
      sampling(*inner);
    else
      expected(scope, "generation_config", "a table", *node);
  }
  constexpr std::string_view what = "a table with rope_type and rope_theta";
  if (const toml::node *node = find(scope, "rope_parameters", what, true)) {
    if (const toml::table *inner = node->as_table())
      rope(*inner);
    else
      expected(scope, "rope_parameters", what, *node);
  }
}

void Reader::sampling(const toml::table &table) {
  Scope scope{table, "generation_config.", table.source().begin};
  knownKeys(scope, kGenerationKeys, {});
  auto read = [&](std::string_view key, auto &value, auto...) { optional(scope, key, value); };
  eachSamplingDefault(config.sampling, read, read);
  if (!table.empty())
    config.sampling.source = baseName(file);
}

void Reader::rope(const toml::table &table) {
  Scope scope{table, "rope_parameters.", table.source().begin};
  knownKeys(scope, kRopeKeys, {});
  RopeConfig &rope = config.rope;
  text(scope, "rope_type", rope.type);
  std::vector<std::string_view> meant = ropeKeysOf(rope.type);
  for (const auto &[key, node] : table) {
    bool known = std::find(kRopeKeys.begin(), kRopeKeys.end(), key.str()) != kRopeKeys.end();
    if (known && std::find(meant.begin(), meant.end(), key.str()) == meant.end())
      wrong(key.source().begin,
            fmt::format("rope_parameters.{}: has no meaning with rope_type = {}: remove it; keys that do: {}",
                        key.str(), inQuotes(rope.type), listed(meant)));
  }
  auto means = [&](std::string_view key) { return std::find(meant.begin(), meant.end(), key) != meant.end(); };
  if (!means("rope_theta"))
    return;
  bool llama3 = rope.type == "llama3";
  text(scope, "rope_layout", rope.layout);
  number(scope, "rope_theta", rope.theta, true);
  if (means("factor"))
    number(scope, "factor", rope.factor, true);
  if (llama3) {
    number(scope, "low_freq_factor", rope.lowFreqFactor, true);
    number(scope, "high_freq_factor", rope.highFreqFactor, true);
  }
  if (means("original_max_position_embeddings"))
    integer(scope, "original_max_position_embeddings", rope.originalMaxPositionEmbeddings);
  if (rope.type == "yarn") {
    number(scope, "beta_fast", rope.betaFast, false);
    number(scope, "beta_slow", rope.betaSlow, false);
    optional(scope, "attention_factor", rope.attentionFactor);
    optional(scope, "mscale", rope.mscale);
    optional(scope, "mscale_all_dim", rope.mscaleAllDim);
    boolean(scope, "truncate", rope.truncate);
  }
}

Result<ModelConfig> Reader::read(std::string_view text) {
  auto parsed = parseToml(text, file, kMaxBytes);
  if (!parsed)
    return propagate(parsed);
  config.where[""] = at({1, 1});
  root(*parsed);
  auto order = [](const Problem &problem) {
    return std::tuple(problem.missing, problem.place.line, problem.place.column);
  };
  auto first = std::min_element(problems.begin(), problems.end(),
                                [&](const Problem &a, const Problem &b) { return order(a) < order(b); });
  if (first != problems.end())
    return fail(ExitCode::badInput, "{}: {}", at(first->place), first->message);
  if (auto fine = checkConfig(config); !fine)
    return propagate(fine);
  // Messages name the file as the user did; what may get into artifacts has its base name only.
  for (auto &[key, place] : config.where)
    place = baseName(file) + place.substr(file.size());
  return std::move(config);
}

} // namespace

Result<ModelConfig> parseConfig(std::string_view toml, const std::string &file) { return Reader(file).read(toml); }

} // namespace lathe
