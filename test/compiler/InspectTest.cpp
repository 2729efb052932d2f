// Provenance, canonical configs, unified diffs, and the texts of the page.
#include "compiler/inspect/Difference.h"
#include "compiler/inspect/Explanation.h"
#include "compiler/inspect/Provenance.h"
#include "compiler/inspect/html/Parts.h"

#include "mlir/AsmParser/AsmParser.h"
#include "mlir/IR/MLIRContext.h"

#include <algorithm>
#include <gtest/gtest.h>

namespace lathe {
namespace {

mlir::Location parse(mlir::MLIRContext &context, const char *text) {
  return mlir::cast<mlir::LocationAttr>(mlir::parseAttribute(text, &context));
}

TEST(Provenance, MergedOpsHaveTheKeysOfAll) {
  mlir::MLIRContext context;
  mlir::Location merged = parse(context, R"(loc("qkv_codes"("qkv"(fused["q"(fused<"num_attention_heads">["m.toml":7:1]),
      "k"(fused<"num_key_value_heads">["m.toml":8:1]), "v"(fused<"num_key_value_heads">["m.toml":8:1])]))))");
  EXPECT_EQ(placesOf(merged), (std::vector<ConfigPlace>{{"num_attention_heads", "m.toml", 7, 1},
                                                        {"num_key_value_heads", "m.toml", 8, 1}}));
  EXPECT_EQ(wordsOf(merged), (std::vector<std::string>{"qkv_codes", "qkv", "q", "k", "v"}));
  EXPECT_TRUE(placesOf(parse(context, R"(loc("x"("m.toml":1:1)))")).empty()) << "no key decided it";
}

TEST(Provenance, AKeyIsDescribedByItsLine) {
  auto config = readConfigLines("hidden_act = \"silu\"\n\n[rope_parameters]\nrope_theta = 1e4\n");
  ASSERT_EQ(config.size(), 2u);
  EXPECT_EQ(config[1].key, "rope_parameters.rope_theta");
  EXPECT_EQ(config[1].line, 4);
  EXPECT_EQ(describe({"hidden_act", "config.json", 9, 17}, config),
            "hidden_act = \"silu\" at config.toml:1, from config.json:9:17");
  EXPECT_EQ(describe({"rope_parameters.rope_theta", "m.gguf", 0, 0}, config),
            "rope_parameters.rope_theta = 1e4 at config.toml:4, from m.gguf");
  EXPECT_EQ(describe({"sliding_window", "config.json", 3, 2}, config), "sliding_window, from config.json:3:2");
}

TEST(Explanation, ARefusalStandsAtTheKernelThatTheOpIsIn) {
  // Two layers whose gate and up come from other ops than one linear.
  std::string text = "func.func @step(%x0: tensor<?x64xf32>, %w: tensor<64x64xf32>) -> tensor<?x64xf32> {\n";
  for (int i = 0; i < 2; ++i)
    text += fmt::format(
        R"(  %gate{0} = lm.linear %x{0}, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32> loc("gate")
  %gated{0} = lm.gated silu %gate{0}, %x{0} : tensor<?x64xf32> loc("gated"(fused<"hidden_act">["m.toml":9:1]))
  %x{1} = lm.linear %gated{0}, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32> loc("down")
)",
        i, i + 1);
  auto explanation = explainFusion(text + "  return %x2 : tensor<?x64xf32>\n}\n", "f32", "cpu");
  ASSERT_TRUE(explanation) << explanation.error().message;
  int64_t refusals = 0, gated = 0;
  for (const KernelExplanation &kernel : explanation->kernels) {
    for (const FusedPart &part : kernel.parts)
      if (part.op == "lm.gated") {
        ++gated;
        EXPECT_EQ(kernel.regions, 2);
        EXPECT_EQ(part.pass, "lm-form-kernels");
        EXPECT_EQ(part.places, (std::vector<ConfigPlace>{{"hidden_act", "m.toml", 9, 1}}));
        auto refusal = std::ranges::find(kernel.refusals, "lm-fuse-gated", &Refusal::pass);
        ASSERT_NE(refusal, kernel.refusals.end());
        EXPECT_EQ(refusal->count, 2) << "equal remarks of two layers are one";
        EXPECT_EQ(refusal->reason, "not fused: gate and up do not come from one linear");
      }
    for (const Refusal &refusal : kernel.refusals)
      refusals += refusal.pass == "lm-fuse-gated";
  }
  EXPECT_EQ(gated, 1);
  EXPECT_EQ(refusals, 1) << "told at one kernel";
  EXPECT_TRUE(explanation->others.empty());
  EXPECT_FALSE(explainFusion("no IR", "f32", "cpu"));
}

TEST(UnifiedDiff, HunksWithContext) {
  std::string before, after;
  for (int i = 1; i <= 20; ++i) {
    before += fmt::format("{}\n", i);
    if (i != 5)
      after += i == 15 ? "15\nnew\n" : fmt::format("{}\n", i);
  }
  EXPECT_EQ(unifiedDiff(before, after, 1), "@@ -4,3 +4,2 @@\n 4\n-5\n 6\n@@ -15,2 +14,3 @@\n 15\n+new\n 16\n");
  EXPECT_EQ(unifiedDiff(before, before), "");
  EXPECT_EQ(unifiedDiff("", "a\n"), "@@ -0,0 +1,1 @@\n+a\n");
  EXPECT_EQ(unifiedDiff("a\n", ""), "@@ -1,1 +0,0 @@\n-a\n");
}

TEST(UnifiedDiff, TextsWithoutACommonLineAreReplaced) {
  std::string before, after;
  for (int i = 0; i < 3000; ++i)
    before += fmt::format("b{}\n", i), after += fmt::format("a{}\n", i);
  std::string diff = unifiedDiff(before, after);
  EXPECT_TRUE(diff.starts_with("@@ -1,3000 +1,3000 @@\n-b0\n"));
  EXPECT_EQ(std::ranges::count(diff, '\n'), 6001);
}

TEST(Page, EverythingIsEscaped) {
  EXPECT_EQ(html::escape("<b a=\"1\" c='2'>&amp;"), "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;amp;");
  EXPECT_EQ(html::escape("gr\xc3\xb6\xc3\x9f \xf0\x9f\xa6\x99\n"), "gr\xc3\xb6\xc3\x9f \xf0\x9f\xa6\x99\n");
  EXPECT_EQ(html::escape(std::string_view("\xff<\x00\x1b", 4)), "\xef\xbf\xbd&lt;\xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_EQ(html::escape("\xe2\x82"), "\xef\xbf\xbd\xef\xbf\xbd") << "a sequence cut short";
}

} // namespace
} // namespace lathe
