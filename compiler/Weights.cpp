#include "compiler/Weights.h"

#include "compiler/ConfigDiagnostics.h"
#include "compiler/importers/Dequantize.h"

#include <set>

namespace lathe {
namespace {

std::string shapeText(const std::vector<int64_t> &shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

// The key that decides whether a weight is called for, as advice.
std::string_view keyBehind(std::string_view name) {
  if (name.ends_with("_proj.bias"))
    return name.find("self_attn") != std::string_view::npos ? "attention_bias" : "mlp_bias";
  if (name.find("q_norm") != std::string_view::npos || name.find("k_norm") != std::string_view::npos)
    return "qk_norm";
  if (name.ends_with("norm.bias"))
    return "norm_type";
  if (name == "lm_head.bias")
    return "head_bias";
  return name == "lm_head.weight" ? "tie_word_embeddings" : "num_hidden_layers";
}

// Tensors that may be left over: derived tables of old checkpoints, a copy of the tied head, layers that the config
// leaves out.
bool mayBeUnused(const ModelConfig &config, const std::string &name) {
  return name.ends_with(".rotary_emb.inv_freq") || name == "rope_freqs.weight" ||
         (name == "lm_head.weight" && config.tieWordEmbeddings) || layerOf(name) >= config.numHiddenLayers;
}

} // namespace

int64_t layerOf(std::string_view tensor) {
  constexpr std::string_view prefix = "model.layers.";
  if (!tensor.starts_with(prefix))
    return -1;
  int64_t layer = 0;
  size_t digits = 0;
  for (char c : tensor.substr(prefix.size())) {
    if (c < '0' || c > '9' || ++digits > 9)
      break;
    layer = layer * 10 + (c - '0');
  }
  return digits > 0 ? layer : -1;
}

std::optional<BlockFormat> blockFormat(std::string_view element) {
  const ElementLayout *layout = findElement(element);
  return layout && layout->unpack ? std::optional(layout->format) : std::nullopt;
}

Result<void> WeightSource::readBlocks(const std::string &name, int64_t, int64_t, const BlockRows &) const {
  const SourceTensor *tensor = find(name);
  if (!tensor)
    return fail(ExitCode::badInput, "{}: there is no tensor '{}'", origin(name), name);
  return fail(ExitCode::internal, "{}: tensor {}: its element type {} has no blocks", origin(name), inQuotes(name),
              tensor->element);
}

Result<void> checkWeights(const ModelConfig &config, const WeightSource &source) {
  std::set<std::string> called;
  for (const WeightSpec &spec : listWeights(config)) {
    const SourceTensor *tensor = source.find(spec.name);
    if (!tensor)
      return fail(ExitCode::badInput, "{}: tensor '{}' is missing: the config calls for it with shape {}; check {}",
                  source.origin(spec.name), spec.name, shapeText(spec.shape), keyBehind(spec.name));
    if (tensor->shape != spec.shape)
      return fail(ExitCode::badInput, "{}: tensor '{}': expected shape {} from the config, found {}",
                  source.origin(spec.name), spec.name, shapeText(spec.shape), shapeText(tensor->shape));
    if (tensor->element != "random" && !findElement(tensor->element))
      return fail(ExitCode::badInput, "{}: tensor '{}': element type {} is not read; supported: {}",
                  source.origin(spec.name), spec.name, tensor->element, listElements());
    called.insert(spec.name);
  }
  // A tensor that nothing calls for, say a bias, would be left out of the maths without a word.
  for (const SourceTensor &tensor : source.list())
    if (!called.contains(tensor.name) && !mayBeUnused(config, tensor.name))
      return fail(ExitCode::badInput, "{}: tensor {} is not called for by the config; check {}",
                  source.origin(tensor.name), inQuotes(tensor.name), keyBehind(tensor.name));
  return {};
}

} // namespace lathe
