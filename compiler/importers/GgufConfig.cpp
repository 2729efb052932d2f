//===- GgufConfig.cpp - GGUF metadata -> ModelConfig ----------------------===//
//
// Keys: github.com/ggml-org/ggml/blob/master/docs/gguf.md and llama.cpp's llama-arch.cpp. A key of the architecture
// that is not known here is an error: it could change the maths.
//
//===----------------------------------------------------------------------===//
#include "compiler/ConfigDiagnostics.h"
#include "compiler/importers/Dequantize.h"
#include "compiler/importers/Importers.h"
#include "compiler/importers/RopeFactors.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace lathe {
namespace {

constexpr std::array<std::string_view, 3> kArchitectures{"llama", "qwen2", "qwen3"};

/// Keys behind "<architecture>." that are read here, or say nothing about the maths.
constexpr std::array<std::string_view, 33> kKeys{"block_count",
                                                 "context_length",
                                                 "embedding_length",
                                                 "feed_forward_length",
                                                 "vocab_size",
                                                 "attention.head_count",
                                                 "attention.head_count_kv",
                                                 "attention.key_length",
                                                 "attention.value_length",
                                                 "attention.layer_norm_rms_epsilon",
                                                 "attention.layer_norm_epsilon",
                                                 "attention.sliding_window",
                                                 "attention.causal",
                                                 "attention.scale",
                                                 "rope.dimension_count",
                                                 "rope.freq_base",
                                                 "rope.scale_linear",
                                                 "rope.scaling.type",
                                                 "rope.scaling.factor",
                                                 "rope.scaling.original_context_length",
                                                 "rope.scaling.finetuned",
                                                 "rope.scaling.attn_factor",
                                                 "rope.scaling.yarn_log_multiplier",
                                                 "rope.scaling.yarn_ext_factor",
                                                 "rope.scaling.yarn_attn_factor",
                                                 "rope.scaling.yarn_beta_fast",
                                                 "rope.scaling.yarn_beta_slow",
                                                 "expert_count",
                                                 "expert_used_count",
                                                 "use_parallel_residual",
                                                 "tensor_data_layout",
                                                 "attention.clamp_kqv",
                                                 "logit_scale"};

class Reader {
public:
  explicit Reader(const GgufFile &file) : file(file) {}
  Result<ModelConfig> read();

private:
  void keep(Error &&failure) {
    if (!error)
      error = std::move(failure);
  }
  template <typename... Args> void report(const std::string &key, fmt::format_string<Args...> format, Args &&...args) {
    keep(
        {ExitCode::badInput, fmt::format("{}: {}", file.place(key), fmt::format(format, std::forward<Args>(args)...))});
  }
  void locate(const std::string &key, const std::string &canonical) {
    if (auto value = file.metadata().find(key); value != file.metadata().end())
      config.where[canonical] = fmt::format("{}:1:{}", baseName(file.path()), value->second.offset + 1);
  }
  std::string own(std::string_view key) const { return fmt::format("{}.{}", architecture, key); }
  /// False when the key is absent. `key` is without the architecture.
  bool integer(std::string_view key, int64_t &value, const std::string &canonical, bool required = false);
  bool number(std::string_view key, double &value, const std::string &canonical = {});
  void neutral(std::string_view key, double value);
  bool hasTensor(std::string_view name) const { return file.tensor(name) != nullptr; }

  void sizes();
  void rope();
  void ropeFactors();
  void tokens();
  void sampling();
  void presentTensors();

