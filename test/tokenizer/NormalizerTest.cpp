// Each normalizer by what becomes of a text.

#include "runtime/tokenizer/Normalizer.h"

#include <gtest/gtest.h>

using namespace lathe;
using nlohmann::json;

namespace {

std::string normalized(const json &step, std::string_view text) {
  auto normalizer = Normalizer::parse(JsonNode(step, "normalizer"), nullptr);
  EXPECT_TRUE(normalizer) << normalizer.error().message;
  return normalizer ? normalizer->apply(text) : "";
}
std::string normalized(const char *type, std::string_view text) { return normalized(json{{"type", type}}, text); }

json replace(const char *kind, const char *pattern, const char *content) {
  return {{"type", "Replace"}, {"pattern", {{kind, pattern}}}, {"content", content}};
}

} // namespace

TEST(Normalizer, UnicodeForms) {
  EXPECT_EQ(normalized("NFC", "e\u0301 \u212B"), "\u00E9 \u00C5");
  EXPECT_EQ(normalized("NFD", "\u00E9\u1E69"), "e\u0301s\u0323\u0307");
  EXPECT_EQ(normalized("NFKC", "\uFB01 \u2460 \uFF21\u0301"), "fi 1 \u00C1");
  EXPECT_EQ(normalized("NFKD", "\u00BD\uD55C"), "1\u20442\u1112\u1161\u11AB");
  for (const char *form : {"NFC", "NFD", "NFKC", "NFKD"})
    EXPECT_EQ(normalized(form, "\U0001E030"), "\U0001E030") << "younger than the library's Unicode";
}

TEST(Normalizer, CaseAndAccents) {
  EXPECT_EQ(normalized("Lowercase", "ÀΣİẞǅ\u1E9E"), "àσi̇ßǆß") << "no final sigma, two characters of İ";
  EXPECT_EQ(normalized("StripAccents", "e\u0301\u20DD\u0903 é"), "e é") << "marks of all kinds, where they stand alone";
}

TEST(Normalizer, StripAndPrepend) {
  EXPECT_EQ(normalized({{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}}, " \u3000a b\n"), "a b");
  EXPECT_EQ(normalized({{"type", "Strip"}, {"strip_left", true}, {"strip_right", false}}, " a "), "a ");
  EXPECT_EQ(normalized({{"type", "Prepend"}, {"prepend", "▁"}}, "a"), "▁a");
  EXPECT_EQ(normalized({{"type", "Prepend"}, {"prepend", "▁"}}, ""), "");
}

TEST(Normalizer, Replacements) {
  EXPECT_EQ(normalized(replace("String", " ", "▁"), " a  b"), "▁a▁▁b");
  EXPECT_EQ(normalized(replace("String", "a.", ""), "a.ab"), "ab") << "no pattern";
  EXPECT_EQ(normalized(replace("Regex", " {2,}", " "), "a   b c"), "a b c");
  EXPECT_EQ(normalized(replace("Regex", R"(\A +|x+\z)", ""), "  a \nxx"), "a \n");
  EXPECT_EQ(normalized(replace("Regex", "x*", "-"), "axb"), "-a-b-") << "an empty match right behind another is none";
}

TEST(Normalizer, Nmt) { EXPECT_EQ(normalized("Nmt", "a\x01\tb\u200Dc\uFEFF▁\x7F"), "a b c  "); }

TEST(Normalizer, Bert) {
  json bert = {{"type", "BertNormalizer"}};
  EXPECT_EQ(normalized(bert, "Ünï\x01\tcafé 你好\uFFFD"), "uni cafe  你  好 ");
  EXPECT_EQ(normalized({{"type", "BertNormalizer"}, {"lowercase", false}}, "Ünï"), "Ünï") << "accents follow the case";
  EXPECT_EQ(normalized({{"type", "BertNormalizer"}, {"lowercase", false}, {"strip_accents", true}}, "Ünï"), "Uni");
  EXPECT_EQ(normalized({{"type", "BertNormalizer"}, {"clean_text", false}, {"handle_chinese_chars", false}}, "\x01你"),
            "\x01你");
}

TEST(Normalizer, ByteLevelAndSequences) {
  EXPECT_EQ(normalized("ByteLevel", "a ä"), "aĠÃ¤");
  EXPECT_EQ(normalized({{"type", "Sequence"}, {"normalizers", {{{"type", "NFD"}}, {{"type", "StripAccents"}}}}}, "é"),
            "e");
  EXPECT_EQ(normalized(json(nullptr), "É "), "É ");
}

// The map of one rule, "ab" to "c": a double array of three nodes, made by hand from the format's description.
TEST(Normalizer, CharsMap) {
  std::vector<uint32_t> units(512);
  auto offset = [](uint32_t from, uint32_t to) { return (from ^ to) << 10; };
  uint32_t root = 256, first = root ^ 'a', second = 320 ^ 'b', leaf = 400;
  units[0] = offset(0, root);
  units[first] = 'a' | offset(first, 320);
  units[second] = 'b' | 1u << 8 | offset(second, leaf);
  units[leaf] = 1u << 31 | 2; // the replacement starts at byte 2
  std::string bytes;
  auto put = [&](uint32_t word) {
    for (int shift = 0; shift < 32; shift += 8)
      bytes += static_cast<char>(word >> shift);
  };
  put(static_cast<uint32_t>(units.size() * 4));
  for (uint32_t unit : units)
    put(unit);
  bytes += std::string("x\0c\0", 4);
  constexpr char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  while (bytes.size() % 3 != 0)
    bytes += '\0';
  for (size_t at = 0; at < bytes.size(); at += 3) {
    uint32_t bits = 0;
    for (size_t byte = 0; byte < 3; ++byte)
      bits = bits << 8 | static_cast<uint8_t>(bytes[at + byte]);
    for (int shift = 18; shift >= 0; shift -= 6)
      text += digits[bits >> shift & 63];
  }
  json step = {{"type", "Precompiled"}, {"precompiled_charsmap", text}};
  EXPECT_EQ(normalized(step, "abxab a"), "abxab a") << "`tokenizers` maps graphemes, and these are two";
  auto longest = Normalizer::parse(JsonNode(step, "normalizer"), std::make_shared<Trie>());
  ASSERT_TRUE(longest) << longest.error().message;
  EXPECT_EQ(longest->apply("abxab a\xFF"), "cxc a\uFFFD");
  auto untouched = std::make_shared<Trie>();
  untouched->add("xab", 0);
  longest = Normalizer::parse(JsonNode(step, "normalizer"), untouched);
  ASSERT_TRUE(longest);
  EXPECT_EQ(longest->apply("abxab"), "cxab");
}
