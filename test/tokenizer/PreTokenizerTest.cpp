// Each pre-tokenizer by the words that it makes.

#include "runtime/tokenizer/PreTokenizer.h"

#include <gtest/gtest.h>

using namespace lathe;
using nlohmann::json;
using Words = std::vector<std::string>;

namespace {

/// `atStart` bytes of the text come from the start of the whole input.
Words words(const json &step, std::string_view text, size_t atStart = 1) {
  json read = json::parse(step.dump()); // numbers as a file has them
  auto preTokenizer = PreTokenizer::parse(JsonNode(read, "pre_tokenizer"));
  EXPECT_TRUE(preTokenizer) << preTokenizer.error().message;
  Words result;
  if (preTokenizer)
    PreTokenizer::Splitter(*preTokenizer, text.size()).split({text, atStart}, [&](std::string_view word) {
      result.emplace_back(word);
    });
  return result;
}
Words words(const char *type, std::string_view text) { return words(json{{"type", type}}, text); }

json split(const char *behavior, bool invert = false) {
  return {{"type", "Split"}, {"pattern", {{"String", "-"}}}, {"behavior", behavior}, {"invert", invert}};
}

} // namespace

TEST(PreTokenizer, NoneLeavesOneWord) { EXPECT_EQ(words(json(nullptr), "a b"), (Words{"a b"})); }

TEST(PreTokenizer, Behaviors) {
  constexpr const char *text = "the-final--countdown";
  EXPECT_EQ(words(split("Removed"), text), (Words{"the", "final", "countdown"}));
  EXPECT_EQ(words(split("Isolated"), text), (Words{"the", "-", "final", "-", "-", "countdown"}));
  EXPECT_EQ(words(split("MergedWithPrevious"), text), (Words{"the-", "final-", "-", "countdown"}));
  EXPECT_EQ(words(split("MergedWithNext"), text), (Words{"the", "-final", "-", "-countdown"}));
  EXPECT_EQ(words(split("Contiguous"), text), (Words{"the", "-", "final", "--", "countdown"}));
  EXPECT_EQ(words(split("Removed", true), text), (Words{"-", "-", "-"}));
}

TEST(PreTokenizer, Whitespace) {
  EXPECT_EQ(words("Whitespace", " Hey man!\u00A0?? ²"), (Words{"Hey", "man", "!", "??", "²"}));
  EXPECT_EQ(words("WhitespaceSplit", " Hey man!\u3000x"), (Words{"Hey", "man!", "x"}));
  EXPECT_EQ(words("BertPreTokenizer", "Hey, you… $5"), (Words{"Hey", ",", "you", "…", "$", "5"}));
}

TEST(PreTokenizer, Characters) {
  EXPECT_EQ(words("Punctuation", "a!?b"), (Words{"a", "!", "?", "b"}));
  EXPECT_EQ(words({{"type", "Punctuation"}, {"behavior", "Contiguous"}}, "a!?b"), (Words{"a", "!?", "b"}));
  EXPECT_EQ(words("Digits", "a12½b"), (Words{"a", "12½", "b"}));
  EXPECT_EQ(words({{"type", "Digits"}, {"individual_digits", true}}, "12"), (Words{"1", "2"}));
  EXPECT_EQ(words({{"type", "CharDelimiterSplit"}, {"delimiter", "é"}}, "aéébé"), (Words{"a", "b"}));
  EXPECT_EQ(words({{"type", "FixedLength"}, {"length", 3}}, "Hello 👋"), (Words{"Hel", "lo ", "👋"}));
}

TEST(PreTokenizer, Scripts) {
  EXPECT_EQ(words("UnicodeScripts", "どこで生れ。Yes"), (Words{"どこで生れ", "。", "Yes"}));
  EXPECT_EQ(words("UnicodeScripts", "Apples are りんご 林檎"), (Words{"Apples are ", "りんご 林檎"}));
  EXPECT_EQ(words("UnicodeScripts", "  a"), (Words{"a"})) << "what has no script before the first is lost";
}

TEST(PreTokenizer, Metaspace) {
  auto metaspace = [](const char *scheme, bool split = true) {
    return json{{"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", scheme}, {"split", split}};
  };
  EXPECT_EQ(words(metaspace("always"), "Hey  you"), (Words{"▁Hey", "▁", "▁you"}));
  EXPECT_EQ(words(metaspace("always"), " Hey"), (Words{"▁Hey"}));
  EXPECT_EQ(words(metaspace("never"), "Hey you"), (Words{"Hey", "▁you"}));
  EXPECT_EQ(words(metaspace("first"), "Hey you", 1), (Words{"▁Hey", "▁you"}));
  EXPECT_EQ(words(metaspace("first"), "Hey you", 0), (Words{"Hey", "▁you"})) << "not at the start of the input";
  EXPECT_EQ(words(metaspace("always", false), "Hey you"), (Words{"▁Hey▁you"}));
  json old = {{"type", "Metaspace"}, {"replacement", "_"}, {"add_prefix_space", false}};
  EXPECT_EQ(words(old, "a b"), (Words{"a", "_b"}));
  json behindSplit = {{"type", "Sequence"}, {"pretokenizers", {{{"type", "WhitespaceSplit"}}, metaspace("first")}}};
  EXPECT_EQ(words(behindSplit, "a b"), (Words{"▁a", "b"}));
}

TEST(PreTokenizer, ByteLevelAtTheEndLeavesBytes) {
  json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", true}};
  EXPECT_EQ(words(bytes, "ä b"), (Words{" ä", " b"}));
  json before = {{"type", "Sequence"}, {"pretokenizers", {bytes, split("Isolated")}}};
  EXPECT_EQ(words(before, "ä-"), (Words{"ĠÃ¤", "-"}));
}
