#include "compiler/importers/Dequantize.h"
#include "compiler/importers/Importers.h"

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

class GgufSource final : public WeightSource {
public:
  explicit GgufSource(std::shared_ptr<const GgufFile> gguf) : file(std::move(gguf)) {
    for (const GgufTensor &tensor : file->tensors()) {
      std::string name = canonicalName(tensor.name);
      entries.emplace(name, Entry{{name, tensor.element, tensor.shape}, tensor.data, tensor.file->path()});
    }
  }
  const SourceTensor *find(const std::string &name) const override {
    auto entry = entries.find(name);
    return entry == entries.end() ? nullptr : &entry->second.tensor;
  }
  std::vector<SourceTensor> list() const override {
    std::vector<SourceTensor> result;
    for (const auto &[name, entry] : entries)
      result.push_back(entry.tensor);
    std::sort(result.begin(), result.end(), [](const auto &a, const auto &b) { return a.name < b.name; });
    return result;
  }
  Result<void> read(const std::string &name, int64_t row, int64_t rows, std::span<float> out) const override {
    auto entry = entries.find(name);
    if (entry == entries.end())
      return fail(ExitCode::badInput, "{}: there is no tensor '{}'", file->path(), name);
    return readRows(entry->second.tensor, entry->second.data, entry->second.path, row, rows, out);
  }
  Result<void> readBlocks(const std::string &name, int64_t row, int64_t rows, const BlockRows &out) const override {
    auto entry = entries.find(name);
    if (entry == entries.end())
      return fail(ExitCode::badInput, "{}: there is no tensor '{}'", file->path(), name);
    return readBlockRows(entry->second.tensor, entry->second.data, entry->second.path, row, rows, out);
  }
  std::string origin(const std::string &name) const override {
    auto entry = entries.find(name);
    return entry == entries.end() ? file->path() : entry->second.path;
  }

private:
  struct Entry {
    SourceTensor tensor;
    std::span<const std::byte> data;
    std::string path;
  };
  std::shared_ptr<const GgufFile> file;
  std::unordered_map<std::string, Entry> entries;
};

} // namespace

std::shared_ptr<const WeightSource> openGgufWeights(std::shared_ptr<const GgufFile> file) {
  return std::make_shared<GgufSource>(std::move(file));
}

} // namespace lathe
