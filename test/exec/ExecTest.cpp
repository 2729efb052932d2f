//===- ExecTest.cpp - one model three ways --------------------------------===//
//
// The reference on the IR before fusion, the reference on the IR after it (quantised, if so), and the compiled kernels
// of every tier that the machine has or test/emulation gives it, on the same seeded weights and the same ragged batch.
// Sizes are odd on purpose: nothing is a multiple of a panel, a group or a vector.
//
//===----------------------------------------------------------------------===//
#include "compiler/Compiler.h"
#include "compiler/CpuCodegen.h"
#include "compiler/Reference.h"
#include "compiler/Schedules.h"
#include "compiler/Weights.h"
#include "dialects/lm/LmDialect.h"
#include "runtime/Artifact.h"
#include "runtime/CpuFeatures.h"
#include "runtime/Engine.h"
#include "runtime/TierName.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Parser/Parser.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>

using namespace lathe;

namespace {

ModelConfig randomConfig(unsigned seed) {
  std::mt19937 generator(seed);
  auto pick = [&](int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(generator); };
  ModelConfig config;
  config.name = "odd" + std::to_string(seed);
  config.modelType = "llama";
  config.vocabSize = pick(70, 300);
  config.hiddenSize = 2 * pick(20, 90);
  config.intermediateSize = pick(40, 200);
  config.numHiddenLayers = 2;
  config.headDim = 2 * pick(3, 40);
  config.numKeyValueHeads = pick(1, 3);
  config.numAttentionHeads = config.numKeyValueHeads * pick(1, 4);
  config.maxPositionEmbeddings = 700;
  config.qkNorm = pick(0, 1) ? "rms" : "none";
  config.rope.layout = pick(0, 1) ? "half" : "interleaved";
  config.attentionBias = {pick(0, 1) == 1, pick(0, 1) == 1, pick(0, 1) == 1, pick(0, 1) == 1};
  config.mlpBias = {pick(0, 1) == 1, pick(0, 1) == 1, pick(0, 1) == 1};
  config.tieWordEmbeddings = pick(0, 1);
  config.normType = pick(0, 3) ? "rms" : "layer";
  if (pick(0, 1))
    config.slidingWindow = pick(3, 50);
  return config;
}

/// The sequences of every test: one longer than a page and a register tile, one short.
std::vector<std::vector<int64_t>> promptsOf(const ModelConfig &config) {
  std::vector<std::vector<int64_t>> prompts(2);
  for (int64_t i = 0; i < 43; ++i)
    prompts[0].push_back((i * 29 + 3) % config.vocabSize);
  for (int64_t i = 0; i < 5; ++i)
    prompts[1].push_back((i * 17 + 1) % config.vocabSize);
  return prompts;
}

/// How weights and the KV store hold numbers.
struct Numbers {
  const char *quant, *kv;
};

void PrintTo(const Numbers &numbers, std::ostream *out) { *out << numbers.quant << ", KV " << numbers.kv; }

/// An artifact and the weights that it was made of.
struct Model {
  std::shared_ptr<const Artifact> artifact;
  std::shared_ptr<const WeightSource> source;
};

Result<Model> compileRandom(unsigned seed, Numbers numbers) {
  auto folder = std::filesystem::temp_directory_path() / ("lathe-exec-" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  std::string toml = folder / "model.toml", output = folder / "model.lathe", weights = "random:" + std::to_string(seed);
  std::ofstream(toml) << printConfig(randomConfig(seed));
  auto compiled = compileModel({.model = toml,
                                .weights = weights,
                                .output = output,
                                .quant = numbers.quant,
                                .kv = numbers.kv,
                                .tiers = {"avx512vnni+bf16+gfni", "avx512vnni", "x86-64-v3"}},
                               [](const std::string &, int64_t, int64_t) {});
  if (!compiled)
    return propagate(compiled);
  auto artifact = Artifact::open(output);
  auto imported = importModel(toml, weights);
  std::filesystem::remove_all(folder); // the mapping keeps it
  if (!artifact || !imported)
    return artifact ? propagate(imported) : propagate(artifact);
  return Model{*artifact, imported->weights};
}

class Exec : public testing::TestWithParam<std::tuple<unsigned, Numbers>> {
protected:
  /// Compiles a model for the first test that asks for it.
  void SetUp() override {
    auto [seed, numbers] = GetParam();
    config = randomConfig(seed);
    static std::map<std::string, Model> models;
    Model &model = models[std::to_string(seed) + numbers.quant + numbers.kv];
    if (!model.artifact) {
      auto compiled = compileRandom(seed, numbers);
      ASSERT_TRUE(compiled) << compiled.error().message;
      model = *compiled;
    }
    artifact = model.artifact;
    source = model.source;
  }

  std::vector<float> reference(const char *stage) {
    mlir::MLIRContext context;
    context.loadDialect<lm::LmDialect, mlir::func::FuncDialect, mlir::arith::ArithDialect>();
    auto bytes = *artifact->member(stage);
    auto module = mlir::parseSourceString<mlir::ModuleOp>(
        llvm::StringRef(reinterpret_cast<const char *>(bytes.data()), bytes.size()), mlir::ParserConfig(&context));
    ReferenceBatch batch;
    int64_t rows = 0;
    for (auto &prompt : promptsOf(config)) {
      batch.sequences.push_back({.id = static_cast<int64_t>(batch.sequences.size()), .tokens = prompt});
      rows += prompt.size();
    }
    for (int64_t row = 0; row < rows; ++row)
      batch.wanted.push_back(row);
    auto logits = Reference<float>(*module, source).step(batch);
    EXPECT_TRUE(logits) << logits.error().message;
    return logits ? *logits : std::vector<float>();
  }

  std::vector<float> compiled(const std::string &tier) {
    auto engine = Engine::load(artifact, {.tier = tier, .threads = 2, .kvTokens = 256});
    EXPECT_TRUE(engine) << engine.error().message;
    if (!engine)
      return {};
    std::vector<std::vector<int32_t>> tokens;
    for (auto &prompt : promptsOf(config))
      tokens.emplace_back(prompt.begin(), prompt.end());
    std::vector<SequenceRows> batch;
    for (auto &ids : tokens) {
      auto sequence = (*engine)->kv().open();
      EXPECT_TRUE((*engine)->reserve(sequence, ids.size()));
      batch.push_back({.sequence = sequence, .tokens = ids, .logitRows = static_cast<int64_t>(ids.size())});
    }
    auto step = (*engine)->step(batch);
    EXPECT_TRUE(step) << step.error().message;
    std::vector<float> logits;
    for (int64_t row = 0; step && row < step->rows; ++row)
      logits.insert(logits.end(), step->row(row).begin(), step->row(row).end());
    return logits;
  }

  /// Logits of all rows of one more step of a sequence.
  std::vector<float> go(Engine &engine, KvStore::Sequence sequence, const std::vector<int64_t> &ids) {
    std::vector<int32_t> tokens(ids.begin(), ids.end());
    EXPECT_TRUE(engine.reserve(sequence, tokens.size()));
    SequenceRows rows{.sequence = sequence, .tokens = tokens, .logitRows = static_cast<int64_t>(tokens.size())};
    auto step = engine.step({&rows, 1});
    EXPECT_TRUE(step) << step.error().message;
    std::vector<float> logits;
    for (int64_t row = 0; step && row < step->rows; ++row)
      logits.insert(logits.end(), step->row(row).begin(), step->row(row).end());
    return logits;
  }

  std::vector<std::string> machineTiersOfArtifact() const {
    std::vector<std::string> tiers;
    std::ranges::copy_if(artifact->manifest().tiers, std::back_inserter(tiers), machineRuns);
    return tiers;
  }

  ModelConfig config;
  std::shared_ptr<const Artifact> artifact;
  std::shared_ptr<const WeightSource> source;
};

/// Root mean square of the difference, as a share of that of the logits.
double relativeError(const std::vector<float> &a, const std::vector<float> &b) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(double(a[i]) - b[i], 2);
    size += std::pow(double(b[i]), 2);
  }
  return std::sqrt(difference / size);
}

} // namespace

