#include "test/runtime/ToyModel.h"

#include "runtime/Abi.h"
#include "runtime/CpuFeatures.h"
#include "runtime/CudaPlan.h"
#include "runtime/Sampler.h"
#include "runtime/support/MappedFile.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <gtest/gtest.h>
#include <unistd.h>

namespace lathe::toy {

Plan plan() {
  Plan plan;
  plan.vocab = kVocab, plan.logitStride = kStride, plan.context = kContext, plan.attentionRows = kAttentionRows,
  plan.chunkTokens = kContext;
  plan.layers = kLayers, plan.kvHeads = kHeads, plan.dimPadded = kDim, plan.pageTokens = kPageTokens,
  plan.kvElement = "f32";
  plan.slots = {{Unit::rows, kHeads * 4}, {Unit::rows, kHeads * 4}, {Unit::logitRows, kHeads * 4}};
  auto activation = [](const char *name, int64_t slot) { return Buffer{name, Buffer::Kind::activation, slot, "", -1}; };
  plan.buffers = {activation("hidden", 0), activation("attended", 1), activation("selected", 2),
                  Buffer{"head", Buffer::Kind::weight, -1, "head.weight", -1},
                  Buffer{"logits", Buffer::Kind::logits, -1, "", -1}};
  for (int64_t layer = 0; layer < kLayers; ++layer) {
    plan.buffers.push_back({"keys", Buffer::Kind::key, -1, "", layer});
    plan.buffers.push_back({"values", Buffer::Kind::value, -1, "", layer});
  }
  auto kernel = [](const char *symbol, Unit unit, int64_t tiles, int64_t bytes, int64_t unitBlock) {
    Kernel kernel{symbol, unit, tiles, bytes, 10, {}, "toy"};
    for (const std::string &tier : knownTiers())
      kernel.variants[tier] = {unitBlock, 4 * kContext};
    return kernel;
  };
  plan.kernels = {kernel("toy_embed", Unit::rows, kHeads, 0, 5), kernel("toy_append", Unit::rows, kHeads, 0, 3),
                  kernel("toy_attend", Unit::items, kHeads, 0, 1), kernel("toy_select", Unit::logitRows, 1, 0, 4),
                  kernel("toy_head", Unit::logitRows, kHeadTiles, kHeadTile * kHeads * 4, 2)};
  plan.launches = {{0, {0}, true},          {1, {0, 5, 6}, true}, {2, {0, 5, 6, 1}, true}, {1, {1, 7, 8}, true},
                   {2, {1, 7, 8, 0}, true}, {3, {0, 2}, true},    {4, {2, 3, 4}, true}};
  return plan;
}

Plan devicePlan() {
  Plan plan = toy::plan();
  plan.kernels.push_back({"toy_sample", Unit::logitRows, 1, 0, 0, {}, "toy"});
  plan.launches.push_back({5, {4, static_cast<int64_t>(plan.buffers.size())}, true});
  plan.buffers.push_back({"tokens", Buffer::Kind::tokens, -1, "", -1});
  using enum Access;
  auto rows = [](Access access) { return Parameter{"hidden", access, Unit::rows, kHeads * 4}; };
  auto selected = [](Access access) { return Parameter{"selected", access, Unit::logitRows, kHeads * 4}; };
  auto logits = [](Access access) { return Parameter{"logits", access, Unit::logitRows, kStride * 4}; };
  auto page = [&](Access access) { return Parameter{"page", access, {}, plan.keyPageBytes()}; };
  const std::vector<Parameter> parameters[] = {{rows(write)},
                                               {rows(read), page(update), page(update)},
                                               {rows(read), page(read), page(read), rows(write)},
                                               {rows(read), selected(write)},
                                               {selected(read), {"head", read, {}, kVocab * kHeads * 4}, logits(write)},
                                               {logits(read), {"tokens", write, Unit::logitRows, 4}}};
  for (size_t i = 0; i < plan.kernels.size(); ++i) {
    plan.kernels[i].parameters = parameters[i];
    KernelVariant variant;
    variant.forms = {{.symbol = plan.kernels[i].symbol, .threads = 32, .waits = true, .triggers = true}};
    plan.kernels[i].variants = {{"sm_80", variant}};
  }
  plan.kernels[0].feeds = true;
  chainLaunches(plan);
  return plan;
}

std::vector<float> headWeight() {
  std::vector<float> weight(kVocab * kHeads);
  for (size_t i = 0; i < weight.size(); ++i)
    weight[i] = std::sin(float(i * i % 101)) * 40.0f; // steep, so that the choice varies with the history
  return weight;
}

Result<void> write(const std::string &path, const Plan &plan) {
  auto writer = ArtifactWriter::create(path);
  if (!writer)
    return propagate(writer);
  bool device = plan.tokensBuffer() >= 0;
  auto code = MappedFile::open(device ? TOY_DEVICE : TOY_KERNELS);
  if (!code)
    return propagate(code);
  std::vector<Result<void>> added;
  added.push_back((*writer)->add("config.toml", "name = \"toy\"\n"));
  added.push_back((*writer)->add("plan.json", printPlan(plan)));
  const std::vector<std::string> tiers = device ? std::vector<std::string>{"cuda-host:sm_80"} : knownTiers();
  for (std::string tier : tiers) {
    std::ranges::replace(tier, ':', '-');
    added.push_back((*writer)->add(fmt::format("kernels/{}.so", tier), (*code)->text(), 4096));
  }
  added.push_back((*writer)->beginWeights());
  std::vector<float> weight = headWeight();
  auto fill = [&](std::span<std::byte> out) -> Result<void> {
    std::memcpy(out.data(), weight.data(), out.size());
    return {};
  };
  added.push_back((*writer)->addWeight("unused", 100, "for padding", [](std::span<std::byte> out) -> Result<void> {
    std::memset(out.data(), 0x5a, out.size());
    return {};
  }));
  added.push_back((*writer)->addWeight("head.weight", weight.size() * 4, "f32 [37][2]", fill));
  Manifest manifest;
  manifest.compiler = "toy", manifest.model = "toy", manifest.source = "toy.toml",
  manifest.target = device ? "cuda" : "cpu", manifest.quant = "f32";
  manifest.tiers = tiers, manifest.parameters = kVocab * kHeads, manifest.context = plan.context,
  manifest.eosTokenIds = {5};
  added.push_back((*writer)->finish(manifest));
  for (Result<void> &result : added)
    if (!result)
      return result;
  return {};
}

std::string temporaryPath(const std::string &name) {
  return fmt::format("{}lathe-test-{}-{}", testing::TempDir(), getpid(), name);
}

static std::shared_ptr<const Artifact> openWritten(const std::string &name, const Plan &plan) {
  std::string path = temporaryPath(name);
  auto written = write(path, plan);
  EXPECT_TRUE(written) << written.error().message;
  auto result = Artifact::open(path);
  EXPECT_TRUE(result) << result.error().message;
  std::remove(path.c_str()); // the mapping keeps it
  return *result;
}

std::shared_ptr<const Artifact> artifact() {
  static std::shared_ptr<const Artifact> opened = openWritten("toy.lathe", plan());
  return opened;
}

std::unique_ptr<Engine> deviceEngine(EngineOptions options) {
  static std::shared_ptr<const Artifact> opened = openWritten("toy-device.lathe", devicePlan());
  options.device = "cuda-host";
  auto loaded = Engine::load(opened, options);
  EXPECT_TRUE(loaded) << loaded.error().message;
  return std::move(*loaded);
}

std::unique_ptr<Engine> engine(const EngineOptions &options) {
  auto loaded = Engine::load(artifact(), options);
  EXPECT_TRUE(loaded) << loaded.error().message;
  return std::move(*loaded);
}

std::vector<float> logits(std::span<const int32_t> tokens) {
  size_t count = tokens.size();
  std::vector<float> hidden(count * kHeads), next(count * kHeads);
  for (size_t row = 0; row < count; ++row)
    for (int64_t head = 0; head < kHeads; ++head)
      hidden[row * kHeads + head] = embed(tokens[row], head);
  for (int64_t layer = 0; layer < kLayers; ++layer) {
    for (size_t row = 0; row < count; ++row)
      for (int64_t head = 0; head < kHeads; ++head) {
        float query = hidden[row * kHeads + head], sum = query;
        for (size_t position = 0; position <= row; ++position)
          for (int64_t dim = 0; dim < kDim; ++dim) {
            float source = hidden[position * kHeads + head];
            sum = attend(sum, query, key(source, dim, static_cast<int64_t>(position)), value(source, dim));
          }
        next[row * kHeads + head] = sum;
      }
    hidden.swap(next);
  }
  std::vector<float> weight = headWeight(), result(kVocab);
  for (int64_t column = 0; column < kVocab; ++column) {
    float sum = 0;
    for (int64_t head = 0; head < kHeads; ++head)
      sum = sum + hidden[(count - 1) * kHeads + head] * weight[column * kHeads + head];
    result[column] = sum;
  }
  return result;
}

std::vector<int32_t> continuation(std::vector<int32_t> tokens, int64_t count) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < count; ++i) {
    ids.push_back(argmax(logits(tokens)));
    tokens.push_back(ids.back());
  }
  return ids;
}

std::vector<int32_t> drawTokens(uint64_t seed, int64_t count) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count; ++i)
    tokens.push_back(static_cast<int32_t>(counterUniform(seed, 77, i) * kVocab));
  return tokens;
}

} // namespace lathe::toy
