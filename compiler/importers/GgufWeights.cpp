#include "compiler/importers/Importers.h"
#include "compiler/importers/MappedWeights.h"

#include <algorithm>
#include <array>
#include <unordered_map>

namespace lathe {
namespace {

constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kModelNames{
    {{"token_embd", "model.embed_tokens"}, {"output_norm", "model.norm"}, {"output", "lm_head"}}};
constexpr std::array<std::pair<std::string_view, std::string_view>, 11> kLayerNames{{
    {"attn_norm", "input_layernorm"},
    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},
    {"attn_q_norm", "self_attn.q_norm"},
    {"attn_k_norm", "self_attn.k_norm"},
    {"attn_output", "self_attn.o_proj"},
    {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},
    {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
}};

/// The canonical name; a name that is not known stays as it is.
std::string canonicalName(const std::string &name) {
  size_t dot = name.rfind('.');
  if (dot == std::string::npos)
    return name;
  std::string stem = name.substr(0, dot), suffix = name.substr(dot), layer;
  std::span<const std::pair<std::string_view, std::string_view>> table = kModelNames;
  if (stem.starts_with("blk.")) {
    size_t end = std::min(stem.find('.', 4), stem.size());
    layer = stem.substr(4, end - 4);
    stem.erase(0, std::min(end + 1, stem.size()));
    table = kLayerNames;
  }
  auto known = std::find_if(table.begin(), table.end(), [&](const auto &entry) { return entry.first == stem; });
  if (known == table.end())
    return name;
  return (layer.empty() ? "" : "model.layers." + layer + ".") + std::string(known->second) + suffix;
}

} // namespace

std::shared_ptr<const WeightSource> openGgufWeights(std::shared_ptr<const GgufFile> file) {
  auto weights = std::make_shared<MappedWeights>(file->path());
  for (const GgufTensor &tensor : file->tensors())
    weights->add({{canonicalName(tensor.name), tensor.element, tensor.shape}, tensor.data, tensor.file});
  return weights;
}

} // namespace lathe
