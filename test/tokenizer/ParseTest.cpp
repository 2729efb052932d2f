// Every error of parsing, word for word, and tokenizer.json with seeded damage.

#include "Fixtures.h"

#include <random>

using namespace lathe;
using namespace lathe::test;
using nlohmann::json;

namespace {

json with(const char *pointer, json value) {
  json content = tinyJson();
  content[json::json_pointer(pointer)] = std::move(value);
  return content;
}

json steps(json first) {
  return {{"type", "Sequence"},
          {"pretokenizers", {std::move(first), {{"type", "ByteLevel"}, {"add_prefix_space", false}}}}};
}

json splitAt(const char *expression) {
  return with("/pre_tokenizer",
              steps({{"type", "Split"}, {"pattern", {{"Regex", expression}}}, {"behavior", "Isolated"}}));
}

} // namespace

TEST(Parse, Syntax) {
  EXPECT_EQ(parseError(std::string("{\n  \"model\": }")),
            "tokenizer.json:2:12: not valid JSON: syntax error while parsing value");
  EXPECT_EQ(parseError(std::string("")), "tokenizer.json:1:1: not valid JSON: syntax error while parsing value");
  EXPECT_EQ(parseError(std::string("[1]")), "tokenizer.json: expected an object, found array");
  EXPECT_EQ(parseError(std::string("{\"a\": {\"b\": 1, \"b\": 2}}")), "tokenizer.json: a.b: appears twice");
  EXPECT_EQ(
      parseError("{\"a\": " + std::string(100000, '[')), "tokenizer.json: a" + [] {
        std::string path;
        for (int level = 0; level < 31; ++level)
          path += "[0]";
        return path;
      }() + ": nested deeper than 32 levels");
  EXPECT_EQ(parseError(std::string(R"({"a": [0, {"b": [1, {"c": 0, "c": 0}]}]})")),
            "tokenizer.json: a[1].b[1].c: appears twice");
  std::string many = "{\"a\": [";
  for (int count = 0; count < 600'000; ++count)
    many += "0,";
  EXPECT_EQ(parseError(many + "0]}"),
            "tokenizer.json: a[524286]: more than 524288 values outside model.vocab and model.merges");
}

TEST(Parse, Vocabulary) {
  EXPECT_EQ(parseError(with("/model/vocab/f", 0)), "tokenizer.json: model.vocab: id 0 belongs to both \"a\" and \"f\"");
  EXPECT_EQ(parseError(with("/model/vocab/f", 2097152)),
            "tokenizer.json: model.vocab: token \"f\" has id 2097152, expected one below 2097152");
  EXPECT_EQ(parseError(with("/model/vocab/f", -1)),
            "tokenizer.json: model.vocab: token \"f\": expected an id from 0 to 2097151, found number");
  EXPECT_EQ(parseError(with("/model/vocab/f", json::array())),
            "tokenizer.json: model.vocab: token \"f\": expected an id from 0 to 2097151, found array");
  EXPECT_EQ(parseError(std::string(R"({"model": {"vocab": {"a": 0, "a": 1}}})")),
            "tokenizer.json: model.vocab: token \"a\" appears twice, with ids 0 and 1");
  EXPECT_EQ(parseError(std::string(R"({"model": {"vocab": {}, "vocab": {}}})")),
            "tokenizer.json: model.vocab: appears twice");
  EXPECT_EQ(parseError(with("/model/vocab", json::array({json::array({"a", 0.5})}))),
            "tokenizer.json: model.vocab: expected an object of token: id, found an array");
  EXPECT_EQ(parseError(with("/model/vocab", 3)), "tokenizer.json: model.vocab: missing, or no object of token: id");
}

TEST(Parse, Merges) {
  EXPECT_EQ(parseError(with("/model/merges/1", "bc")),
            "tokenizer.json: model.merges[1]: expected two tokens with one space between, found \"bc\"");
  EXPECT_EQ(parseError(with("/model/merges/1", "b c d")),
            "tokenizer.json: model.merges[1]: expected two tokens with one space between, found \"b c d\"");
  EXPECT_EQ(parseError(with("/model/merges/1", {"b"})),
            "tokenizer.json: model.merges[1]: expected two tokens, found 1");
  EXPECT_EQ(parseError(with("/model/merges/1", json::array({"b", "c", "d"}))),
            "tokenizer.json: model.merges[1]: expected two tokens, found 3");
  EXPECT_EQ(parseError(with("/model/merges/1", json::array({"b", 2}))),
            "tokenizer.json: model.merges[1]: expected two tokens as \"a b\" or [\"a\", \"b\"], found number");
  EXPECT_EQ(parseError(with("/model/merges/2", "x y")), "tokenizer.json: model.merges[2]: \"x\" is not in model.vocab");
  EXPECT_EQ(parseError(with("/model/merges/2", "d e")),
            "tokenizer.json: model.merges[2]: \"de\" is not in model.vocab");
  EXPECT_EQ(parseError(with("/model/merges", nullptr)), "tokenizer.json: model.merges: missing, or no array of merges");
  EXPECT_EQ(parseError(with("/model/merges", json::object())),
            "tokenizer.json: model.merges: missing, or no array of merges");
}

TEST(Parse, Model) {
  json content = tinyJson();
  content.erase("model");
  EXPECT_EQ(parseError(content), "tokenizer.json: model: expected an object, found null");
  EXPECT_EQ(
      parseError(with("/model/type", "Trigram")),
      "tokenizer.json: model.type: model \"Trigram\" is not supported; supported: BPE, Unigram, WordPiece, WordLevel");
  EXPECT_EQ(parseError(with("/model/type", "Unigram")),
            "tokenizer.json: model.vocab: expected an array of [token, score], found an object");
  EXPECT_EQ(parseError(with("/model/type", "WordPiece")),
            "tokenizer.json: model.unk_token: \"[UNK]\" is not in model.vocab");
  EXPECT_EQ(parseError(with("/model/type", "WordLevel")),
            "tokenizer.json: model.unk_token: \"<unk>\" is not in model.vocab");
  EXPECT_EQ(parseError(with("/model/type", 5)), "tokenizer.json: model.type: expected a string, found number");
  EXPECT_EQ(parseError(with("/model/dropout", 0.1)),
            "tokenizer.json: model.dropout: expected null, found 0.1; random merges are not supported");
  EXPECT_EQ(parseError(with("/model/continuing_subword_prefix", "##")),
            "tokenizer.json: model.merges[0]: \"b\" has no continuing_subword_prefix \"##\"");
  EXPECT_EQ(parseError(with("/model/fuse_unk", 1)),
            "tokenizer.json: model.fuse_unk: expected true or false, found number");
}

TEST(Parse, Components) {
  const std::string normalizers =
      "Sequence, NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Strip, Prepend, Replace, Nmt, "
      "Precompiled, BertNormalizer, ByteLevel";
  EXPECT_EQ(parseError(with("/normalizer", {{"type", "Uppercase"}})),
            "tokenizer.json: normalizer: normalizer \"Uppercase\" is not supported; supported: " + normalizers);
  EXPECT_EQ(
      parseError(with("/normalizer", {{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}, {{"type", "NFX"}}}}})),
      "tokenizer.json: normalizer.normalizers[1]: normalizer \"NFX\" is not supported; supported: " + normalizers);
  const std::string preTokenizers =
      "Sequence, ByteLevel, Metaspace, Whitespace, WhitespaceSplit, BertPreTokenizer, Punctuation, Digits, "
      "CharDelimiterSplit, Split, UnicodeScripts, FixedLength";
  const std::string place = "tokenizer.json: pre_tokenizer.pretokenizers[0]";
  EXPECT_EQ(parseError(with("/pre_tokenizer", steps({{"type", "Jieba"}}))),
            place + ": pre-tokenizer \"Jieba\" is not supported; supported: " + preTokenizers);
  EXPECT_EQ(parseError(with("/pre_tokenizer", steps(json::object()))),
            place + ": has no type; supported: " + preTokenizers);
  EXPECT_EQ(parseError(with("/pre_tokenizer", steps(7))),
            place + ": expected an object with a type (" + preTokenizers + "), found number");
  EXPECT_EQ(parseError(with("/pre_tokenizer", steps({{"type", "Metaspace"}, {"replacement", "ab"}}))),
            place + ".replacement: expected one character, found \"ab\"");
  EXPECT_EQ(parseError(with("/pre_tokenizer", steps({{"type", "Metaspace"}, {"prepend_scheme", "last"}}))),
            place + ".prepend_scheme: expected always, first or never, found \"last\"");
  EXPECT_EQ(parseError(with("/pre_tokenizer", steps({{"type", "CharDelimiterSplit"}}))),
            place + ".delimiter: expected one character, found \"\"");
  EXPECT_EQ(parseError(with("/pre_tokenizer", steps({{"type", "FixedLength"}, {"length", 0}}))),
            place + ".length: expected at least 1, found 0");
  EXPECT_EQ(parseError(with("/pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", 1}})),
            "tokenizer.json: pre_tokenizer.pretokenizers: expected an array, found number");
  EXPECT_EQ(parseError(with("/post_processor", {{"type", "PairProcessing"}})),
            "tokenizer.json: post_processor: post-processor \"PairProcessing\" is not supported; supported: null, "
            "ByteLevel, TemplateProcessing, BertProcessing, RobertaProcessing, Sequence");
  EXPECT_EQ(parseError(with("/post_processor", {{"type", "BertProcessing"}})),
            "tokenizer.json: post_processor.cls: expected [token, id], found 0 values");
  EXPECT_EQ(
      parseError(with("/post_processor", {{"type", "RobertaProcessing"}, {"cls", {"<s>", 14}}, {"sep", {"x", 99}}})),
      "tokenizer.json: post_processor.sep[1]: expected the id of a token");
  EXPECT_EQ(
      parseError(with("/decoder", {{"type", "CTC"}})),
      "tokenizer.json: decoder: decoder \"CTC\" is not supported; supported: null, Sequence, ByteLevel, Metaspace, "
      "WordPiece, ByteFallback, Fuse, Strip, Replace, BPEDecoder");
  EXPECT_EQ(parseError(with("/decoder", {{"type", "Strip"}, {"content", ""}})),
            "tokenizer.json: decoder.content: expected one character, found \"\"");
  EXPECT_EQ(parseError(with("/decoder", {{"type", "Metaspace"}, {"replacement", ""}})),
            "tokenizer.json: decoder.replacement: expected one character, found none");
  EXPECT_EQ(parseError(with("/decoder", {{"type", "BPEDecoder"}, {"suffix", ""}})),
            "tokenizer.json: decoder.suffix: expected a text, found \"\"");
  json groups = {{"type", "Replace"}, {"pattern", {{"Regex", "(a)"}}}, {"content", "$1"}};
  for (const char *key : {"normalizer", "decoder"})
    EXPECT_EQ(parseError(with(("/" + std::string(key)).c_str(), groups)),
              fmt::format("tokenizer.json: {}.content: \"$1\" refers to a group; that is not supported", key));
  json nested = {{"type", "NFC"}};
  for (int level = 0; level < 12; ++level)
    nested = {{"type", "Sequence"}, {"normalizers", {nested}}};
  EXPECT_TRUE(parseError(with("/normalizer", nested)).ends_with(": sequences nested deeper than 8 levels"));
}

