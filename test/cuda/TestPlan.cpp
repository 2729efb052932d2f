#include "test/cuda/TestPlan.h"

#include <map>

namespace lathe::cuda {
namespace {

const std::map<std::string, int64_t> kWeights{{"embed", kVocab * kHidden * 4},       {"gain", kHidden * 4},
                                              {"qkv", 3 * kHidden * kHidden * 4},    {"o", kHidden * kHidden * 4},
                                              {"gate_up", 2 * kGated * kHidden * 4}, {"down", kGated * kHidden * 4}};

Parameter weight(const char *name) { return {name, Access::read, {}, kWeights.at(name)}; }
Parameter reads(const char *name, int64_t width) { return {name, Access::read, Unit::rows, width * 4}; }
Parameter writes(const char *name, int64_t width) { return {name, Access::write, Unit::rows, width * 4}; }

Kernel kernel(const char *symbol, Unit unit, int64_t tiles, std::vector<Parameter> parameters) {
  Kernel kernel{symbol, unit, tiles, 0, 0, {}, "layers 0..1", std::move(parameters)};
  int64_t rows = unit == Unit::items ? 1 : 8;
  for (const char *architecture : {"sm_80", "sm_90a", "compute_80"}) {
    std::vector<KernelForm> &forms = kernel.variants[architecture].forms;
    if (unit == Unit::rows)
      forms.push_back({symbol, 64, rows, 1, 256, 20000, true, true});
    forms.push_back(
        {unit == Unit::rows ? symbol + std::string("_tiled") : symbol, 0, rows * 8, 2, 128, 40000, true, true});
  }
  return kernel;
}

} // namespace

std::optional<int64_t> testWeight(const std::string &tensor) {
  auto found = kWeights.find(tensor);
  return found == kWeights.end() ? std::nullopt : std::optional(found->second);
}

Plan testPlan(int64_t layers) {
  Plan plan;
  plan.vocab = kVocab, plan.logitStride = kStride, plan.context = 4096, plan.attentionRows = 4, plan.chunkTokens = 256;
  plan.layers = layers, plan.kvHeads = kHeads, plan.dimPadded = kDim, plan.pageTokens = kPage, plan.kvElement = "f32";
  // x of one layer, q and gated, attended, x between attention and MLP, partial results of attention
  plan.slots = {{Unit::rows, kHidden * 4},
                {Unit::rows, kGated * 4},
                {Unit::rows, kHidden * 4},
                {Unit::rows, kHidden * 4},
                {Unit::partials, (kHidden + 4) * 4}};
  Parameter keys{"keys", Access::read, {}, plan.keyPageBytes()},
      values{"values", Access::read, {}, plan.valuePageBytes()};
  Parameter keysOut = keys, valuesOut = values;
  keysOut.access = valuesOut.access = Access::write;
  plan.kernels = {
      kernel("embed", Unit::rows, 1, {weight("embed"), writes("x", kHidden)}),
      kernel("norm_qkv", Unit::rows, 6,
             {reads("x", kHidden), weight("gain"), weight("qkv"), writes("q", kHidden), keysOut, valuesOut}),
      kernel("attention", Unit::items, kHeads,
             {reads("q", kHidden),
              keys,
              values,
              {"partials", Access::write, Unit::partials, (kHidden + 4) * 4},
              writes("attended", kHidden)}),
      kernel("o_residual", Unit::rows, 2,
             {reads("attended", kHidden), reads("x", kHidden), weight("o"), writes("y", kHidden)}),
      kernel("norm_gate_up", Unit::rows, 8,
             {reads("x", kHidden), weight("gain"), weight("gate_up"), writes("gated", kGated)}),
      kernel("down_residual", Unit::rows, 2,
             {reads("gated", kGated), reads("x", kHidden), weight("down"), writes("y", kHidden)}),
      kernel("head", Unit::logitRows, 4,
             {reads("x", kHidden),
              weight("gain"),
              weight("embed"),
              {"logits", Access::write, Unit::logitRows, kStride * 4}})};
  plan.kernels[2].counters = true;

  std::map<std::string, int64_t> weights;
  for (const auto &[name, bytes] : kWeights) {
    weights[name] = static_cast<int64_t>(plan.buffers.size());
    plan.buffers.push_back({name, Buffer::Kind::weight, -1, name, -1});
  }
  auto activation = [&](const std::string &name, int64_t slot) {
    plan.buffers.push_back({name, Buffer::Kind::activation, slot, "", -1});
    return static_cast<int64_t>(plan.buffers.size()) - 1;
  };
  auto launch = [&](int64_t kernel, std::vector<int64_t> args) {
    plan.launches.push_back({kernel, std::move(args), true});
  };
  int64_t x = activation("x.0", 0);
  launch(0, {weights["embed"], x});
  for (int64_t layer = 0; layer < layers; ++layer) {
    std::string suffix = "." + std::to_string(layer);
    int64_t q = activation("q" + suffix, 1), attended = activation("attended" + suffix, 2),
            middle = activation("middle" + suffix, 3), gated = activation("gated" + suffix, 1),
            partials = activation("partials" + suffix, 4), next = activation("x." + std::to_string(layer + 1), 0);
    auto at = static_cast<int64_t>(plan.buffers.size());
    plan.buffers.push_back({"keys" + suffix, Buffer::Kind::key, -1, "", layer});
    plan.buffers.push_back({"values" + suffix, Buffer::Kind::value, -1, "", layer});
    launch(1, {x, weights["gain"], weights["qkv"], q, at, at + 1});
    launch(2, {q, at, at + 1, partials, attended});
    launch(3, {attended, x, weights["o"], middle});
    launch(4, {middle, weights["gain"], weights["gate_up"], gated});
    launch(5, {gated, middle, weights["down"], next});
    x = next;
  }
  plan.buffers.push_back({"logits", Buffer::Kind::logits, -1, "", -1});
  launch(6, {x, weights["gain"], weights["embed"], static_cast<int64_t>(plan.buffers.size()) - 1});
  chainLaunches(plan);
  return plan;
}

Plan sampledPlan(int64_t layers) {
  Plan plan = testPlan(layers);
  auto logits = static_cast<int64_t>(plan.buffers.size()) - 1;
  plan.kernels.push_back(
      kernel("sample", Unit::logitRows, 1,
             {{"logits", Access::read, Unit::logitRows, kStride * 4}, {"tokens", Access::write, Unit::logitRows, 4}}));
  plan.kernels[0].feeds = true;
  plan.buffers.push_back({"tokens", Buffer::Kind::tokens, -1, "", -1});
  plan.launches.push_back({static_cast<int64_t>(plan.kernels.size()) - 1, {logits, logits + 1}, true});
  plan.edges.clear();
  chainLaunches(plan);
  return plan;
}

} // namespace lathe::cuda
