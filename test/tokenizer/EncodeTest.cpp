// What text becomes: merges, added tokens, special tokens around it, bytes that are no UTF-8, very long words.

#include "Fixtures.h"

#include <chrono>

using namespace lathe;
using namespace lathe::test;
using nlohmann::json;
using Ids = std::vector<int32_t>;

TEST(Encode, MergesByRankAndThenFromTheLeft) {
  auto tokenizer = parsed(tinyJson());
  EXPECT_EQ(tokenizer->encode("abc"), (Ids{13}));
  EXPECT_EQ(tokenizer->encode("bcab"), (Ids{12, 11}));
  EXPECT_EQ(tokenizer->encode("a bc d"), (Ids{0, 5, 12, 5, 3}));
  EXPECT_EQ(tokenizer->encode(""), Ids{});
}

TEST(Encode, ByteWithoutTokenIsDroppedOrUnknown) {
  json content = tinyJson();
  EXPECT_EQ(parsed(content)->encode("azzb"), (Ids{11})) << "what is dropped leaves its neighbours together";
  content["model"]["unk_token"] = "</s>";
  EXPECT_EQ(parsed(content)->encode("azzb"), (Ids{0, 15, 15, 1}));
  content["model"]["fuse_unk"] = true;
  EXPECT_EQ(parsed(content)->encode("azzb"), (Ids{0, 15, 1}));
}

TEST(Encode, IgnoreMergesTakesAWholeWordThatIsAToken) {
  json content = tinyJson();
  content["model"]["merges"] = json::array();
  EXPECT_EQ(parsed(content)->encode("abc"), (Ids{0, 1, 2}));
  content["model"]["ignore_merges"] = true;
  EXPECT_EQ(parsed(content)->encode("abc"), (Ids{13}));
  // An added token is none of the model's own, however its text is split.
  content["pre_tokenizer"]["use_regex"] = false;
  content["added_tokens"].push_back({{"id", 16}, {"content", "dab"}, {"special", true}});
  EXPECT_EQ(parsed(content)->encode("dab", {.parseSpecial = false}), (Ids{3, 0, 1}));
}

TEST(Encode, SpecialTokensInTextOnlyWhenAsked) {
  auto tokenizer = fixture("smollm");
  int32_t end = *tokenizer->id("<|im_end|>");
  Ids ids = tokenizer->encode("a<|im_end|>b");
  ASSERT_EQ(ids.size(), 3u);
  EXPECT_EQ(ids[1], end);
  Ids plain = tokenizer->encode("a<|im_end|>b", {.parseSpecial = false});
  EXPECT_EQ(std::ranges::count(plain, end), 0);
  EXPECT_EQ(tokenizer->decode(plain), "a<|im_end|>b");
}

TEST(Encode, AddedTokensAreLongestFromTheLeftAndStripSpaces) {
  json content = tinyJson();
  auto add = [&](const char *text, int id, json flags) {
    flags.update({{"content", text}, {"id", id}});
    content["added_tokens"].push_back(flags);
  };
  add("<x", 16, {});
  add("<xx>", 17, {});
  add("<l>", 18, {{"lstrip", true}});
  add("<r>", 19, {{"rstrip", true}});
  add("bad", 20, {{"single_word", true}});
  auto tokenizer = parsed(content);
  EXPECT_EQ(tokenizer->encode("<x<xx>"), (Ids{16, 17}));
  EXPECT_EQ(tokenizer->encode("a \xC2\xA0\t<l> a"), (Ids{0, 18, 5, 0}));
  EXPECT_EQ(tokenizer->encode("a <r> \n a"), (Ids{0, 5, 19, 0}));
  EXPECT_EQ(tokenizer->encode("bad"), (Ids{20}));
  EXPECT_EQ(tokenizer->encode(" bad<s>"), (Ids{5, 20, 14}));
  EXPECT_EQ(tokenizer->encode("badä"), (Ids{1, 0, 3, 6, 7}));
  EXPECT_EQ(tokenizer->encode("abad"), (Ids{11, 0, 3}));
  EXPECT_EQ(tokenizer->size(), 21);
}

