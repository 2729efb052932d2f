//===- ReferenceModelsTest.cpp - whole models against Hugging Face --------===//
//
// test/data/reference holds small models and the answers that Hugging Face transformers gives for them in float32.
//
//===----------------------------------------------------------------------===//
#include "ReferenceTesting.h"

#include "compiler/ModelBuilder.h"
#include "passes/lm/LmPasses.h"

#include "mlir/Pass/PassManager.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

using namespace lathe;

namespace {

/// What transformers answered. Trusted: it is our own file.
struct Expected {
  explicit Expected(const std::string &bytes) {
    uint64_t size = 0;
    std::memcpy(&size, bytes.data(), 8);
    header = nlohmann::json::parse(bytes.substr(8, size), nullptr, false);
    data = bytes.substr(8 + size);
  }
  template <typename T> std::vector<T> read(const std::string &name) {
    uint64_t begin = header[name]["data_offsets"][0], end = header[name]["data_offsets"][1];
    std::vector<T> result((end - begin) / sizeof(T));
    std::memcpy(result.data(), data.data() + begin, end - begin);
    return result;
  }
  std::vector<int64_t> ids(const std::string &name) {
    std::vector<int32_t> ids = read<int32_t>(name);
    return {ids.begin(), ids.end()};
  }
  nlohmann::json header;
  std::string data;
};

class ReferenceModels : public testing::TestWithParam<const char *> {
protected:
  void SetUp() override {
    std::string folder = std::string(LATHE_TEST_DATA "/reference/") + GetParam();
    auto imported = importModel(folder, "");
    ASSERT_TRUE(imported) << imported.error().message;
    model = std::move(*imported);
    std::ifstream file(folder + "/expected.safetensors", std::ios::binary);
    std::string bytes{std::istreambuf_iterator<char>(file), {}};
    ASSERT_GT(bytes.size(), 8u) << folder;
    expected.emplace(bytes);
    ids = expected->ids("input_ids");
    logits = expected->read<float>("logits");
    module = buildModel(context, model.config);
    ASSERT_TRUE(mlir::succeeded(mlir::verify(*module)));
  }

  std::vector<float> evaluate(mlir::ModuleOp module) {
    auto result = Reference<double>(module, model.weights).step(wholeSequence(ids));
    EXPECT_TRUE(result) << result.error().message;
    return result.value_or(std::vector<float>());
  }
  void run(const lm::FuseOptions &options) {
    mlir::PassManager passes(&context);
    lm::addFusePipeline(passes, options);
    ASSERT_TRUE(mlir::succeeded(passes.run(*module)));
  }
  double divergenceOfInt8(bool floatInputs);

  mlir::MLIRContext context;
  ImportedModel model;
  std::optional<Expected> expected;
  std::vector<int64_t> ids;
  std::vector<float> logits;
  mlir::OwningOpRef<mlir::ModuleOp> module;
};

TEST_P(ReferenceModels, LogitsAreThoseOfTransformers) {
  EXPECT_LT(largestDifference(evaluate(*module), logits), 2e-5);
  auto inFloat = Reference<float>(*module, model.weights).step(wholeSequence(ids));
  ASSERT_TRUE(inFloat);
  EXPECT_LT(largestDifference(*inFloat, logits), 4e-5);
}

TEST_P(ReferenceModels, GreedyContinuationIsThatOfTransformers) {
  Reference<double> reference(*module, model.weights);
  std::vector<int64_t> greedy, next(ids.begin(), ids.begin() + 16);
  int64_t position = 0;
  for (int i = 0; i < 24; ++i) {
    ReferenceBatch batch = wholeSequence(next, position);
    batch.wanted = {int64_t(next.size()) - 1};
    position += next.size();
    auto row = reference.step(batch);
    ASSERT_TRUE(row) << row.error().message;
    next = {std::max_element(row->begin(), row->end()) - row->begin()};
    greedy.push_back(next[0]);
  }
  EXPECT_EQ(greedy, expected->ids("greedy_from_16"));
}

TEST_P(ReferenceModels, ChunksAndOtherSequencesChangeNothing) {
  std::vector<float> whole = evaluate(*module), chunked;
  Reference<double> reference(*module, model.weights);
  for (size_t begin = 0; begin < ids.size(); begin += 5) {
    std::vector<int64_t> chunk(ids.begin() + begin, ids.begin() + std::min(begin + 5, ids.size()));
    ReferenceBatch batch = wholeSequence(chunk, begin, 1);
    // A neighbour before it in the batch.
    batch.sequences.insert(batch.sequences.begin(),
                           {.id = 9, .tokens = {ids[begin], ids[0]}, .start = int64_t(begin / 5 * 2)});
    for (int64_t &row : batch.wanted)
      row += 2;
    auto part = reference.step(batch);
    ASSERT_TRUE(part) << part.error().message;
    chunked.insert(chunked.end(), part->begin(), part->end());
  }
  EXPECT_EQ(chunked, whole);
}

// Fusion and outlining move ops and never change a bit.
TEST_P(ReferenceModels, FusedModelIsTheSame) {
  std::vector<float> before = evaluate(*module);
  lm::FuseOptions options;
  run(options);
  EXPECT_EQ(evaluate(*module), before);
  size_t kernels = 0;
  module->walk([&](lm::FusedOp) { ++kernels; });
  EXPECT_GT(kernels, 0u);
}

/// Mean KL(transformers ‖ int8) over the rows.
double ReferenceModels::divergenceOfInt8(bool floatInputs) {
  lm::FuseOptions options;
  options.quant = "int8";
  options.group = 32;
  options.floatInputs = floatInputs;
  run(options);
  std::vector<float> quantised = evaluate(*module);
  EXPECT_EQ(quantised.size(), logits.size());
  EXPECT_GT(largestDifference(quantised, logits), 1e-4) << "nothing was quantised";
  int64_t vocab = model.config.vocabSize, rows = ids.size();
  double total = 0;
  for (int64_t r = 0; r < rows; ++r) {
    auto logSum = [&](const std::vector<float> &x) {
      double sum = 0;
      for (int64_t c = 0; c < vocab; ++c)
        sum += std::exp(double(x[r * vocab + c]));
      return std::log(sum);
    };
    double p = logSum(logits), q = logSum(quantised);
    for (int64_t c = 0; c < vocab; ++c) {
      double lp = logits[r * vocab + c] - p, lq = quantised[r * vocab + c] - q;
      total += std::exp(lp) * (lp - lq);
    }
  }
  return total / rows;
}

TEST_P(ReferenceModels, QuantisedModelStaysClose) { EXPECT_LT(divergenceOfInt8(false), 5e-3); }

// As GPUs have it: weights alone.
TEST_P(ReferenceModels, QuantisedWeightsStayCloser) {
  EXPECT_LT(divergenceOfInt8(true), 2e-3);
  module->walk([](lm::QuantizeOp op) { ADD_FAILURE() << "an input is quantised"; });
}

INSTANTIATE_TEST_SUITE_P(HuggingFace, ReferenceModels,
                         testing::Values("llama", "llama3-rope-scaled", "mistral-window", "qwen2", "qwen3"),
                         [](const auto &info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

} // namespace
