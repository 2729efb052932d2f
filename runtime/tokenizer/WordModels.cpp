//===- WordModels.cpp - WordPiece and WordLevel ---------------------------===//
//
// WordPiece takes the longest token at each place of a word; all but the first carry a prefix (google-research/bert,
// tokenization.py). A word that comes out even nowhere is unknown as a whole.
//
//===----------------------------------------------------------------------===//
#include "runtime/tokenizer/Model.h"
#include "runtime/tokenizer/Trie.h"
#include "runtime/tokenizer/Utf8.h"

namespace lathe {

namespace {

constexpr uint64_t wordLimit = 1 << 16;

/// The id of `unk_token`, which both models need: a word without tokens has no other ids.
Result<int32_t> unknownId(const JsonNode &node, const Vocabulary &vocabulary, std::string fallback) {
  Result<std::string> token = node.string("unk_token", std::move(fallback));
  if (!token)
    return propagate(token);
  std::optional<int32_t> id = vocabulary.id(*token);
  if (!id)
    return node.member("unk_token").fail("{} is not in model.vocab", quote(*token));
  return *id;
}

class WordPieceModel final : public Model {
public:
  int32_t unknown = noToken;
  size_t characterLimit = 100; ///< longer words are unknown
  Trie starts, continuations;  ///< without the prefix

  void encode(std::string_view word, std::vector<int32_t> &ids) const override {
    size_t first = ids.size(), characters = 0;
    for (size_t position = 0; position < word.size(); ++characters)
      nextCharacter(word, position);
    bool bad = characters > characterLimit;
    for (size_t position = 0; position < word.size() && !bad;) {
      uint32_t id = 0;
      size_t length = (position == 0 ? starts : continuations).longest(word, position, id);
      bad = length == 0;
      position += length;
      ids.push_back(static_cast<int32_t>(id));
    }
    if (bad) {
      ids.resize(first);
      ids.push_back(unknown);
    }
  }
};

class WordLevelModel final : public Model {
public:
  explicit WordLevelModel(const Vocabulary &vocabulary) : vocabulary(vocabulary), tokenCount(vocabulary.count()) {}
  int32_t unknown = noToken;

  void encode(std::string_view word, std::vector<int32_t> &ids) const override {
    ids.push_back(vocabulary.id(word, tokenCount).value_or(unknown));
  }

private:
  const Vocabulary &vocabulary;
  size_t tokenCount;
};

} // namespace

Result<std::unique_ptr<const Model>> parseWordPieceModel(const JsonNode &node, const TokenizerFile &,
                                                         const Vocabulary &vocabulary) {
  Result<int32_t> unknown = unknownId(node, vocabulary, "[UNK]");
  Result<std::string> prefix = node.string("continuing_subword_prefix", "##");
  if (!unknown || !prefix)
    return unknown ? propagate(prefix) : propagate(unknown);
  auto model = std::make_unique<WordPieceModel>();
  model->unknown = *unknown;
  if (node.has("max_input_chars_per_word")) {
    Result<uint64_t> limit = node.number("max_input_chars_per_word");
    if (!limit)
      return propagate(limit);
    if (*limit > wordLimit)
      return node.member("max_input_chars_per_word").fail("expected at most {}, found {}", wordLimit, *limit);
    model->characterLimit = *limit;
  }
  for (int32_t id = 0; id < vocabulary.size(); ++id)
    if (std::optional<std::string_view> token = vocabulary.token(id)) {
      model->starts.add(*token, static_cast<uint32_t>(id));
      if (token->starts_with(*prefix))
        model->continuations.add(token->substr(prefix->size()), static_cast<uint32_t>(id));
    }
  return model;
}

Result<std::unique_ptr<const Model>> parseWordLevelModel(const JsonNode &node, const TokenizerFile &,
                                                         const Vocabulary &vocabulary) {
  Result<int32_t> unknown = unknownId(node, vocabulary, "<unk>");
  if (!unknown)
    return propagate(unknown);
  auto model = std::make_unique<WordLevelModel>(vocabulary);
  model->unknown = *unknown;
  return model;
}

} // namespace lathe
