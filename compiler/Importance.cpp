//===- Importance.cpp - which inputs of a linear matter -------------------===//
#include "compiler/Quantizer.h"

#include <algorithm>

namespace lathe {
namespace {

constexpr int64_t kRowsAtOnce = 32;

/// The square of a norm's gain, and of its bias where it has one.
Result<std::vector<float>> afterNorm(const WeightSource &source, const std::string &norm) {
  const SourceTensor *gain = source.find(norm + ".weight");
  if (!gain)
    return fail(ExitCode::badInput, "{}: there is no tensor '{}.weight'", source.origin(norm + ".weight"), norm);
  std::vector<float> squares(gain->shape.back());
  if (auto read = source.read(norm + ".weight", 0, 1, squares); !read)
    return propagate(read);
  for (float &value : squares)
    value *= value;
  const SourceTensor *bias = source.find(norm + ".bias");
  if (!bias || bias->shape != gain->shape)
    return squares;
  std::vector<float> offsets(squares.size());
  if (auto read = source.read(norm + ".bias", 0, 1, offsets); !read)
    return propagate(read);
  for (size_t i = 0; i < squares.size(); ++i)
    squares[i] += offsets[i] * offsets[i];
  return squares;
}

/// Calls `each` with every row of two matrices of the same shape (or of one, twice).
template <typename Each>
Result<void> eachRow(const WeightSource &source, const std::string &first, const std::string &second, size_t width,
                     Each each) {
  const SourceTensor *one = source.find(first), *two = source.find(second);
  if (!one || !two || one->shape != two->shape || one->shape.size() != 2 ||
      static_cast<size_t>(one->shape.back()) != width)
    return fail(ExitCode::badInput, "{}: tensors '{}' and '{}': expected two matrices of width {}",
                source.origin(first), first, second, width);
  std::vector<float> ones(kRowsAtOnce * width), twos(first == second ? 0 : ones.size());
  for (int64_t row = 0; row < one->shape.front(); row += kRowsAtOnce) {
    int64_t rows = std::min(kRowsAtOnce, one->shape.front() - row);
    size_t values = static_cast<size_t>(rows) * width;
    if (auto read = source.read(first, row, rows, std::span(ones).first(values)); !read)
      return read;
    if (!twos.empty())
      if (auto read = source.read(second, row, rows, std::span(twos).first(values)); !read)
        return read;
    for (int64_t r = 0; r < rows; ++r)
      each(row + r, &ones[r * width], &(twos.empty() ? ones : twos)[r * width]);
  }
  return {};
}

Result<std::vector<float>> afterAttention(const ModelConfig &config, const WeightSource &source,
                                          const std::string &layer) {
  auto inputs = afterNorm(source, layer + "input_layernorm");
  if (!inputs)
    return inputs;
  const std::string name = layer + "self_attn.v_proj.weight";
  std::vector<float> values;
  auto read = eachRow(source, name, name, inputs->size(), [&](int64_t, const float *row, const float *) {
    double sum = 0;
    for (size_t i = 0; i < inputs->size(); ++i)
      sum += static_cast<double>(row[i]) * row[i] * (*inputs)[i];
    values.push_back(static_cast<float>(sum));
  });
  if (!read)
    return propagate(read);
  int64_t dim = config.headDim, heads = config.numAttentionHeads, kvHeads = config.numKeyValueHeads;
  if (dim < 1 || kvHeads < 1 || heads % kvHeads != 0 || static_cast<int64_t>(values.size()) != kvHeads * dim)
    return fail(ExitCode::badInput, "{}: tensor '{}': expected {} rows, found {}", source.origin(name), name,
                kvHeads * dim, values.size());
  std::vector<float> result(heads * dim);
  for (int64_t head = 0; head < heads; ++head)
    std::copy_n(&values[head / (heads / kvHeads) * dim], dim, &result[head * dim]);
  return result;
}

Result<std::vector<float>> afterGate(const WeightSource &source, const std::string &layer) {
  auto inputs = afterNorm(source, layer + "post_attention_layernorm");
  if (!inputs)
    return inputs;
  std::vector<float> result;
  auto read = eachRow(source, layer + "mlp.gate_proj.weight", layer + "mlp.up_proj.weight", inputs->size(),
                      [&](int64_t, const float *gate, const float *up) {
                        double gg = 0, uu = 0, gu = 0;
                        for (size_t i = 0; i < inputs->size(); ++i) {
                          double g = gate[i], u = up[i], square = (*inputs)[i];
                          gg += g * g * square;
                          uu += u * u * square;
                          gu += g * u * square;
                        }
                        result.push_back(static_cast<float>(gg * uu + 2 * gu * gu));
                      });
  if (!read)
    return propagate(read);
  return result;
}

} // namespace

Result<std::vector<float>> inputImportance(const ModelConfig &config, const WeightSource &source,
                                           const std::string &name) {
  if (name == "lm_head.weight" || name == "model.embed_tokens.weight")
    return afterNorm(source, "model.norm");
  constexpr std::string_view prefix = "model.layers.";
  size_t dot = name.find('.', prefix.size());
  if (!name.starts_with(prefix) || dot == std::string::npos)
    return std::vector<float>{};
  std::string layer = name.substr(0, dot + 1), linear = name.substr(dot + 1);
  if (linear == "self_attn.q_proj.weight" || linear == "self_attn.k_proj.weight" || linear == "self_attn.v_proj.weight")
    return afterNorm(source, layer + "input_layernorm");
  if (linear == "mlp.gate_proj.weight" || linear == "mlp.up_proj.weight")
    return afterNorm(source, layer + "post_attention_layernorm");
  if (linear == "self_attn.o_proj.weight")
    return afterAttention(config, source, layer);
  if (linear == "mlp.down_proj.weight")
    return afterGate(source, layer);
  return std::vector<float>{};
}

} // namespace lathe