TEST(Parse, CharsMaps) {
  auto error = [](const char *text) {
    return parseError(with("/normalizer", {{"type", "Precompiled"}, {"precompiled_charsmap", text}}));
  };
  const std::string place = "tokenizer.json: normalizer.precompiled_charsmap: ";
  EXPECT_EQ(error("A"), place + "expected base64");
  EXPECT_EQ(error("A=AA"), place + "expected base64");
  EXPECT_EQ(error("AA=="), place + "1 bytes long, expected at least 4");
  EXPECT_EQ(error("CAAAAAAAAAA="), place + "has a trie of 8 bytes, expected a multiple of 4 from 4 to 4");
  EXPECT_EQ(error("BAAAAAAAAAD/"), place + "has replacements that are no UTF-8");
}

TEST(Parse, ScoredVocabulary) {
  auto error = [](json vocabulary, json model = json::object()) {
    model.update({{"type", "Unigram"}, {"vocab", std::move(vocabulary)}});
    return parseError(with("/model", model));
  };
  EXPECT_EQ(error(json::array({{"a", 1, 2}})),
            "tokenizer.json: model.vocab[1]: expected [token, score], found another number");
  EXPECT_EQ(error(json::array({{"a", "b"}})),
            "tokenizer.json: model.vocab[0]: expected [token, score], found a second text");
  EXPECT_EQ(error(json::array({json::array({"a"})})),
            "tokenizer.json: model.vocab[0]: expected [token, score], found 1 values");
  EXPECT_EQ(error(json::array({"a"})), "tokenizer.json: model.vocab[0]: expected [token, score], found string");
  EXPECT_EQ(error(json::array({json::array({"a", -1}), json::array({"a", -2})})),
            "tokenizer.json: model.vocab[1]: token \"a\" appears twice, with ids 0 and 1");
  EXPECT_EQ(error(json::array({json::array({"a", -1})}), {{"unk_id", 1}}),
            "tokenizer.json: model.unk_id: 1 is the id of no token of 1");
  EXPECT_EQ(error(json::array({json::array({"a", -1})}), {{"unk_id", "a"}}),
            "tokenizer.json: model.unk_id: expected a number from 0, found string");
}

