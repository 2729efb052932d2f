// Models of sentencepiece, vocabulary files and the kinds of GGUF that carry the same: what they become, every error,
// and seeded damage.
#include "compiler/importers/SentencePiece.h"
#include "runtime/Tokenizer.h"
#include "test/front/Fixtures.h"

#include <nlohmann/json.hpp>
#include <random>

using namespace lathe;
using namespace lathe::test;
using nlohmann::json;

namespace {

std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7)
    bytes += static_cast<char>(value | 0x80);
  return bytes + static_cast<char>(value);
}
std::string numberField(uint32_t field, uint64_t value) { return varint(field << 3) + varint(value); }
std::string textField(uint32_t field, std::string_view text) {
  return varint(field << 3 | 2) + varint(text.size()) + std::string(text);
}
std::string piece(std::string_view text, float score, int type = 1) {
  return textField(1, textField(1, text) + varint(2 << 3 | 5) + littleEndian(score) +
                          numberField(3, static_cast<uint64_t>(type)));
}

/// <unk> <s> </s> and a few letters; `trainer` and `normalizer` are more fields of theirs.
std::string model(int type, std::string_view trainer = {}, std::string_view normalizer = {}) {
  return piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("</s>", 0, 3) + piece("▁", -1) + piece("a", -2) +
         piece("b", -3) + piece("ab", -3.5F) + piece("▁a", -4) +
         textField(2, numberField(3, static_cast<uint64_t>(type)) + std::string(trainer)) + textField(3, normalizer);
}

std::string errorOf(std::string_view bytes) {
  auto parsed = parseSentencePiece(bytes, "m.model");
  if (!parsed)
    return messageOf(parsed);
  return messageOf(translateSentencePiece(*parsed, "m.model"));
}

Result<std::string> importFolder(const TemporaryFolder &folder) {
  return importHuggingFaceTokenizer(folder.path(), ModelConfig{});
}

std::shared_ptr<const Tokenizer> tokenizerOf(const TemporaryFolder &folder) {
  auto text = importFolder(folder);
  EXPECT_TRUE(text.has_value()) << text.error().message;
  auto tokenizer = Tokenizer::parse(text.value_or(""));
  EXPECT_TRUE(tokenizer.has_value()) << tokenizer.error().message;
  return tokenizer.value_or(nullptr);
}

using Ids = std::vector<int32_t>;

} // namespace

TEST(SentencePiece, BytePairAndUnigramOfAFolder) {
  for (int type : {1, 2}) {
    TemporaryFolder folder;
    folder.write("tokenizer.model", model(type));
    auto tokenizer = tokenizerOf(folder);
    ASSERT_TRUE(tokenizer);
    EXPECT_EQ(tokenizer->encode("  ab  a "), (type == 1 ? Ids{3, 6, 3, 4} : Ids{3, 6, 7})) << type;
    EXPECT_EQ(tokenizer->decode(Ids{1, 7, 5, 3, 6, 2}), "ab ab");
    EXPECT_EQ(tokenizer->encode(" "), Ids{});
  }
}

TEST(SentencePiece, OptionsOfTheNormalizer) {
  TemporaryFolder folder;
  folder.write("spiece.model", model(2, {}, numberField(3, 0) + numberField(4, 0)));
  auto tokenizer = tokenizerOf(folder);
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(tokenizer->encode("b  a "), (Ids{5, 3, 7, 3}));
  EXPECT_EQ(tokenizer->decode(Ids{3, 5}), " b");
}

TEST(SentencePiece, TokensAroundATextAreThoseOfTheClass) {
  auto encoded = [](std::string_view config) {
    TemporaryFolder folder;
    folder.write("tokenizer.model", model(2, numberField(41, 1) + numberField(42, 2)));
    folder.write("tokenizer_config.json", config);
    return tokenizerOf(folder)->encode("a");
  };
  EXPECT_EQ(encoded("{}"), (Ids{7}));
  EXPECT_EQ(encoded(R"({"tokenizer_class":"LlamaTokenizer"})"), (Ids{1, 7}));
  EXPECT_EQ(encoded(R"({"tokenizer_class":"LlamaTokenizer","add_bos_token":false,"add_eos_token":true})"), (Ids{7, 2}));
  EXPECT_EQ(encoded(R"({"tokenizer_class":"T5TokenizerFast"})"), (Ids{7, 2}));
}

