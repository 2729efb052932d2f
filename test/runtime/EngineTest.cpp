#include "test/runtime/ToyModel.h"

#include "runtime/CpuFeatures.h"

#include <cstring>
#include <gtest/gtest.h>

namespace lathe {
namespace {

std::vector<int32_t> text(int64_t count) { return toy::drawTokens(1, count); }

/// All rows' logits when `tokens` are run in chunks.
std::vector<std::vector<float>> evaluate(Engine &engine, std::span<const int32_t> tokens, int64_t chunk) {
  std::vector<std::vector<float>> rows;
  KvStore::Sequence sequence = engine.kv().open();
  for (size_t begin = 0; begin < tokens.size(); begin += chunk) {
    auto part = tokens.subspan(begin, std::min<size_t>(chunk, tokens.size() - begin));
    EXPECT_TRUE(engine.reserve(sequence, static_cast<int64_t>(part.size())));
    SequenceRows step{sequence, part, static_cast<int64_t>(part.size())};
    auto logits = engine.step({&step, 1});
    EXPECT_TRUE(logits) << logits.error().message;
    for (int64_t row = 0; row < logits->rows; ++row)
      rows.emplace_back(logits->row(row).begin(), logits->row(row).end());
  }
  engine.kv().close(sequence);
  return rows;
}

// Chunks, threads and tiers leave every bit alone, and the bits are those of the hand-written evaluation.
TEST(Engine, AnyCutGivesTheSameBits) {
  std::vector<int32_t> tokens = text(50);
  for (const std::string &tier : machineTiers())
    for (int64_t threads : {1, 2, 3, 7})
      for (int64_t chunk : {1, 2, 3, 5, 17, 50}) {
        auto engine = toy::engine({.tier = tier, .threads = threads, .reusePrefixes = false});
        auto rows = evaluate(*engine, tokens, chunk);
        ASSERT_EQ(rows.size(), tokens.size());
        for (size_t row = 0; row < rows.size(); ++row)
          ASSERT_EQ(rows[row], toy::logits(std::span(tokens).first(row + 1)))
              << "row " << row << " chunk " << chunk << " threads " << threads;
      }
}

TEST(Engine, RaggedBatchGivesEachWhatItGetsAlone) {
  auto engine = toy::engine({.threads = 2, .kvTokens = 400, .reusePrefixes = false});
  std::vector<std::vector<int32_t>> texts;
  std::vector<SequenceRows> batch;
  for (int64_t length : {1, 4, 5, 13, 21, 3})
    texts.push_back(toy::drawTokens(length, length));
  for (const auto &tokens : texts) {
    KvStore::Sequence sequence = engine->kv().open();
    ASSERT_TRUE(engine->reserve(sequence, static_cast<int64_t>(tokens.size())));
    batch.push_back({sequence, tokens, tokens.size() == 4 ? 0 : 1});
  }
  auto logits = engine->step(batch);
  ASSERT_TRUE(logits);
  ASSERT_EQ(logits->rows, 5);
  for (size_t i = 0, row = 0; i < texts.size(); ++i)
    if (texts[i].size() != 4) {
      auto got = logits->row(static_cast<int64_t>(row++));
      ASSERT_EQ(std::vector<float>(got.begin(), got.end()), toy::logits(texts[i])) << "sequence " << i;
    }
}

// A fork shares pages until one of the two goes on; then both are what they would be alone.
TEST(Engine, ForkCopiesPagesOnWrite) {
  auto engine = toy::engine({.kvTokens = 200});
  std::vector<int32_t> prefix = text(10);
  KvStore::Sequence a = engine->kv().open();
  ASSERT_TRUE(engine->reserve(a, 10));
  SequenceRows first{a, prefix, 1};
  ASSERT_TRUE(engine->step({&first, 1}));
  KvStore::Sequence b = engine->kv().fork(a);
  std::vector<int32_t> endA = {1, 2, 3}, endB = {30, 31, 32};
  ASSERT_TRUE(engine->reserve(a, 3) && engine->reserve(b, 3));
  SequenceRows both[] = {{a, endA, 1}, {b, endB, 1}};
  auto logits = engine->step(both);
  ASSERT_TRUE(logits);
  for (auto [row, end] : {std::pair{0, endA}, std::pair{1, endB}}) {
    std::vector<int32_t> whole = prefix;
    whole.insert(whole.end(), end.begin(), end.end());
    ASSERT_EQ(std::vector<float>(logits->row(row).begin(), logits->row(row).end()), toy::logits(whole));
  }
}

TEST(Engine, RefusesWhatCannotBeRun) {
  auto engine = toy::engine({.context = 8});
  KvStore::Sequence sequence = engine->kv().open();
  ASSERT_TRUE(engine->reserve(sequence, 8));
  auto message = [&](std::vector<int32_t> tokens) {
    SequenceRows step{sequence, tokens, 1};
    auto result = engine->step({&step, 1});
    return result ? "" : result.error().message;
  };
  EXPECT_NE(message({1, 99}).find("token id 99: expected 0 to 36"), std::string::npos);
  EXPECT_NE(message({-1}).find("token id -1"), std::string::npos);
  EXPECT_NE(message(std::vector<int32_t>(9, 1)).find("a sequence of 9 tokens: the context has 8"), std::string::npos);
  EXPECT_EQ(engine->kv().length(sequence), 0);
  EXPECT_EQ(message(std::vector<int32_t>(8, 1)), "");
}

TEST(Engine, LoadErrorsSayWhatToDo) {
  auto failure = [](const EngineOptions &options) {
    auto engine = Engine::load(toy::artifact(), options);
    return engine ? Error{ExitCode::ok, ""} : engine.error();
  };
  EXPECT_EQ(failure({.tier = "mmx"}).code, ExitCode::usage);
  EXPECT_NE(failure({.tier = "mmx"}).message.find("avx512vnni"), std::string::npos);
  EXPECT_EQ(failure({.context = 1000}).code, ExitCode::badInput);
  EXPECT_NE(failure({.context = 1000}).message.find("compiled for a context of 64"), std::string::npos);
  Error pool = failure({.kvTokens = int64_t(1) << 40});
  EXPECT_EQ(pool.code, ExitCode::resource);
  EXPECT_NE(pool.message.find("bytes"), std::string::npos);
  pool = failure({.kvTokens = int64_t(1) << 32}); // fits the address space, not the memory
  EXPECT_EQ(pool.code, ExitCode::resource);
  EXPECT_NE(pool.message.find(std::to_string((int64_t(1) << 32) * 128)), std::string::npos) << pool.message;
  EXPECT_EQ(failure({.threads = -1}).code, ExitCode::usage);
}

TEST(Engine, PlanThatNamesMissingThings) {
  auto failure = [](const Plan &plan) {
    std::string path = toy::temporaryPath("broken.lathe");
    EXPECT_TRUE(toy::write(path, plan));
    auto artifact = Artifact::open(path);
    std::remove(path.c_str());
    EXPECT_TRUE(artifact);
    auto engine = Engine::load(*artifact, {.tier = "x86-64-v3"});
    return engine ? "" : engine.error().message;
  };
  Plan plan = toy::plan();
  plan.kernels[0].symbol = "toy_absent";
  EXPECT_NE(failure(plan).find("no symbol toy_absent"), std::string::npos);
  plan = toy::plan();
  plan.kernels[1].variants.erase("x86-64-v3");
  EXPECT_NE(failure(plan).find("toy_append has no variant for x86-64-v3"), std::string::npos);
  plan = toy::plan();
  plan.buffers[3].tensor = "tail.weight";
  EXPECT_NE(failure(plan).find("no weight tail.weight"), std::string::npos);
  plan = toy::plan();
  plan.slots[0].bytesPerUnit = int64_t(1) << 47;
  EXPECT_NE(failure(plan).find("bytes"), std::string::npos);
}

} // namespace
} // namespace lathe
