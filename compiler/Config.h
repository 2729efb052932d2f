//===- Config.h - one struct and one vocabulary for every model -----------===//
//
// Whatever a model came from (TOML, Hugging Face, GGUF, another tool's config), it becomes this
// struct; nothing after the importers knows the source. Keys of the canonical TOML have the
// names of Hugging Face's config.json where it has one.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/SamplingDefaults.h"
#include "runtime/support/Error.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lathe {

/// Rotary position embedding. Formulas: Hugging Face `modeling_rope_utils.py`.
struct RopeConfig {
  std::string type = "default"; ///< default | linear | llama3 | yarn | none
  std::string layout = "half";  ///< half: (x[j], x[j+d/2]) rotate together; interleaved: (x[2j], x[2j+1])
  double theta = 10000.0;
  double factor = 1.0;                        ///< linear, llama3, yarn
  double lowFreqFactor = 1.0;                 ///< llama3
  double highFreqFactor = 4.0;                ///< llama3
  int64_t originalMaxPositionEmbeddings = 0;  ///< llama3, yarn
  double betaFast = 32.0, betaSlow = 1.0;     ///< yarn
  std::optional<double> attentionFactor;      ///< yarn; absent: 0.1 ln(factor) + 1 (or mscale as HF does)
  std::optional<double> mscale, mscaleAllDim; ///< yarn
  bool truncate = true;                       ///< yarn: round the correction range to whole dimensions
};

/// Biases are per linear: `attention_bias = true`, or the list of those that have one.
struct AttentionBias {
  bool q = false, k = false, v = false, o = false;
};
struct MlpBias {
  bool gate = false, up = false, down = false;
};

struct ModelConfig {
  std::string name;      ///< for people: base name of the source or general.name
  std::string modelType; ///< llama | qwen2 | qwen3 | mistral | … : provenance only, never decides anything
  int64_t vocabSize = 0, hiddenSize = 0, intermediateSize = 0, numHiddenLayers = 0;
  int64_t numAttentionHeads = 0, numKeyValueHeads = 0, headDim = 0;
  int64_t maxPositionEmbeddings = 0;
  std::string hiddenAct = "silu"; ///< silu (gated MLP)
  std::string normType = "rms";   ///< rms | layer (layer has a bias tensor)
  double normEps = 1e-6;          ///< rms_norm_eps or layer_norm_eps
  std::string qkNorm = "none";    ///< none | rms | layer: over each head of q and k
  double qkNormEps = 1e-6;
  RopeConfig rope;
  AttentionBias attentionBias;
  MlpBias mlpBias;
  bool headBias = false;
  bool tieWordEmbeddings = false;
  std::optional<int64_t> slidingWindow; ///< a row sees the last slidingWindow positions, itself included
  std::vector<std::string> layerTypes;  ///< full_attention | sliding_attention a layer; empty: all alike
  std::optional<int64_t> bosTokenId;
  std::vector<int64_t> eosTokenIds;
  SamplingDefaults sampling; ///< table [generation_config]; `source` is set by whoever reads it
  /// key path ("rope_parameters.rope_theta") -> file:line:column it came from (base name of the file), for locations in
  /// the IR;
  /// "" -> the file itself. A binary file is one line: its column is the byte's offset + 1.
  std::map<std::string, std::string> where;

  bool slides(int64_t layer) const {
    if (!slidingWindow)
      return false;
    return layerTypes.empty() || layerTypes[layer] == "sliding_attention";
  }
};

/// Parses the canonical TOML. Unknown, missing, mistyped and contradictory keys are errors with file, line,
/// column, full key path, the nearest known name and the allowed values.
Result<ModelConfig> parseConfig(std::string_view toml, const std::string &file);
/// The canonical TOML; parseConfig(printConfig(c)) == c but for `where`.
std::string printConfig(const ModelConfig &config);
/// Checks that hold whatever the source was (heads divide, sizes positive and below sane limits, …).
/// An error names the key by its canonical path and, where `where` has it, its place.
Result<void> checkConfig(const ModelConfig &config);
/// Number of parameters that the config describes (tied weights counted once).
int64_t countParameters(const ModelConfig &config);

/// A weight the config calls for: canonical (Hugging Face llama) name and shape [out, in] or [width].
struct WeightSpec {
  std::string name;
  std::vector<int64_t> shape;
};
/// "model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight", …, "lm_head.weight" (untied), in file order.
std::vector<WeightSpec> listWeights(const ModelConfig &config);

} // namespace lathe