TEST(SentencePiece, Errors) {
  EXPECT_EQ(errorOf("\x08"), "m.model: byte 1: expected a sentencepiece model, found a number without end");
  EXPECT_EQ(errorOf("\x0F"), "m.model: byte 1: expected a sentencepiece model, found a field of an unknown kind");
  EXPECT_EQ(errorOf("\x0A\x05x"),
            "m.model: byte 2: expected a sentencepiece model, found a field of 5 bytes where 1 are left");
  EXPECT_EQ(errorOf(piece("a", 0, 9)), "m.model: byte 12: expected a sentencepiece model, found a piece of type 9");
  EXPECT_EQ(errorOf(model(7)).substr(0, 14), "m.model: byte ");
  EXPECT_EQ(errorOf(model(3)), "m.model: models of whole words are not supported: unigram, BPE and characters are");
  EXPECT_EQ(errorOf(model(2, numberField(24, 1))), "m.model: treat_whitespace_as_suffix is not supported");
  EXPECT_EQ(errorOf(""), "m.model: expected a piece of type unknown among 0");
  EXPECT_EQ(errorOf(model(2) + piece("\xFF", 0)), "m.model: piece 8: expected UTF-8 of at most 1024 bytes");
  EXPECT_EQ(errorOf(model(2) + piece("x", std::numeric_limits<float>::infinity())),
            "m.model: piece 8: expected a finite score");
  EXPECT_EQ(errorOf(model(2) + piece("a", 0)), "m.model: piece 8 repeats \"a\"");
  EXPECT_EQ(errorOf(model(2) + piece("x", 0, 5)), "m.model: piece 8 is unused; that is not supported in BPE");
  TemporaryFolder folder;
  folder.write("tokenizer.model", model(1));
  folder.write("tokenizer_config.json", R"({"tokenizer_class":"XLMRobertaTokenizer"})");
  EXPECT_EQ(
      messageOf(importFolder(folder), folder.path()),
      "tokenizer_config.json: tokenizer_class \"XLMRobertaTokenizer\" with tokenizer.model is not supported: give its "
      "tokenizer.json; supported: those whose ids are the pieces' own, as LlamaTokenizer, GemmaTokenizer and "
      "T5Tokenizer");
}

TEST(VocabularyFiles, BytePair) {
  TemporaryFolder folder;
  folder.write("vocab.json", R"({"a":0,"b":1,"Ġ":2,"ab":3,"<|endoftext|>":4})");
  folder.write("merges.txt", "#version: 0.2\na b\r\n\n");
  EXPECT_EQ(tokenizerOf(folder)->encode("ab b<|endoftext|>"), (Ids{3, 2, 1, 4}));
  folder.write("tokenizer_config.json", R"({"tokenizer_class":"Qwen2Tokenizer"})");
  json root = json::parse(importFolder(folder).value_or(""));
  EXPECT_EQ(root["normalizer"]["type"], "NFC");
  EXPECT_EQ(root["pre_tokenizer"]["pretokenizers"][0]["type"], "Split");
  folder.write("vocab.json", R"({"a":0,"b":1,"Ġ":2,"ab":3,"<s>":4,"</s>":5})");
  folder.write("tokenizer_config.json", R"({"tokenizer_class":"RobertaTokenizer"})");
  EXPECT_EQ(tokenizerOf(folder)->encode("ab"), (Ids{4, 3, 5}));
  folder.write("tokenizer_config.json", R"({"tokenizer_class":"CLIPTokenizer"})");
  EXPECT_EQ(
      messageOf(importFolder(folder), folder.path()),
      "tokenizer_config.json: tokenizer_class \"CLIPTokenizer\" with vocab.json and merges.txt is not supported: give "
      "its "
      "tokenizer.json; supported: GPT2Tokenizer, RobertaTokenizer, BartTokenizer, LongformerTokenizer, Qwen2Tokenizer");
  folder.write("tokenizer_config.json", "{}");
  folder.write("merges.txt", "a b\nab\n");
  EXPECT_EQ(messageOf(importFolder(folder), folder.path()),
            "merges.txt:2: expected two tokens with a space between, found \"ab\"");
  folder.write("vocab.json", R"({"a":-1})");
  EXPECT_EQ(messageOf(importFolder(folder), folder.path()), "vocab.json: expected an object of token: id");
}