TEST(Parse, Splits) {
  json split = {{"type", "Split"}, {"pattern", {{"String", "x"}}}, {"behavior", "Sideways"}};
  EXPECT_EQ(
      parseError(with("/pre_tokenizer", steps(split))),
      "tokenizer.json: pre_tokenizer.pretokenizers[0]: behavior \"Sideways\" is not known; expected Removed, Isolated, "
      "MergedWithPrevious, MergedWithNext or Contiguous");
  split["pattern"] = "x";
  EXPECT_EQ(parseError(with("/pre_tokenizer", steps(split))),
            "tokenizer.json: pre_tokenizer.pretokenizers[0].pattern: expected {\"Regex\": …} or {\"String\": …}");
  const std::string place = "tokenizer.json: pre_tokenizer.pretokenizers[0].pattern: ";
  EXPECT_EQ(parseError(splitAt("")), place + "the pattern is empty");
  EXPECT_EQ(parseError(splitAt("a(b")), place + "missing closing parenthesis in \"a(b\"");
  EXPECT_EQ(parseError(splitAt("a)b")), place + "an unmatched ) at byte 1 of \"a)b\"");
  EXPECT_EQ(parseError(splitAt("*")), place + "quantifier does not follow a repeatable item in \"*\"");
  EXPECT_EQ(parseError(splitAt("[a-z&&[^b]]")),
            place + "&& inside [] is not supported, found at byte 4 of \"[a-z&&[^b]]\"");
  EXPECT_EQ(parseError(splitAt("[a[b]]")), place + "[ inside [] is not supported, found at byte 2 of \"[a[b]]\"");
  EXPECT_EQ(parseError(splitAt("[]")), place + "an empty [] is not supported, found at byte 0 of \"[]\"");
  EXPECT_EQ(parseError(splitAt("[ab")), place + "[ without ] at byte 0 of \"[ab\"");
  EXPECT_EQ(parseError(splitAt("[\\D]")),
            place + "a negated property inside [] is not supported, found at byte 1 of \"[\\\\D]\"");
  EXPECT_EQ(parseError(splitAt("[a-\\d]")), place + "a range that ends in a class at byte 3 of \"[a-\\\\d]\"");
  EXPECT_EQ(parseError(splitAt("[a-c-e]")),
            place + "a - that is neither a range nor at an end of [] at byte 4 of \"[a-c-e]\"");
  EXPECT_EQ(parseError(splitAt("\\p{Greek}")),
            place + "property \"Greek\" is not supported (general categories are) at byte 0 of \"\\\\p{Greek}\"");
  EXPECT_EQ(parseError(splitAt("\\pL")), place + "a property without {name} at byte 0 of \"\\\\pL\"");
  EXPECT_EQ(parseError(splitAt("\\b")), place + "\\b is not supported, found at byte 0 of \"\\\\b\"");
  EXPECT_EQ(parseError(splitAt("a\\")), place + "a lone \\ at byte 1 of \"a\\\\\"");
  EXPECT_EQ(parseError(splitAt("\\x{110000}")), place + "a number that is no character at byte 0 of \"\\\\x{110000}\"");
  EXPECT_EQ(parseError(splitAt("\\u12")), place + "a malformed character number at byte 0 of \"\\\\u12\"");
  EXPECT_EQ(parseError(splitAt("(?<name>a)")),
            place + "a group of a kind that is not supported at byte 0 of \"(?<name>a)\"");
  EXPECT_EQ(parseError(splitAt("a(?i)b|c")), place + "flags that do not stand at the start at byte 1 of \"a(?i)b|c\"");
  EXPECT_EQ(parseError(splitAt("a{2}?")),
            place + "a repeat {n}?, which engines read differently, at byte 1 of \"a{2}?\"");
  EXPECT_EQ(parseError(splitAt(std::string(20000, 'a').c_str())), place + "20000 bytes long, expected at most 16384");
}

