#include "runtime/support/Json.h"

#include <gtest/gtest.h>

namespace lathe {
namespace {

TEST(Json, SyntaxErrorsSayWhere) {
  EXPECT_EQ(parseJson("{\"a\": tru}", "x.json").error().message.substr(0, 9), "x.json:1:");
  EXPECT_EQ(parseJson("{\n\"a\": 1,\n}", "x.json").error().message.substr(0, 9), "x.json:3:");
  EXPECT_NE(parseJson("[1, 2", "x.json").error().message.find("found the end of the text"), std::string::npos);
  EXPECT_FALSE(parseJson("1 2", "x.json"));
  EXPECT_FALSE(parseJson("\"\xff\"", "x.json"));
  EXPECT_FALSE(parseJson("1e999", "x.json"));
}

TEST(Json, DepthIsLimited) {
  EXPECT_TRUE(parseJson(std::string(64, '[') + std::string(64, ']'), "x"));
  auto deep = parseJson(std::string(65, '[') + std::string(65, ']'), "x");
  ASSERT_FALSE(deep);
  EXPECT_EQ(deep.error().message, "x: expected at most 64 levels of nesting");
  EXPECT_FALSE(parseJson(std::string(10'000'000, '['), "x"));
  EXPECT_TRUE(parseJson("[" + std::string(100, '{').replace(0, 100, "[],[],{},{\"a\":[]}") + "]", "x"))
      << "breadth is not depth";
}

TEST(Json, ReaderKeepsTheFirstError) {
  Json json = *parseJson(R"({"a": 5, "b": "x", "c": [1, -2], "d": {"e": {"f": 9}}})", "x");
  std::optional<Error> error;
  JsonReader reader(json, "x", error);
  EXPECT_EQ(reader.integer("a", 0, 5), 5);
  EXPECT_EQ(reader.string("b"), "x");
  reader.members("d", [](const std::string &name, JsonReader &fields) {
    EXPECT_EQ(name, "e");
    fields.integer("f", 0, 8);
  });
  reader.integer("a", 6, 7);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->message, "x: d.e: f: expected an integer from 0 to 8, found 9");
  error.reset();
  reader.integers("c", 0, 3);
  EXPECT_EQ(error->message, "x: c[1]: expected an integer from 0 to 3, found -2");
  error.reset();
  reader.number("b", 0, 1);
  EXPECT_EQ(error->message, "x: b: expected a number from 0 to 1, found \"x\"");
}

} // namespace
} // namespace lathe