/// All rooms know the same tiers, and where the machine lacks instructions of avxvnni and amx they are emulated.
TEST(Tiers, AreTheSameEverywhereAndAllRun) {
  std::vector<std::string> compiled, runs = machineTiers();
  for (const CpuTier &tier : cpuTiers())
    compiled.push_back(tier.name);
  EXPECT_EQ(compiled, knownTiers());
  EXPECT_EQ(ScheduleTable::builtIn().tiers(), knownTiers());
  auto has = [&](const char *tier) { return std::ranges::find(runs, tier) != runs.end(); };
  EXPECT_EQ(has("avxvnni"), has("x86-64-v3"));
  EXPECT_EQ(has("amx"), has("avx512vnni"));
}

/// The kernels compute what the fused IR says, and fusion changes nothing but what rounding the weights costs.
TEST_P(Exec, CompiledIsReference) {
  std::vector<float> before = reference("stages/00-model.mlir"), after = reference("stages/10-fused.mlir");
  ASSERT_EQ(before.size(), after.size());
  auto [quant, kv] = std::get<1>(GetParam());
  bool int8 = std::string(quant) == "int8", int8Kv = std::string(kv) == "int8";
  double quantisation = relativeError(after, before);
  if (int8 || std::string(quant) == "bf16") // a bf16 is off by 2^-9 of itself at most, each for itself
    EXPECT_LT(quantisation, int8 ? 0.05 : 0.01);
  else
    EXPECT_EQ(quantisation, 0.0);
  std::vector<float> first;
  for (const std::string &tier : machineTiersOfArtifact()) {
    std::vector<float> logits = compiled(tier);
    ASSERT_EQ(logits.size(), after.size()) << tier;
    auto rows = [&](size_t begin, size_t count) {
      auto cut = [&](const std::vector<float> &all) {
        auto at = all.begin() + begin * config.vocabSize;
        return std::vector<float>(at, at + count * config.vocabSize);
      };
      return relativeError(cut(logits), cut(after));
    };
    if (std::string(quant) == "bf16" && tierHas(tier, "bf16")) {
      // Inputs of linears are rounded as the weights are: off by as much as those, and not by nothing.
      EXPECT_LT(relativeError(logits, after), 0.01) << tier;
      EXPECT_GT(relativeError(logits, after), 1e-4) << tier;
      continue;
    }
    if (int8Kv) {
      // The reference rounds keys and values as the kernels do, but not queries and softmax weights. A row that sees
      // itself alone has one weight, which is exact.
      EXPECT_LT(rows(0, 1), 4e-6) << tier;
      EXPECT_LT(rows(43, 1), 4e-6) << tier;
      EXPECT_LT(relativeError(logits, after), 0.01) << tier;
    } else if (int8) {
      // A sum whose last bit differs moves a code by one step now and then, and all rows that see that one then differ
      // by about what quantisation itself costs. Until the first such step the rows are equal but for rounding.
      EXPECT_LT(rows(0, 3), 4e-6) << tier;
      EXPECT_LT(relativeError(logits, after), quantisation) << tier;
    } else {
      EXPECT_LT(relativeError(logits, after), 4e-6) << tier;
    }
    if (first.empty())
      first = logits;
    else
      EXPECT_EQ(logits, first) << "the tiers differ";
  }
  EXPECT_FALSE(first.empty());
}