TEST(Parse, AddedTokens) {
  auto token = [](json fields) { return with("/added_tokens/0", std::move(fields)); };
  EXPECT_EQ(parseError(token({{"id", 99}, {"content", "a"}})),
            "tokenizer.json: added_tokens[0]: \"a\" has id 99, but is in the vocabulary with id 0");
  EXPECT_EQ(parseError(token({{"id", 3}, {"content", "<x>"}})),
            "tokenizer.json: added_tokens[0]: id 3 belongs to both \"d\" and \"<x>\"");
  EXPECT_EQ(parseError(token({{"content", "<x>"}})),
            "tokenizer.json: added_tokens[0].id: expected a number from 0, found null");
  EXPECT_EQ(parseError(token({{"id", -4}, {"content", "<x>"}})),
            "tokenizer.json: added_tokens[0].id: expected a number from 0, found -4");
  EXPECT_EQ(parseError(token({{"id", 1u << 31}, {"content", "<x>"}})),
            "tokenizer.json: added_tokens[0]: token \"<x>\" has id 2147483648, expected one below 2097152");
  EXPECT_EQ(parseError(token({{"id", 3}, {"content", 5}})),
            "tokenizer.json: added_tokens[0].content: expected a string, found number");
  EXPECT_EQ(parseError(token({{"id", 30}, {"content", std::string(300, 'x')}})),
            "tokenizer.json: added_tokens[0]: content is 300 bytes long, expected at most 256");
  EXPECT_EQ(parseError(token({{"id", 30}, {"content", "<x>"}, {"lstrip", "yes"}})),
            "tokenizer.json: added_tokens[0].lstrip: expected true or false, found string");
  EXPECT_EQ(parseError(token(1)), "tokenizer.json: added_tokens[0]: expected an object, found number");
  EXPECT_EQ(parseError(with("/added_tokens", "x")), "tokenizer.json: added_tokens: expected an array, found string");
}

