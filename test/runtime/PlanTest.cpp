#include "test/runtime/ToyModel.h"

#include "runtime/support/Json.h"

#include <gtest/gtest.h>

namespace lathe {
namespace {

Json toyJson() { return *parseJson(printPlan(toy::plan()), "plan.json"); }

std::string errorOf(const Json &json) {
  auto plan = parsePlan(json.dump());
  return plan ? "" : plan.error().message;
}

TEST(Plan, PrintsAndParsesBack) {
  std::string text = printPlan(toy::plan());
  auto plan = parsePlan(text);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(printPlan(*plan), text);
  EXPECT_EQ(plan->kernels[2].unit, Unit::items);
  EXPECT_EQ(plan->launches[2].args, (std::vector<int64_t>{0, 5, 6, 1}));
  EXPECT_EQ(plan->pageBytes(), 2 * toy::kHeads * toy::kDim * toy::kPageTokens * 4);
}

TEST(Plan, Int8PagesHoldScalesBehindTheKeys) {
  Plan plan = toy::plan();
  plan.kvElement = "int8", plan.kvHeads = 3, plan.dimPadded = 64, plan.pageTokens = 32;
  EXPECT_EQ(plan.valuePageBytes(), 3 * 32 * 64);
  EXPECT_EQ(plan.keyPageBytes(), 3 * 32 * (64 + 8));
  auto parsed = parsePlan(printPlan(plan));
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_EQ(parsed->pageBytes(), 3 * 32 * (64 + 72));
  plan.dimPadded = 66;
  auto odd = parsePlan(printPlan(plan));
  ASSERT_FALSE(odd);
  EXPECT_NE(odd.error().message.find("expected dimPadded and pageTokens of a multiple of 4, found 66 and 32"),
            std::string::npos)
      << odd.error().message;
}

TEST(Plan, LibraryOfATier) {
  Plan plan = toy::plan();
  LibraryUse use{"onednn", 2, 600, 32};
  plan.kernels[0].variants["avx512vnni"].library = use;
  auto parsed = parsePlan(printPlan(plan));
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_EQ(parsed->kernels[0].variants["avx512vnni"].library, use);
  EXPECT_FALSE(parsed->kernels[0].variants["x86-64-v3"].library);
  Json good = *parseJson(printPlan(plan), "plan.json");
  auto errorAfter = [&](const char *key, Json value) {
    Json json = good;
    json["kernels"][0]["variants"]["avx512vnni"][key] = value;
    return errorOf(json);
  };
  EXPECT_NE(errorAfter("library", "mkl").find("library: expected one of onednn, found 'mkl'"), std::string::npos);
  EXPECT_NE(errorAfter("libraryRows", 6).find("libraryRows: expected an integer from 2 to 5"), std::string::npos);
  EXPECT_NE(errorAfter("libraryK", 0).find("libraryK: expected an integer from 1"), std::string::npos);
  EXPECT_NE(errorAfter("libraryUnit", -1).find("libraryUnit: expected an integer from 0"), std::string::npos);
  EXPECT_NE(errorAfter("libraryUnit", 1025)
                .find("expected calls of at most 4096 rows and units of at most 1024, found 5 "
                      "and 1025"),
            std::string::npos);
}

struct Change {
  const char *pointer;
  Json value; ///< null removes the key
  const char *says;
};

TEST(Plan, EveryFieldIsChecked) {
  const Change changes[] = {
      {"/vocab", 0, "vocab: expected an integer from 1"},
      {"/vocab", "x", "vocab: expected an integer"},
      {"/vocab", nullptr, "vocab: missing"},
      {"/logitStride", 36, "logitStride: expected an integer from 37"},
      {"/context", -1, "context: expected an integer"},
      {"/context", 1e30, "context: expected an integer"},
      {"/context", 18446744073709551615ULL, "context: expected an integer"},
      {"/attentionRows", 0, "attentionRows"},
      {"/layers", 1 << 30, "layers"},
      {"/kvElement", "f64", "kvElement: expected f32, bf16 or int8, found 'f64'"},
      {"/kvHeads", 1 << 20, "KV page"}, // with the next two it would be far too large
      {"/surprise", 1, "unknown key \"surprise\""},
      {"/slots", Json::object(), "slots: expected a list"},
      {"/slots/0", 7, "slots[0]: expected an object"},
      {"/slots/0/unit", "blocks", "slots[0]: unit: expected one of rows, logitRows, partials, found 'blocks'"},
      {"/slots/1/bytesPerUnit", 0, "slots[1]: bytesPerUnit"},
      {"/buffers/0/slot", 3, "buffers[0]: slot: expected an integer from 0 to 2, found 3"},
      {"/buffers/0/kind", "magic",
       "buffers[0]: kind: expected one of activation, weight, key, value, logits, tokens, found 'magic'"},
      {"/buffers/0/layer", 0, "buffers[0]: unknown key \"layer\""},
      {"/buffers/3/tensor", "", "buffers[3]: tensor"},
      {"/buffers/4/kind", "activation", "buffers[4]: slot: missing"},
      {"/buffers/5/layer", 2, "buffers[5]: layer: expected an integer from 0 to 1"},
      {"/buffers/5", Json{{"name", "more"}, {"kind", "logits"}}, "buffers: expected one of kind logits, found 2"},
      {"/kernels/0/symbol", "system(\"x\")", "kernels[0]: symbol"},
      {"/kernels/1/symbol", "toy_embed", "two have the symbol toy_embed"},
      {"/kernels/0/tiles", 0, "kernels[0]: tiles"},
      {"/kernels/4/bytesPerTile", int64_t(1) << 47, "too large"},
      {"/kernels/0/variants", Json::object(), "kernels[0]: variants: expected at least one"},
      {"/kernels/0/variants/avx512vnni/unitBlock", 0, "kernels[0]: variants.avx512vnni: unitBlock"},
      {"/kernels/0/variants/avx512vnni/scratchBytes", int64_t(1) << 40, "scratchBytes"},
      {"/launches/0/kernel", 5, "launches[0]: kernel: expected an integer from 0 to 4"},
      {"/launches/0/args/0", 9, "launches[0]: args[0]: expected an integer from 0 to 8"},
      {"/launches/0/barrier", 1, "launches[0]: barrier: expected true or false"},
      {"/launches", Json::array(), "launches: expected at least one"},
  };
  for (const Change &change : changes) {
    Json json = toyJson();
    Json::json_pointer pointer(change.pointer);
    if (change.value.is_null())
      json[pointer.parent_pointer()].erase(pointer.back());
    else
      json[pointer] = change.value;
    if (std::string(change.pointer) == "/kvHeads")
      json["dimPadded"] = json["pageTokens"] = 1 << 20;
    std::string message = errorOf(json);
    EXPECT_NE(message.find(change.says), std::string::npos) << change.pointer << ": " << message;
    EXPECT_EQ(message.find("plan.json: "), 0u) << message;
  }
}

TEST(Plan, TextThatIsNoJson) {
  EXPECT_EQ(parsePlan("").error().message, "plan.json:1:1: expected JSON, found the end of the text");
  EXPECT_NE(parsePlan("{\n  \"vocab\": ]").error().message.find("plan.json:2:"), std::string::npos);
  EXPECT_FALSE(parsePlan("[]"));
  EXPECT_FALSE(parsePlan(std::string(100000, '[')));
}

} // namespace
} // namespace lathe