  const GgufFile &file;
  std::string architecture;
  ModelConfig config;
  std::optional<Error> error;
};

bool Reader::integer(std::string_view key, int64_t &value, const std::string &canonical, bool required) {
  std::string name = own(key);
  locate(name, canonical);
  auto found = file.metadata().find(name);
  // Some files say a size per layer; Lathe's layers are alike.
  if (found != file.metadata().end() && found->second.type == GgufType::array && ggufBytes(found->second.element) > 0) {
    const GgufValue &array = found->second;
    size_t bytes = ggufBytes(array.element);
    for (uint64_t i = 0; i < array.count; ++i)
      if (array.bytes.substr(i * bytes, bytes) != array.bytes.substr(0, bytes))
        return report(name, "differs between layers, which is not supported"), true;
    if (auto whole = array.count ? ggufInteger(array.element, array.bytes) : std::nullopt)
      return value = *whole, true;
  }
  auto read = file.integer(name);
  if (!read) {
    keep(std::move(read.error()));
    return true;
  }
  if (*read)
    value = **read;
  else if (required)
    keep({ExitCode::badInput, fmt::format("{}: missing key '{}': expected an integer", file.path(), name)});
  return read->has_value();
}

bool Reader::number(std::string_view key, double &value, const std::string &canonical) {
  std::string name = own(key);
  if (!canonical.empty())
    locate(name, canonical);
  auto read = file.number(name);
  if (!read) {
    keep(std::move(read.error()));
    return true;
  }
  if (*read)
    value = **read;
  return read->has_value();
}

// A key that changes the maths in a way that is not supported, unless it has the value that does not.
void Reader::neutral(std::string_view key, double value) {
  double found = value;
  if (auto entry = file.metadata().find(own(key));
      entry != file.metadata().end() && entry->second.type == GgufType::boolean)
    found = entry->second.bytes.front() != 0;
  else
    number(key, found);
  if (found != value)
    report(own(key), "{} is not supported, and ignoring it would change what the model computes", found);
}

void Reader::sizes() {
  integer("embedding_length", config.hiddenSize, "hidden_size", true);
  integer("feed_forward_length", config.intermediateSize, "intermediate_size", true);
  integer("block_count", config.numHiddenLayers, "num_hidden_layers", true);
  integer("attention.head_count", config.numAttentionHeads, "num_attention_heads", true);
  config.numKeyValueHeads = config.numAttentionHeads;
  integer("attention.head_count_kv", config.numKeyValueHeads, "num_key_value_heads");
  if (config.numAttentionHeads > 0)
    config.headDim = config.hiddenSize / config.numAttentionHeads;
  integer("attention.key_length", config.headDim, "head_dim");
  int64_t valueLength = config.headDim;
  if (integer("attention.value_length", valueLength, "head_dim") && valueLength != config.headDim)
    report(own("attention.value_length"), "{} differs from the length of keys, {}: not supported", valueLength,
           config.headDim);
  integer("context_length", config.maxPositionEmbeddings, "max_position_embeddings", true);
  if (!integer("vocab_size", config.vocabSize, "vocab_size"))
    if (const GgufTensor *embedding = file.tensor("token_embd.weight"); embedding && embedding->shape.size() == 2)
      config.vocabSize = embedding->shape[0];
  if (!number("attention.layer_norm_rms_epsilon", config.normEps, "rms_norm_eps"))
    keep({ExitCode::badInput, fmt::format("{}: missing key '{}': expected a number", file.path(),
                                          own("attention.layer_norm_rms_epsilon"))});
  int64_t window = 0;
  if (integer("attention.sliding_window", window, "sliding_window") && window != 0)
    config.slidingWindow = window;
  neutral("attention.causal", 1);
  neutral("attention.clamp_kqv", 0);
  neutral("expert_count", 0);
  neutral("use_parallel_residual", 0);
  neutral("logit_scale", 1);
  double scale = 0, plain = 1 / std::sqrt(static_cast<double>(std::max<int64_t>(config.headDim, 1)));
  if (number("attention.scale", scale) && scale != 0 && std::abs(scale - plain) > 1e-6 * plain)
    report(own("attention.scale"), "{} is not supported: expected 1 / sqrt(head_dim) = {}", scale, plain);
}

void Reader::rope() {
  RopeConfig &rope = config.rope;
  // llama.cpp's converter permutes the rows of q and k of llama models so that pairs lie side by side.
  rope.layout = architecture == "llama" ? "interleaved" : "half";
  int64_t rotated = config.headDim;
  if (integer("rope.dimension_count", rotated, "rope_parameters") && rotated != config.headDim)
    report(own("rope.dimension_count"), "{} of {} dimensions of a head are rotated: only whole heads are supported",
           rotated, config.headDim);
  config.where.erase("rope_parameters");
  number("rope.freq_base", rope.theta, "rope_parameters.rope_theta");
  auto type = file.string(own("rope.scaling.type"));
  if (!type)
    return keep(std::move(type.error()));
  locate(own("rope.scaling.type"), "rope_parameters.rope_type");
  double linear = 0;
  bool old = number("rope.scale_linear", linear, "rope_parameters.factor");
  if (!*type && old && linear != 1) {
    rope.type = "linear";
    rope.factor = linear;
  } else if (*type && **type != "none") {
    static constexpr std::array<std::string_view, 3> types{"none", "linear", "yarn"};
    rope.type = **type;
    if (rope.type != "linear" && rope.type != "yarn")
      return report(own("rope.scaling.type"), "rope type {} is not supported{}", inQuotes(rope.type),
                    suggestion(rope.type, types));
    if (!number("rope.scaling.factor", rope.factor, "rope_parameters.factor"))
      keep({ExitCode::badInput, fmt::format("{}: missing key '{}': rope type {} needs it", file.path(),
                                            own("rope.scaling.factor"), rope.type)});
  }
  neutral("rope.scaling.yarn_log_multiplier", 0);
  neutral("rope.scaling.yarn_attn_factor", 1);
  if (rope.type == "yarn") {
    neutral("rope.scaling.yarn_ext_factor", 1);
    rope.originalMaxPositionEmbeddings = config.maxPositionEmbeddings;
    integer("rope.scaling.original_context_length", rope.originalMaxPositionEmbeddings,
            "rope_parameters.original_max_position_embeddings");
    number("rope.scaling.yarn_beta_fast", rope.betaFast, "rope_parameters.beta_fast");
    number("rope.scaling.yarn_beta_slow", rope.betaSlow, "rope_parameters.beta_slow");
    // llama.cpp multiplies its factor onto yarn's own, 0.1 ln(factor) + 1.
    if (double factor = 1;
        number("rope.scaling.attn_factor", factor, "rope_parameters.attention_factor") && factor != 1)
      rope.attentionFactor = factor * (0.1 * std::log(rope.factor) + 1);
  } else {
    neutral("rope.scaling.attn_factor", 1);
    neutral("rope.scaling.yarn_ext_factor", rope.type == "linear" ? 0 : -1);
  }
  if (hasTensor("rope_freqs.weight"))
    ropeFactors();
}

void Reader::ropeFactors() {
  const GgufTensor &tensor = *file.tensor("rope_freqs.weight");
  auto wrong = [&](const std::string &what) {
    keep({ExitCode::badInput, fmt::format("{}: tensor 'rope_freqs.weight': {}", tensor.file->path(), what)});
  };
  if (tensor.element != "F32" || tensor.shape != std::vector<int64_t>{config.headDim / 2})
    return wrong(fmt::format("expected F32 [{}] (half of head_dim), found {} [{}]", config.headDim / 2, tensor.element,
                             fmt::join(tensor.shape, ", ")));
  std::vector<float> factors(static_cast<size_t>(config.headDim / 2));
  auto read = readRows({tensor.name, tensor.element, tensor.shape}, tensor.data, tensor.file->path(), 0, 1, factors);
  if (!read)
    return keep(std::move(read.error()));
  if (std::all_of(factors.begin(), factors.end(), [](float factor) { return factor == 1.0f; }))
    return;
  if (config.rope.type != "default")
    return wrong(
        fmt::format("divides the frequencies, and so does rope type {}: not supported together", config.rope.type));
  int64_t stated = 0;
  integer("rope.scaling.original_context_length", stated, "rope_parameters.original_max_position_embeddings");
  std::array<int64_t, 2> lengths{stated, 8192};
  auto fitted = fitLlama3(config.rope, factors, lengths);
  if (!fitted)
    return wrong("its frequency factors are not those of llama3 scaling, the only kind that is supported");
  config.rope = *fitted;
}

void Reader::tokens() {
  auto id = [&](const std::string &key) -> std::optional<int64_t> {
    auto read = file.integer(key);
    if (!read)
      keep(std::move(read.error()));
    return read ? *read : std::nullopt;
  };
  config.bosTokenId = id("tokenizer.ggml.bos_token_id");
  locate("tokenizer.ggml.bos_token_id", "bos_token_id");
  locate("tokenizer.ggml.eos_token_id", "eos_token_id");
  // The ends of a text, of a turn and of a message all end a generation.
  for (const char *key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"})
    if (auto end = id(key);
        end && std::find(config.eosTokenIds.begin(), config.eosTokenIds.end(), *end) == config.eosTokenIds.end())
      config.eosTokenIds.push_back(*end);
}

// As llama.cpp applies them (common_init_sampler_from_model). The samplers' order, xtc and the window of the penalty
// are left out: Lathe has one order, no xtc, and looks at the whole text.
void Reader::sampling() {
  const std::pair<const char *, const char *> names[] = {{"temperature", "temp"},
                                                         {"top_k", "top_k"},
                                                         {"top_p", "top_p"},
                                                         {"min_p", "min_p"},
                                                         {"mirostat", "mirostat"},
                                                         {"repetition_penalty", "penalty_repeat"},
                                                         {"mirostat_tau", "mirostat_tau"},
                                                         {"mirostat_eta", "mirostat_eta"}};
  auto keyOf = [&](std::string_view canonical) -> std::string {
    for (const auto &[own, theirs] : names)
      if (canonical == own)
        return std::string("general.sampling.") + theirs;
    return {};
  };
  SamplingDefaults found;
  auto read = [&](std::string_view canonical, auto &value, auto...) {
    std::string key = keyOf(canonical);
    if (key.empty() || !file.metadata().contains(key))
      return;
    locate(key, fmt::format("generation_config.{}", canonical));
    auto number = [&] {
      if constexpr (std::is_same_v<std::remove_reference_t<decltype(value)>, std::optional<double>>)
        return file.number(key);
      else
        return file.integer(key);
    }();
    if (!number)
      return keep(std::move(number.error()));
    value = *number;
  };
  eachSamplingDefault(found, read, read);
  if (found.topK && *found.topK < 0) // llama.cpp: all
    found.topK = 0;
  if (found.mirostat != 2) // the first version is left out too
    found.mirostat = std::nullopt, found.mirostatTau = found.mirostatEta = std::nullopt;
  if (found != SamplingDefaults())
    found.source = "general.sampling of " + baseName(file.path());
  config.sampling = found;
}

// What the metadata does not say, the presence of a tensor does.
void Reader::presentTensors() {
  config.tieWordEmbeddings = !hasTensor("output.weight");
  config.headBias = hasTensor("output.bias");
  config.attentionBias = {hasTensor("blk.0.attn_q.bias"), hasTensor("blk.0.attn_k.bias"),
                          hasTensor("blk.0.attn_v.bias"), hasTensor("blk.0.attn_output.bias")};
  config.mlpBias = {hasTensor("blk.0.ffn_gate.bias"), hasTensor("blk.0.ffn_up.bias"), hasTensor("blk.0.ffn_down.bias")};
  if (architecture == "qwen3") {
    config.qkNorm = "rms";
    config.qkNormEps = config.normEps;
  }
}

Result<ModelConfig> Reader::read() {
  auto name = file.string("general.architecture");
  if (!name)
    return propagate(name);
  if (!*name)
    return fail(ExitCode::badInput, "{}: missing key 'general.architecture'; supported: {}", file.path(),
                listed(kArchitectures));
  architecture = **name;
  if (std::find(kArchitectures.begin(), kArchitectures.end(), architecture) == kArchitectures.end())
    return fail(ExitCode::badInput, "{}: architecture {} is not supported; supported: {}",
                file.place("general.architecture"), inQuotes(architecture), listed(kArchitectures));
  config.where[""] = baseName(file.path()) + ":1:1";
  config.modelType = architecture;
  auto title = file.string("general.name");
  if (!title)
    return propagate(title);
  config.name = printable(*title ? (*title)->substr(0, 200) : std::string_view(baseName(file.path())));
  for (const auto &[key, value] : file.metadata())
    if (key.starts_with(architecture + ".") &&
        std::find(kKeys.begin(), kKeys.end(), std::string_view(key).substr(architecture.size() + 1)) == kKeys.end())
      report(key, "unknown key: it could change what the model computes");
  sizes();
  rope();
  tokens();
  sampling();
  presentTensors();
  if (error)
    return std::unexpected(std::move(*error));
  return std::move(config);
}

} // namespace

Result<ModelConfig> importGgufConfig(const GgufFile &file) { return Reader(file).read(); }

} // namespace lathe