TEST(Parse, Templates) {
  auto processor = [](json single) {
    json specials = {{"<s>", {{"id", "<s>"}, {"ids", {14}}}}, {"<x>", {{"id", "<x>"}, {"ids", {77}}}}};
    return with("/post_processor",
                {{"type", "TemplateProcessing"}, {"single", std::move(single)}, {"special_tokens", specials}});
  };
  json text = {{"Sequence", {{"id", "A"}}}};
  auto special = [](const char *name) { return json{{"SpecialToken", {{"id", name}}}}; };
  EXPECT_EQ(parseError(processor({special("<s>"), text, text})),
            "tokenizer.json: post_processor.single[2]: expected the text \"A\" once, found \"A\" as a second one");
  EXPECT_EQ(parseError(processor(json::array({special("<s>")}))),
            "tokenizer.json: post_processor.single: the template has no place for the text");
  EXPECT_EQ(parseError(processor({special("<y>"), text})),
            "tokenizer.json: post_processor: the template names \"<y>\", which is not in its special_tokens");
  EXPECT_EQ(parseError(processor({special("<x>"), text})),
            "tokenizer.json: post_processor.special_tokens.<x>.ids[0]: expected the id of a token");
  EXPECT_EQ(parseError(processor({text, "x"})),
            "tokenizer.json: post_processor.single[1]: expected a Sequence or a SpecialToken");
}

