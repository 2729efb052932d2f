//===- ModelBuilderTest.cpp - the IR that a config becomes ----------------===//
#include "ReferenceTesting.h"

#include "compiler/ModelBuilder.h"

#include "llvm/ADT/StringMap.h"

#include <cmath>

using namespace lathe;

namespace {

ModelConfig smallConfig() {
  ModelConfig config;
  config.name = "small";
  config.vocabSize = 40;
  config.hiddenSize = 24;
  config.intermediateSize = 36;
  config.numHiddenLayers = 2;
  config.numAttentionHeads = 6;
  config.numKeyValueHeads = 2;
  config.headDim = 8;
  config.maxPositionEmbeddings = 128;
  return config;
}

struct Built {
  explicit Built(const ModelConfig &config, BuildOptions options = {}) : module(buildModel(context, config, options)) {
    EXPECT_TRUE(mlir::succeeded(mlir::verify(*module)));
  }
  template <typename Op> std::vector<Op> all() {
    std::vector<Op> result;
    module->walk([&](Op op) { result.push_back(op); });
    return result;
  }
  std::string text(bool locations) {
    std::string result;
    llvm::raw_string_ostream stream(result);
    mlir::OpPrintingFlags flags;
    module->print(stream, flags.enableDebugInfo(locations).printNameLocAsPrefix());
    return result;
  }
  mlir::MLIRContext context;
  mlir::OwningOpRef<mlir::ModuleOp> module;
};

// Every weight that the config lists is in the IR once, with its shape, and no other.
TEST(ModelBuilder, WeightsAreThoseOfTheConfig) {
  std::vector<ModelConfig> configs(4, smallConfig());
  configs[0].tieWordEmbeddings = true;
  configs[1].attentionBias = {true, true, true, true};
  configs[1].mlpBias = {true, true, true};
  configs[1].headBias = true;
  configs[2].normType = "layer";
  configs[2].qkNorm = "rms";
  configs[3].qkNorm = "layer";
  configs[3].attentionBias = {.q = true, .o = true};
  configs[3].mlpBias = {.up = true};
  for (const ModelConfig &config : configs) {
    Built built(config);
    llvm::StringMap<std::vector<int64_t>> found;
    for (lm::WeightOp weight : built.all<lm::WeightOp>()) {
      auto shape = llvm::cast<mlir::RankedTensorType>(weight.getType()).getShape();
      EXPECT_TRUE(found.try_emplace(weight.getSource(), shape.begin(), shape.end()).second)
          << weight.getSource().str() << " twice";
    }
    for (const WeightSpec &weight : listWeights(config))
      EXPECT_EQ(found[weight.name], weight.shape) << weight.name;
    EXPECT_EQ(found.size(), listWeights(config).size());
  }
}

TEST(ModelBuilder, StepTakesABatchAndOneKvValueALayer) {
  Built built(smallConfig(), {.page = 64, .kv = "bf16"});
  auto step = built.module->lookupSymbol<mlir::func::FuncOp>("step");
  ASSERT_TRUE(step);
  ASSERT_EQ(step.getNumArguments(), 3u);
  EXPECT_TRUE(llvm::isa<lm::BatchType>(step.getArgumentTypes()[0]));
  auto kv = llvm::dyn_cast<lm::KvType>(step.getArgumentTypes()[2]);
  ASSERT_TRUE(kv);
  EXPECT_EQ(kv, lm::KvType::get(&built.context, 2, 8, 64, mlir::BFloat16Type::get(&built.context)));
  ASSERT_EQ(step.getNumResults(), 3u);
  EXPECT_EQ(llvm::cast<mlir::RankedTensorType>(step.getResultTypes()[0]).getDimSize(1), 40);
  EXPECT_EQ(step.getResultTypes()[2], kv);
  EXPECT_EQ(built.module->getSymName(), "small");
}

TEST(ModelBuilder, DumpsReadInTheModelsWordsAndPointIntoTheConfig) {
  ModelConfig config = smallConfig();
  config.where[""] = "/home/me/models/small.toml:1:1";
  config.where["rope_parameters.rope_theta"] = "/home/me/models/small.toml:12:3";
  config.where["num_attention_heads"] = "small.toml:7:1";
  Built built(config);
  std::string text = built.text(true), bare = built.text(false);
  EXPECT_NE(bare.find("%q_rope = lm.rope %q at %batch dim 8"), std::string::npos) << bare;
  EXPECT_NE(bare.find("%attn = lm.attention %q_rope over %kv0 at %batch"), std::string::npos) << bare;
  EXPECT_NE(bare.find("%gated = lm.gated"), std::string::npos);
  EXPECT_NE(bare.find("return %logits, %kv0, %kv1"), std::string::npos) << bare;
  EXPECT_NE(text.find("\"small.toml\":12:3"), std::string::npos);
  EXPECT_NE(text.find("\"small.toml\":7:1"), std::string::npos);
  EXPECT_NE(text.find("\"small.toml\":1:1"), std::string::npos) << "what no key decided points at the file";
  EXPECT_NE(text.find("fused<\"rms_norm_eps\">"), std::string::npos)
      << "the key that decided an op stands with its place";
  EXPECT_EQ(text.find("/me/"), std::string::npos) << "base names only";
  for (mlir::Operation &op : built.module->lookupSymbol<mlir::func::FuncOp>("step").getBody().front()) {
    auto name = llvm::dyn_cast<mlir::NameLoc>(op.getLoc());
    ASSERT_TRUE(name) << op.getName().getStringRef().str();
    EXPECT_TRUE(name.getChildLoc()->findInstanceOf<mlir::FileLineColLoc>());
  }
}

TEST(ModelBuilder, PlacesWithoutLinesAreKept) {
  ModelConfig config = smallConfig();
  config.where[""] = "dir/model.gguf";
  EXPECT_NE(Built(config).text(true).find("\"model.gguf\":0:0"), std::string::npos);
}

TEST(ModelBuilder, LayersSlideAsTheConfigSays) {
  ModelConfig config = smallConfig();
  config.slidingWindow = 12;
  config.layerTypes = {"full_attention", "sliding_attention"};
  Built built(config);
  std::vector<lm::AttentionOp> attention = built.all<lm::AttentionOp>();
  ASSERT_EQ(attention.size(), 2u);
  EXPECT_EQ(attention[0].getMask(), lm::MaskKind::causal);
  EXPECT_FALSE(attention[0].getWindow());
  EXPECT_EQ(attention[1].getMask(), lm::MaskKind::window);
  EXPECT_EQ(attention[1].getWindow(), 12u);
  EXPECT_EQ(attention[1].getScale().convertToDouble(), 1 / std::sqrt(8.0));
}

TEST(ModelBuilder, RopeOfEveryTypeVerifies) {
  ModelConfig config = smallConfig();
  config.rope.factor = 4;
  config.rope.originalMaxPositionEmbeddings = 32;
  for (const char *type : {"default", "linear", "llama3", "yarn"}) {
    config.rope.type = type;
    Built built(config);
    ASSERT_EQ(built.all<lm::RopeOp>().size(), 4u);
    EXPECT_EQ(built.all<lm::RopeOp>()[0].getRope().getType().getValue(), type);
  }
  config.rope.layout = "interleaved";
  EXPECT_EQ(Built(config).text(false).find("layout = half"), std::string::npos);
  config.rope.type = "none";
  EXPECT_TRUE(Built(config).all<lm::RopeOp>().empty());
}

TEST(ModelBuilder, YarnAttentionFactorIsResolvedAsHuggingFaceDoes) {
  RopeConfig rope;
  rope.factor = 40;
  EXPECT_NEAR(yarnAttentionFactor(rope), 0.1 * std::log(40.0) + 1, 1e-15);
  rope.mscale = 0.707; // one alone has no effect
  EXPECT_NEAR(yarnAttentionFactor(rope), 0.1 * std::log(40.0) + 1, 1e-15);
  rope.mscaleAllDim = 1.0;
  EXPECT_NEAR(yarnAttentionFactor(rope), (0.0707 * std::log(40.0) + 1) / (0.1 * std::log(40.0) + 1), 1e-15);
  rope.attentionFactor = 0.5;
  EXPECT_EQ(yarnAttentionFactor(rope), 0.5);
  rope = {};
  rope.factor = 0.5;
  EXPECT_EQ(yarnAttentionFactor(rope), 1);
}

} // namespace