TEST(VocabularyFiles, WordPiece) {
  TemporaryFolder folder;
  folder.write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\r\nunaff\n##able\ncafe\n");
  EXPECT_EQ(tokenizerOf(folder)->encode("Unaffable CAFÉ x[SEP]"), (Ids{2, 4, 5, 6, 1, 3, 3}));
  EXPECT_EQ(tokenizerOf(folder)->decode(Ids{2, 4, 5, 6, 3}), "unaffable cafe");
  folder.write("tokenizer_config.json", R"({"do_lower_case":false})");
  EXPECT_EQ(tokenizerOf(folder)->encode("unaff Cafe", {.addSpecial = false}), (Ids{4, 1}));
  folder.write("vocab.txt", "a\na\n");
  EXPECT_EQ(messageOf(importFolder(folder), folder.path()), "vocab.txt:2: repeats \"a\"");
  folder.write("vocab.txt", "a\n\xFF\n");
  EXPECT_EQ(messageOf(importFolder(folder), folder.path()), "vocab.txt:2: expected UTF-8");
  folder.write("vocab.txt", "a\n");
  EXPECT_EQ(messageOf(importFolder(folder), folder.path()),
            "vocab.txt: has no token for unknown words ([UNK], or what unk_token names)");
  folder.write("tokenizer_config.json", R"({"tokenizer_class":"BertJapaneseTokenizer"})");
  EXPECT_EQ(
      messageOf(importFolder(folder), folder.path()),
      "tokenizer_config.json: tokenizer_class \"BertJapaneseTokenizer\" with vocab.txt is not supported: give its "
      "tokenizer.json; supported: BertTokenizer, DistilBertTokenizer, ElectraTokenizer");
}

TEST(VocabularyFiles, AddedTokens) {
  TemporaryFolder folder;
  folder.write("vocab.txt", "[UNK]\na\n");
  folder.write("added_tokens.json", R"({"<x>":2,"yes":3})");
  EXPECT_EQ(tokenizerOf(folder)->encode("a<x>yes"), (Ids{1, 2, 3}));
  folder.write("added_tokens.json", R"({"<x>":-2})");
  EXPECT_EQ(messageOf(importFolder(folder), folder.path()),
            "added_tokens.json: token \"<x>\": expected an id from 0 to 2097151");
  folder.write("added_tokens.json", "{}");
  folder.write("tokenizer_config.json", R"({"added_tokens_decoder":{"x":{"content":"a"}}})");
  EXPECT_EQ(messageOf(importFolder(folder), folder.path()),
            "tokenizer_config.json: added_tokens_decoder: \"x\": expected an id with a token's content");
}

// Bytes flipped, dropped, doubled or cut: an error of one line, or a tokenizer that works.
TEST(Damage, SentencePieceModels) {
  std::mt19937 random(12);
  int accepted = 0, refused = 0;
  for (int type : {1, 2, 4})
    for (int round = 0; round < 700; ++round) {
      std::string bytes =
          model(type, numberField(35, 1) + numberField(41, 1), numberField(3, 1) + textField(2, std::string(12, '\0')));
      for (size_t count = 1 + random() % 3; count > 0; --count) {
        size_t at = random() % bytes.size(), length = 1 + random() % 8;
        switch (random() % 4) {
        case 0:
          bytes[at] = static_cast<char>(random());
          break;
        case 1:
          bytes.erase(at, length);
          break;
        case 2:
          bytes.insert(at, bytes.substr(at, length));
          break;
        case 3:
          bytes.resize(std::max<size_t>(at, 1));
          break;
        }
      }
      auto parsed = parseSentencePiece(bytes, "m.model");
      auto parts = parsed ? translateSentencePiece(*parsed, "m.model") : Result<TokenizerParts>(propagate(parsed));
      if (!parts) {
        ++refused;
        EXPECT_TRUE(messageOf(parts).starts_with("m.model: ")) << parts.error().message;
        continue;
      }
      auto tokenizer = Tokenizer::parse(printTokenizer(*parts));
      if (!tokenizer)
        continue; // a charsmap, say, is the runtime's to judge
      ++accepted;
      auto ids = (*tokenizer)->encode("  ab <s> ba\xFF ü▁▁ a");
      (*tokenizer)->decode(ids);
    }
  EXPECT_GT(accepted, 20);
  EXPECT_GT(refused, 200);
}