TEST(Parse, LatheObject) {
  EXPECT_EQ(parseError(with("/lathe", 1)), "tokenizer.json: lathe: expected an object, found number");
  EXPECT_EQ(parseError(with("/lathe/eos_token_id", 1)), "tokenizer.json: lathe: unknown key \"eos_token_id\"; known: "
                                                        "bos_token_id, eos_token_ids, add_bos, chat_template, "
                                                        "sentencepiece");
  EXPECT_EQ(parseError(with("/lathe", {{"sentencepiece", {{"unmatched_ids", {-1}}}}})),
            "tokenizer.json: lathe.sentencepiece.unmatched_ids[0]: expected an id from 0 to 2097151");
  EXPECT_EQ(parseError(with("/lathe/add_bos", true)),
            "tokenizer.json: lathe: add_bos is true, but there is no bos_token_id");
  EXPECT_EQ(parseError(with("/lathe", {{"add_bos", true}, {"bos_token_id", 99}})),
            "tokenizer.json: lathe.bos_token_id: 99 is the id of no token, but add_bos is true");
  EXPECT_EQ(parseError(with("/lathe/eos_token_ids", json::array({1, "x"}))),
            "tokenizer.json: lathe.eos_token_ids[1]: expected an id from 0 to 2097151");
  EXPECT_EQ(parseError(with("/lathe/chat_template", 1)),
            "tokenizer.json: lathe.chat_template: expected a string, found number");
}

TEST(Parse, BothSpellingsOfMergesAndKeysInAnyOrder) {
  auto wanted = parsed(tinyJson())->encode("abc bcab");
  EXPECT_EQ(parsed(with("/model/merges", json::array({{"a", "b"}, {"b", "c"}, {"ab", "c"}})))->encode("abc bcab"),
            wanted);
  json content = tinyJson();
  std::string vocabulary = content["model"]["vocab"].dump();
  content["model"].erase("vocab");
  std::string text = content.dump();
  size_t model = text.find("\"model\":{") + 9;
  text.insert(text.find("}", model), ",\"vocab\":" + vocabulary); // behind the merges
  auto tokenizer = Tokenizer::parse(text);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  EXPECT_EQ((*tokenizer)->encode("abc bcab"), wanted);
}

TEST(Parse, SecondDecoderAndUnknownTopLevelKeys) {
  json content = with("/decoder", {{"type", "Sequence"}, {"decoders", {{{"type", "ByteLevel"}}}}});
  content["truncation"] = {{"max_length", 1}};
  content["something"] = {1, 2};
  EXPECT_EQ(parsed(content)->encode("a b").size(), 3u);
}