/// What other sequences left in a page does not count, and a fork's copy of a page is whole.
TEST_P(Exec, PagesOfOthersDoNotCount) {
  std::vector<int64_t> longer = promptsOf(config)[0], prompt = promptsOf(config)[1], one = {1}, two = {2};
  auto followedBy = [&](std::vector<int64_t> more) {
    more.insert(more.begin(), prompt.begin(), prompt.end());
    return more;
  };
  auto lastRow = [&](const std::vector<float> &all) {
    return std::vector<float>(all.end() - config.vocabSize, all.end());
  };
  for (const std::string &tier : machineTiersOfArtifact()) {
    auto fresh = [&](const std::vector<int64_t> &ids) {
      auto engine = Engine::load(artifact, {.tier = tier, .threads = 1, .kvTokens = 64});
      EXPECT_TRUE(engine) << engine.error().message;
      return engine ? go(**engine, (*engine)->kv().open(), ids) : std::vector<float>();
    };
    // Two pages for one sequence: the second takes over what the first left, the fork the rest.
    auto engine = Engine::load(artifact, {.tier = tier, .threads = 1, .kvTokens = 64, .reusePrefixes = false});
    ASSERT_TRUE(engine) << engine.error().message;
    KvStore &kv = (*engine)->kv();
    auto first = kv.open();
    go(**engine, first, longer);
    kv.close(first);
    auto sequence = kv.open();
    EXPECT_EQ(go(**engine, sequence, prompt), fresh(prompt)) << tier;
    auto forked = kv.fork(sequence);
    EXPECT_EQ(go(**engine, forked, one), lastRow(fresh(followedBy(one)))) << tier;
    EXPECT_NE(kv.pages(forked)[0], kv.pages(sequence)[0]);
    EXPECT_EQ(go(**engine, sequence, two), lastRow(fresh(followedBy(two)))) << tier;
  }
}

INSTANTIATE_TEST_SUITE_P(OddSizes, Exec,
                         testing::Combine(testing::Range(1u, 9u),
                                          testing::Values(Numbers{"f32", "f32"}, Numbers{"bf16", "f32"},
                                                          Numbers{"int8", "bf16"}, Numbers{"f32", "int8"})));
