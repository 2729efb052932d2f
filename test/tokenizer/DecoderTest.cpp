// Tokens to text one by one: what depends on the tokens before, and what waits for the next one.

#include "Fixtures.h"

using namespace lathe;
using namespace lathe::test;
using nlohmann::json;
using Texts = std::vector<std::string>;

namespace {

/// A tokenizer whose tokens are these texts, with ids from 0; the one after them is special.
std::shared_ptr<const Tokenizer> ofTokens(const Texts &tokens, json decoder) {
  json vocabulary = json::object();
  for (const std::string &token : tokens)
    vocabulary[token] = vocabulary.size();
  int special = static_cast<int>(tokens.size());
  return parsed({{"added_tokens", {{{"id", special}, {"content", "<special>"}, {"special", true}}}},
                 {"decoder", std::move(decoder)},
                 {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", json::array()}}}});
}

/// What each token shows, and what the end shows.
Texts shown(const Texts &tokens, const json &decoder) {
  auto tokenizer = ofTokens(tokens, decoder);
  auto stream = tokenizer->startDecoding();
  Texts texts;
  std::string all;
  for (int32_t id = 0; id <= static_cast<int32_t>(tokens.size()); ++id) // with the special one
    texts.push_back(stream->push(id));
  EXPECT_EQ(texts.back(), "") << "a special token has no text";
  texts.back() = stream->finish();
  for (const std::string &text : texts)
    all += text;
  std::vector<int32_t> ids;
  for (int32_t id = 0; id < static_cast<int32_t>(tokens.size()); ++id)
    ids.push_back(id);
  EXPECT_EQ(tokenizer->decode(ids), all);
  return texts;
}

json sequence(std::vector<json> steps) { return {{"type", "Sequence"}, {"decoders", steps}}; }
json replace(const char *text, const char *content) {
  return {{"type", "Replace"}, {"pattern", {{"String", text}}}, {"content", content}};
}

const json llama = sequence({replace("▁", " "),
                             {{"type", "ByteFallback"}},
                             {{"type", "Fuse"}},
                             {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}});

} // namespace

TEST(Decoder, NoneJoinsWithSpaces) { EXPECT_EQ(shown({"a", "b", "c"}, nullptr), (Texts{"a", " b", " c", ""})); }

TEST(Decoder, FirstSpaceOfATextIsDropped) {
  EXPECT_EQ(shown({"▁Hey", "▁you", "▁", "▁▁x"}, {{"type", "Metaspace"}}), (Texts{"Hey", " you", " ", "  x", ""}));
  EXPECT_EQ(shown({"▁Hey", "▁you"}, {{"type", "Metaspace"}, {"prepend_scheme", "never"}}), (Texts{" Hey", " you", ""}));
  EXPECT_EQ(shown({"▁Hey", "▁you"}, llama), (Texts{"Hey", " you", ""}));
  EXPECT_EQ(shown({"▁▁Hey", "▁you"}, llama), (Texts{" Hey", " you", ""}));
}

TEST(Decoder, BytesWaitForTheirCharacter) {
  EXPECT_EQ(shown({"<0xE4>", "<0xBD>", "<0xA0>", "<0xe5>", "▁a"}, llama),
            (Texts{"", "", "你", "", "\xEF\xBF\xBD a", ""}));
  EXPECT_EQ(shown({"a", "<0xF0>", "<0x9F>"}, llama), (Texts{"a", "", "", "\xEF\xBF\xBD\xEF\xBF\xBD"}))
      << "a mark for each byte that makes no character";
  EXPECT_EQ(shown({"<0xE4>", "<0x41>"}, llama), (Texts{"",
                                                       "\xEF\xBF\xBD"
                                                       "A",
                                                       ""}));
  EXPECT_EQ(shown({"<0x4G>", "<0x041>"}, llama), (Texts{"<0x4G>", "<0x041>", ""})) << "not spelled as bytes";
}

TEST(Decoder, WordPiecesJoin) {
  EXPECT_EQ(shown({"##it", "is", "##n", "n't", ".", "do", "##ne"}, {{"type", "WordPiece"}}),
            (Texts{"##it", " is", "n", "n't", ".", " do", "ne", ""}));
  EXPECT_EQ(shown({"a", "."}, {{"type", "WordPiece"}, {"prefix", "@"}, {"cleanup", false}}), (Texts{"a", " .", ""}));
}

TEST(Decoder, EndOfWordWaitsForTheNextToken) {
  EXPECT_EQ(shown({"he", "y</w>", "you</w>"}, {{"type", "BPEDecoder"}}), (Texts{"", "he", "y ", "you"}));
}

TEST(Decoder, StripTakesFromBothEndsOfEachToken) {
  json strip = {{"type", "Strip"}, {"content", "e"}, {"start", 1}, {"stop", 2}};
  EXPECT_EQ(shown({"eea", "aeee", "ee", "é"}, strip), (Texts{"ea", "ae", "", "é", ""}));
  EXPECT_EQ(shown({"ee", "ae", "eb", "eee", "e"}, sequence({{{"type", "Fuse"}}, strip})),
            (Texts{"", "ea", "eeb", "e", "e", ""}))
      << "of the whole text, what may be its end waits";
}

TEST(Decoder, ReplacementsAcrossFusedTokens) {
  EXPECT_EQ(shown({"xa", "b", "ab", "a"}, sequence({{{"type", "Fuse"}}, replace("ab", "-")})),
            (Texts{"x", "-", "-", "", "a"}));
  json pattern = {{"type", "Replace"}, {"pattern", {{"Regex", "a+b"}}}, {"content", "-"}};
  EXPECT_EQ(shown({"xa", "aab", "c"}, sequence({{{"type", "Fuse"}}, pattern})), (Texts{"", "", "", "x-c"}));
  EXPECT_EQ(shown({"xa", "aab", "c"}, pattern), (Texts{"xa", "-", "c", ""}));
}

TEST(Decoder, ByteLevelWithinASequence) {
  EXPECT_EQ(shown({"Ġa", "Ã", "¤", "ab"}, sequence({{{"type", "ByteLevel"}}, replace(" a", "A")})),
            (Texts{"A", "", "ä", "ab", ""}));
}

TEST(Decoder, PiecesStandBehindOthers) {
  auto tokenizer = ofTokens({"▁Hey", "you", "<0xE4>"}, llama);
  EXPECT_EQ(tokenizer->piece(0), " Hey");
  EXPECT_EQ(tokenizer->piece(1), "you");
  EXPECT_EQ(tokenizer->piece(2), "\xE4");
  EXPECT_EQ(tokenizer->piece(3), "");
  EXPECT_EQ(tokenizer->piece(3, false), "<special>");
  auto words = ofTokens({"is", "##n"}, {{"type", "WordPiece"}});
  EXPECT_EQ(words->piece(0), " is");
  EXPECT_EQ(words->piece(1), "n");
}

TEST(Decoder, StopsOfATextStreamAreFoundAtItsEnd) {
  auto tokenizer = ofTokens({"he", "y</w>"}, {{"type", "BPEDecoder"}});
  TextStream stream(tokenizer, {"ey"});
  EXPECT_EQ(stream.push(0), "");
  EXPECT_EQ(stream.push(1), "h");
  EXPECT_FALSE(stream.stopped());
  EXPECT_EQ(stream.finish(), "");
  EXPECT_TRUE(stream.stopped());
}