namespace {

/// Small files that have every component between them.
std::vector<std::string> everyComponent() {
  auto type = [](const char *name) { return json{{"type", name}}; };
  json normalizers = {type("NFD"),
                      type("NFKC"),
                      type("Lowercase"),
                      type("StripAccents"),
                      type("Nmt"),
                      type("BertNormalizer"),
                      {{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}},
                      {{"type", "Replace"}, {"pattern", {{"Regex", "a+|\\s{2,}"}}}, {"content", "b"}},
                      {{"type", "Precompiled"}, {"precompiled_charsmap", "CAAAAAAEAAABAQAAYQBiAA=="}},
                      {{"type", "Prepend"}, {"prepend", "x"}}};
  json steps = {type("UnicodeScripts"),
                type("BertPreTokenizer"),
                {{"type", "CharDelimiterSplit"}, {"delimiter", "x"}},
                {{"type", "Punctuation"}, {"behavior", "MergedWithNext"}},
                {{"type", "FixedLength"}, {"length", 7}},
                {{"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "first"}, {"split", true}}};
  json decoders = {type("ByteFallback"),
                   {{"type", "Metaspace"}, {"replacement", "_"}},
                   {{"type", "WordPiece"}, {"prefix", "##"}},
                   {{"type", "BPEDecoder"}, {"suffix", "b"}},
                   type("Fuse"),
                   {{"type", "Strip"}, {"content", "a"}, {"start", 1}, {"stop", 1}},
                   {{"type", "Replace"}, {"pattern", {{"String", "ab"}}}, {"content", ""}}};
  json scores = json::array();
  for (auto [token, score] : {std::pair("<unk>", 0.0), {"_a", -1.5}, {"b", -2e-3}, {"<0x41>", -9}, {"ab", -3}})
    scores.push_back(json::array({token, score}));
  std::vector<json> models = {
      {{"type", "Unigram"}, {"unk_id", 0}, {"byte_fallback", true}, {"vocab", scores}},
      {{"type", "WordPiece"}, {"unk_token", "b"}, {"max_input_chars_per_word", 9}, {"vocab", {{"b", 0}, {"##a", 1}}}},
      {{"type", "WordLevel"}, {"unk_token", "b"}, {"vocab", {{"b", 0}, {"a", 1}}}},
      {{"type", "BPE"},
       {"unk_token", "b"},
       {"byte_fallback", true},
       {"end_of_word_suffix", "_"},
       {"vocab", {{"b", 0}, {"a_", 1}, {"ba_", 2}}},
       {"merges", {"b a_"}}}};
  std::vector<std::string> texts;
  for (const json &model : models)
    texts.push_back(json{
        {"added_tokens", json::array()},
        {"normalizer", {{"type", "Sequence"}, {"normalizers", normalizers}}},
        {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", steps}}},
        {"post_processor", {{"type", "BertProcessing"}, {"cls", {"b", 0}}, {"sep", {"b", 0}}}},
        {"decoder", {{"type", "Sequence"}, {"decoders", decoders}}},
        {"lathe", {{"sentencepiece", {{"user_defined_ids", {1}}, {"unmatched_ids", {0}}}}}},
        {"model",
         model}}.dump());
  return texts;
}

} // namespace

// Bits flipped, spans dropped, doubled or replaced, ends cut off: an error of one line, or a tokenizer that works.
TEST(Parse, DamagedFilesEndInAnErrorOrWork) {
  std::mt19937 random(11);
  const std::string numbers[] = {
      "99999999999999999999", "-1", "1e999", "4294967296", "2147483647", "null", "[]", "{}", "\"\"", "[[[[["};
  int accepted = 0, refused = 0;
  std::vector<std::string> files = everyComponent();
  for (const char *name : {"gpt2", "llama3", "qwen2", "smollm"})
    files.push_back(fixtureText(name));
  for (const std::string &whole : files) {
    for (int round = 0; round < LATHE_DAMAGE_ROUNDS; ++round) {
      std::string text = whole;
      // Half of the damage goes where the components are, before and behind the vocabulary.
      size_t head = text.find("\"vocab\"");
      size_t at = random() % 2 ? random() % head : random() % text.size();
      size_t length = 1 + random() % 40;
      switch (random() % 6) {
      case 0:
        text[at] = static_cast<char>(text[at] ^ 1 << random() % 8);
        break;
      case 1:
        text.resize(at);
        break;
      case 2:
        text.erase(at, length);
        break;
      case 3:
        text.insert(at, text.substr(at, length));
        break;
      case 4:
        if (size_t number = text.find_first_of("0123456789", at); number != text.npos)
          text.replace(number, 1, numbers[random() % std::size(numbers)]);
        break;
      case 5:
        text.replace(at, std::min<size_t>(4, text.size() - at), std::string(4, static_cast<char>(random())));
        break;
      }
      auto tokenizer = Tokenizer::parse(text);
      if (!tokenizer) {
        ++refused;
        EXPECT_EQ(tokenizer.error().code, ExitCode::badInput);
        EXPECT_TRUE(tokenizer.error().message.starts_with("tokenizer.json")) << tokenizer.error().message;
        EXPECT_EQ(tokenizer.error().message.find('\n'), std::string::npos) << tokenizer.error().message;
        EXPECT_LT(tokenizer.error().message.size(), 1000u);
        continue;
      }
      ++accepted;
      auto ids = (*tokenizer)->encode("It's 12,345 <|im_end|>\n  café \xFF naïve 你好");
      for (int32_t id : ids)
        EXPECT_LT(static_cast<uint32_t>(id), static_cast<uint32_t>((*tokenizer)->size()));
      (*tokenizer)->decode(ids);
    }
  }
  EXPECT_GT(accepted, 10);
  EXPECT_GT(refused, 100);
}
