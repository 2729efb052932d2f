//===- ModelBuilder.cpp - a ModelConfig as lm IR --------------------------===//
#include "compiler/ModelBuilder.h"

#include "dialects/lm/LmDialect.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"

#include <cmath>

using namespace mlir;

namespace lathe {
namespace {

// Keys that decide an op, the most telling first.
constexpr StringRef normKeys[] = {"rms_norm_eps", "layer_norm_eps"};
constexpr StringRef qkNormKeys[] = {"qk_norm", "qk_norm_eps", "model_type"};
constexpr StringRef ropeKeys[] = {"rope_parameters.rope_type", "rope_parameters.rope_theta", "rope_parameters"};
constexpr StringRef keyHeadsKeys[] = {"num_key_value_heads", "num_attention_heads"};

class Builder {
public:
  Builder(MLIRContext &context, const ModelConfig &config, const BuildOptions &options)
      : config(config), weights(options.weights), b(&context) {
    Type element = options.kv == "int8"   ? Type(b.getI8Type())
                   : options.kv == "bf16" ? Type(b.getBF16Type())
                                          : b.getF32Type();
    kvType = lm::KvType::get(&context, config.numKeyValueHeads, config.headDim, options.page, element);
    ropeAttr = config.rope.type == "none" ? lm::RopeAttr() : rope();
  }

  OwningOpRef<ModuleOp> build();

private:
  Value layer(int64_t index, Value x, Value kv, Value &newKv);
  Value selfAttention(int64_t index, Value x, Value kv, Value &newKv);
  Value mlp(int64_t index, Value x);

  Value weight(StringRef word, const std::string &name, ArrayRef<int64_t> shape);
  Value norm(StringRef word, Value x, const std::string &name, StringRef type, double eps, ArrayRef<StringRef> keys,
             std::optional<int64_t> per = {});
  Value linear(StringRef word, Value x, const std::string &name, int64_t width, bool bias, Location where);
  Value rotated(StringRef word, Value x);
  lm::RopeAttr rope();

  Type rows(int64_t width) { return RankedTensorType::get({ShapedType::kDynamic, width}, b.getF32Type()); }
  /// `word` around the first of `keys` that the config's source had, and its place:
  /// loc("gated"(fused<"hidden_act">[…])).
  Location at(StringRef word, ArrayRef<StringRef> keys);
  Location place(StringRef key);