TEST(Encode, SpecialTokensStayTextInPlainRanges) {
  auto tokenizer = fixture("qwen2");
  const std::string text = "<|im_end|>é<|im_end|>b"; // from 0 to 10 and from 12 to 22
  Ids special = tokenizer->encode("<|im_end|>", {.addSpecial = false});
  ASSERT_EQ(special.size(), 1u);
  Ids rest = tokenizer->encode(text.substr(10), {.addSpecial = false, .parseSpecial = false});
  rest.insert(rest.begin(), special[0]);
  using Ranges = std::vector<TextRange>;
  for (const Ranges &ranges : {Ranges{{10, 23}}, Ranges{{12, 13}}, Ranges{{10, 11}, {21, 22}}})
    EXPECT_EQ(tokenizer->encode(text, {.addSpecial = false, .plain = ranges}), rest);
  Ids all = tokenizer->encode(text, {.addSpecial = false});
  for (const Ranges &ranges : {Ranges{}, Ranges{{10, 12}}, Ranges{{10, 12}, {22, 23}}})
    EXPECT_EQ(tokenizer->encode(text, {.addSpecial = false, .plain = ranges}), all);
  Ranges whole{{0, text.size()}};
  EXPECT_EQ(tokenizer->encode(text, {.addSpecial = false, .plain = whole}),
            tokenizer->encode(text, {.addSpecial = false, .parseSpecial = false}));
  Ranges some{{10, 12}};
  EXPECT_EQ(tokenizer->encode(text + "\xFF", {.addSpecial = false, .plain = some}),
            tokenizer->encode(text + "\xFF", {.addSpecial = false, .parseSpecial = false}))
      << "offsets into a text that had to be repaired mean nothing";
}

TEST(Encode, TemplateAndBosFromTheLatheObject) {
  json content = tinyJson();
  auto special = [](const char *name, int id) {
    return json{{name, {{"id", name}, {"ids", {id}}, {"tokens", {name}}}}};
  };
  auto token = [](const char *name) { return json{{"SpecialToken", {{"id", name}, {"type_id", 0}}}}; };
  json text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  content["lathe"] = {
      {"bos_token_id", 14}, {"eos_token_ids", {15, 2000}}, {"add_bos", true}, {"chat_template", nullptr}};
  EXPECT_EQ(parsed(content)->encode("a"), (Ids{14, 0}));
  EXPECT_EQ(parsed(content)->facts().bosTokenId, 14);
  EXPECT_EQ(parsed(content)->facts().eosTokenIds, (Ids{15, 2000}));
  EXPECT_EQ(parsed(content)->facts().chatTemplate, "");
  EXPECT_EQ(parsed(content)->encode("a", {.addSpecial = false}), (Ids{0}));
  json specials = special("<s>", 14);
  specials.update(special("</s>", 15));
  content["post_processor"] = {
      {"type", "TemplateProcessing"}, {"single", {text, token("</s>")}}, {"special_tokens", specials}};
  EXPECT_EQ(parsed(content)->encode("a"), (Ids{14, 0, 15}));
  content["post_processor"]["single"] = {token("<s>"), text, token("</s>")};
  EXPECT_EQ(parsed(content)->encode("a"), (Ids{14, 0, 15})) << "a template that adds BOS is enough";
}

TEST(Encode, MalformedUtf8IsReplacedAsPythonDoesIt) {
  auto tokenizer = fixture("gpt2");
  const std::string mark = "\xEF\xBF\xBD";
  // errors='replace': one mark for each maximal part of a character.
  const std::pair<std::string, std::string> cases[] = {{"a\xFF"
                                                        "b",
                                                        "a" + mark + "b"},
                                                       {"\xE4\xBD", mark},
                                                       {"\xE4\xBD\x41", mark + "A"},
                                                       {"\xC0\x80", mark + mark},
                                                       {"\xED\xA0\x80", mark + mark + mark},
                                                       {"\xF0\x9F\x98", mark},
                                                       {"\xF4\x90\x80\x80", mark + mark + mark + mark},
                                                       {"\xF0\x9F\x98\xC3\xA4", mark + "ä"}};
  for (const auto &[bytes, text] : cases)
    EXPECT_EQ(tokenizer->encode(bytes), tokenizer->encode(text)) << text;
}