  const ModelConfig &config;
  const WeightSource *weights;
  OpBuilder b;
  lm::KvType kvType;
  lm::RopeAttr ropeAttr;
  Value batch, table;
};

/// "dir/model.toml:12:5" as a location; file base names only, so that a dump is the same wherever it was made.
Location Builder::place(StringRef key) {
  auto entry = config.where.find(key.str());
  if (entry == config.where.end())
    return b.getUnknownLoc();
  StringRef text = entry->second;
  text = text.substr(text.rfind('/') + 1);
  auto [rest, columnText] = text.rsplit(':');
  auto [file, lineText] = rest.rsplit(':');
  unsigned line = 0, column = 0;
  if (lineText.getAsInteger(10, line) || columnText.getAsInteger(10, column))
    return FileLineColLoc::get(b.getContext(), text, 0, 0);
  return FileLineColLoc::get(b.getContext(), file, line, column);
}

Location Builder::at(StringRef word, ArrayRef<StringRef> keys) {
  Location found = b.getUnknownLoc();
  StringRef decides = keys.empty() ? StringRef() : keys.front();
  for (StringRef key : keys)
    if (isa<UnknownLoc>(found)) {
      found = place(key);
      decides = isa<UnknownLoc>(found) ? decides : key;
    }
  // A source without lines (GGUF) has only the place of the whole file.
  if (isa<UnknownLoc>(found))
    found = place("");
  if (!decides.empty())
    found = FusedLoc::get(b.getContext(), found, b.getStringAttr(decides));
  return NameLoc::get(b.getStringAttr(word), found);
}

lm::RopeAttr Builder::rope() {
  const RopeConfig &rope = config.rope;
  SmallVector<NamedAttribute> params;
  auto param = [&](StringRef name, double value) { params.push_back(b.getNamedAttr(name, b.getF64FloatAttr(value))); };
  if (rope.type != "default")
    param("factor", rope.factor);
  if (rope.type == "llama3" || rope.type == "yarn")
    param("original_max_position_embeddings", rope.originalMaxPositionEmbeddings);
  if (rope.type == "llama3") {
    param("low_freq_factor", rope.lowFreqFactor);
    param("high_freq_factor", rope.highFreqFactor);
  }
  if (rope.type == "yarn") {
    param("beta_fast", rope.betaFast);
    param("beta_slow", rope.betaSlow);
    param("truncate", rope.truncate);
    param("attention_factor", yarnAttentionFactor(rope));
  }
  auto layout = rope.layout == "interleaved" ? lm::RopeLayout::interleaved : lm::RopeLayout::half;
  return lm::RopeAttr::get(b.getContext(), layout, b.getF64FloatAttr(rope.theta), b.getStringAttr(rope.type),
                           b.getDictionaryAttr(params));
}

Value Builder::weight(StringRef word, const std::string &name, ArrayRef<int64_t> shape) {
  const SourceTensor *tensor = weights ? weights->find(name) : nullptr;
  bool shorter = tensor && shape.size() == 2 &&
                 (blockFormat(tensor->element) || tensor->element == "BF16" || tensor->element == "F16");
  StringAttr stored = shorter ? b.getStringAttr(tensor->element) : StringAttr();
  return lm::WeightOp::create(b, at(word, {}), RankedTensorType::get(shape, b.getF32Type()), b.getStringAttr(name),
                              stored);
}

Value Builder::norm(StringRef word, Value x, const std::string &name, StringRef type, double eps,
                    ArrayRef<StringRef> keys, std::optional<int64_t> per) {
  int64_t width = per.value_or(cast<RankedTensorType>(x.getType()).getDimSize(1));
  Value gain = weight((word + "_gain").str(), name + ".weight", width), bias;
  if (type == "layer")
    bias = weight((word + "_bias").str(), name + ".bias", width);
  return lm::NormOp::create(b, at(word, keys), x.getType(), type == "layer" ? lm::NormKind::layer : lm::NormKind::rms,
                            x, gain, bias, llvm::APFloat(eps), per ? b.getI64IntegerAttr(*per) : IntegerAttr());
}

Value Builder::linear(StringRef word, Value x, const std::string &name, int64_t width, bool hasBias, Location where) {
  Value matrix = weight((word + "_weight").str(), name + ".weight",
                        {width, cast<RankedTensorType>(x.getType()).getDimSize(1)}),
        bias;
  if (hasBias)
    bias = weight((word + "_bias").str(), name + ".bias", width);
  return lm::LinearOp::create(b, where, rows(width), x, matrix, bias);
}

Value Builder::rotated(StringRef word, Value x) {
  if (!ropeAttr)
    return x;
  return lm::RopeOp::create(b, at(word, ropeKeys), x, batch, config.headDim, ropeAttr);
}

Value Builder::selfAttention(int64_t index, Value x, Value kv, Value &newKv) {
  std::string prefix = "model.layers." + std::to_string(index) + ".self_attn.";
  int64_t width = config.numAttentionHeads * config.headDim, kvWidth = config.numKeyValueHeads * config.headDim;
  const AttentionBias &bias = config.attentionBias;
  Value q = linear("q", x, prefix + "q_proj", width, bias.q, at("q", {"num_attention_heads"}));
  Value k = linear("k", x, prefix + "k_proj", kvWidth, bias.k, at("k", keyHeadsKeys));
  Value v = linear("v", x, prefix + "v_proj", kvWidth, bias.v, at("v", keyHeadsKeys));
  if (config.qkNorm != "none") {
    q = norm("q_norm", q, prefix + "q_norm", config.qkNorm, config.qkNormEps, qkNormKeys, config.headDim);
    k = norm("k_norm", k, prefix + "k_norm", config.qkNorm, config.qkNormEps, qkNormKeys, config.headDim);
  }
  q = rotated("q_rope", q);
  k = rotated("k_rope", k);
  newKv = lm::KvAppendOp::create(b, at("kv" + std::to_string(index), keyHeadsKeys), kvType, k, v, kv, batch);

  bool slides = config.slides(index);
  Location where = slides ? at("attn", {"sliding_window"}) : at("attn", {"num_attention_heads"});
  Value mixed = lm::AttentionOp::create(b, where, q.getType(), q, newKv, batch,
                                        llvm::APFloat(1.0 / std::sqrt(double(config.headDim))),
                                        slides ? lm::MaskKind::window : lm::MaskKind::causal,
                                        slides ? b.getI64IntegerAttr(*config.slidingWindow) : IntegerAttr());
  return linear("o", mixed, prefix + "o_proj", config.hiddenSize, bias.o, at("o", {"hidden_size"}));
}

Value Builder::mlp(int64_t index, Value x) {
  std::string prefix = "model.layers." + std::to_string(index) + ".mlp.";
  const MlpBias &bias = config.mlpBias;
  Value gate =
      linear("gate", x, prefix + "gate_proj", config.intermediateSize, bias.gate, at("gate", {"intermediate_size"}));
  Value up = linear("up", x, prefix + "up_proj", config.intermediateSize, bias.up, at("up", {"intermediate_size"}));
  Value gated =
      lm::GatedOp::create(b, at("gated", {"hidden_act"}), gate.getType(),
                          lm::symbolizeActivationKind(config.hiddenAct).value_or(lm::ActivationKind::silu), gate, up);
  return linear("down", gated, prefix + "down_proj", config.hiddenSize, bias.down, at("down", {"hidden_size"}));
}

Value Builder::layer(int64_t index, Value x, Value kv, Value &newKv) {
  std::string prefix = "model.layers." + std::to_string(index) + ".";
  Value n = norm("attn_norm", x, prefix + "input_layernorm", config.normType, config.normEps, normKeys);
  x = arith::AddFOp::create(b, at("x", {"hidden_size"}), x, selfAttention(index, n, kv, newKv));
  n = norm("mlp_norm", x, prefix + "post_attention_layernorm", config.normType, config.normEps, normKeys);
  return arith::AddFOp::create(b, at("x", {"hidden_size"}), x, mlp(index, n));
}

OwningOpRef<ModuleOp> Builder::build() {
  int64_t layers = config.numHiddenLayers;
  std::optional<StringRef> name;
  if (!config.name.empty())
    name = config.name;
  OwningOpRef<ModuleOp> module = ModuleOp::create(b.getUnknownLoc(), name);
  b.setInsertionPointToEnd(module->getBody());

  SmallVector<Type> inputs(layers + 1, kvType), results(layers + 1, kvType);
  inputs[0] = lm::BatchType::get(b.getContext());
  results[0] = rows(config.vocabSize);
  auto step = func::FuncOp::create(b, at("step", {"num_hidden_layers"}), "step", b.getFunctionType(inputs, results));
  SmallVector<Location> argumentLocs{at("batch", {})};
  for (int64_t i = 0; i < layers; ++i)
    argumentLocs.push_back(at("kv" + std::to_string(i) + "_in", {}));
  Block *body = b.createBlock(&step.getBody(), {}, inputs, argumentLocs);
  batch = body->getArgument(0);

  table = weight("embed_weight", "model.embed_tokens.weight", {config.vocabSize, config.hiddenSize});
  Value x = lm::EmbedOp::create(b, at("x", {"vocab_size"}), rows(config.hiddenSize), table, batch);
  SmallVector<Value> outputs(layers + 1);
  for (int64_t i = 0; i < layers; ++i)
    x = layer(i, x, body->getArgument(i + 1), outputs[i + 1]);

  x = lm::SelectRowsOp::create(b, at("x", {}), x, batch);
  x = norm("final_norm", x, "model.norm", config.normType, config.normEps, normKeys);
  Value head = config.tieWordEmbeddings
                   ? table
                   : weight("head_weight", "lm_head.weight", {config.vocabSize, config.hiddenSize}),
        bias;
  if (config.headBias)
    bias = weight("head_bias", "lm_head.bias", config.vocabSize);
  outputs[0] = lm::LinearOp::create(b, at("logits", {"tie_word_embeddings", "vocab_size"}), rows(config.vocabSize), x,
                                    head, bias);
  func::ReturnOp::create(b, at("step", {"num_hidden_layers"}), outputs);
  return module;
}

} // namespace

double yarnAttentionFactor(const RopeConfig &rope) {
  if (rope.attentionFactor)
    return *rope.attentionFactor;
  auto scale = [&](double weight) { return rope.factor <= 1 ? 1.0 : 0.1 * weight * std::log(rope.factor) + 1.0; };
  double mscale = rope.mscale.value_or(0), allDim = rope.mscaleAllDim.value_or(0);
  return mscale != 0 && allDim != 0 ? scale(mscale) / scale(allDim) : scale(1);
}

OwningOpRef<ModuleOp> buildModel(MLIRContext &context, const ModelConfig &config, const BuildOptions &options) {
  context.loadDialect<lm::LmDialect, arith::ArithDialect, func::FuncDialect>();
  return Builder(context, config, options).build();
}

} // namespace lathe