TEST(Encode, NfcComposesAndOrdersMarks) {
  auto tokenizer = fixture("qwen2");
  EXPECT_EQ(tokenizer->encode("cafe\u0301 A\u030A \u1112\u1161\u11AB"), tokenizer->encode("caf\u00E9 \u00C5 \uD55C"));
  EXPECT_EQ(tokenizer->encode("q\u0307\u0323"), tokenizer->encode("q\u0323\u0307"));
}

TEST(Encode, IdsAndTokens) {
  auto tokenizer = parsed(tinyJson());
  EXPECT_EQ(tokenizer->size(), 16);
  EXPECT_EQ(tokenizer->id("abc"), 13);
  EXPECT_EQ(tokenizer->id("</s>"), 15);
  EXPECT_EQ(tokenizer->id("x"), std::nullopt);
  EXPECT_EQ(tokenizer->piece(5), " ");
  EXPECT_EQ(tokenizer->piece(6), "\xC3");
  EXPECT_EQ(tokenizer->piece(14), "");
  EXPECT_EQ(tokenizer->piece(14, false), "<s>");
  for (int32_t outside : {-1, 16, 1 << 30})
    EXPECT_EQ(tokenizer->piece(outside), "");
  EXPECT_EQ(tokenizer->decode(Ids{14, 6, 7, 5, 13, 6, 15}), "ä abc\xEF\xBF\xBD");
  EXPECT_EQ(tokenizer->decode(Ids{14, 0}, false), "<s>a");
}

TEST(Encode, GapsBetweenIdsAreAllowed) {
  json content = tinyJson();
  content["added_tokens"].push_back({{"id", 4000}, {"content", "<far>"}});
  auto tokenizer = parsed(content);
  EXPECT_EQ(tokenizer->size(), 4001);
  EXPECT_EQ(tokenizer->encode("<far>"), (Ids{4000}));
  EXPECT_EQ(tokenizer->piece(3999), "");
}

// A word of ten million letters, runs of spaces and marks: no step may be quadratic. The limit is far above what a
// sanitizer build on a busy machine needs, and far below what one quadratic step would take.
TEST(Encode, LongRunsTakeSeconds) {
  constexpr size_t length = LATHE_LONG_RUN;
  for (const char *name : {"gpt2", "llama3", "qwen2", "smollm"}) {
    auto tokenizer = fixture(name);
    for (std::string unit : {"a", " ", "\n", "the", " \n", "\u0316\u0300", "\xFF", "<|im_", "'"}) {
      std::string text;
      while (text.size() < length)
        text += unit;
      auto begin = std::chrono::steady_clock::now();
      Ids ids = tokenizer->encode(text, {.addSpecial = false});
      std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
      EXPECT_LT(took.count(), 60) << name << " " << unit;
      EXPECT_GT(ids.size(), text.size() / 200) << name << " " << unit;
      if (unit != "\xFF" && unit != "\u0316\u0300") {
        EXPECT_EQ(tokenizer->decode(ids, false), text) << name << " " << unit;
      }
    }
  }
}

// Patterns whose search would take longer than the universe find nothing more, and all text stays.
TEST(Encode, PatternsThatBacktrackWithoutEndDoNotHang) {
  for (const char *expression : {"(a+)+$b", "(a|a)*b", "a*b", "(?=.*b)a", "(?:a*)*b"}) {
    json content = tinyJson();
    json split = {{"type", "Split"}, {"pattern", {{"Regex", expression}}}, {"behavior", "Isolated"}, {"invert", false}};
    json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
    content["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", {split, bytes}}};
    std::string text(100'000, 'a');
    auto begin = std::chrono::steady_clock::now();
    EXPECT_EQ(parsed(content)->encode(text).size(), text.size()) << expression;
    EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(), 30) << expression;
  }
}
