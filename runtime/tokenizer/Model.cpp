#include "runtime/tokenizer/Model.h"

#include "runtime/tokenizer/Utf8.h"

#include <algorithm>

namespace lathe {

bool SentencePieceRules::isUserDefined(int32_t id) const { return std::ranges::binary_search(userDefined, id); }
bool SentencePieceRules::isUnmatched(int32_t id) const { return std::ranges::binary_search(unmatched, id); }

Result<std::unique_ptr<const Model>> Model::parse(const JsonNode &node, const TokenizerFile &file,
                                                  const Vocabulary &vocabulary, const SentencePieceRules *rules) {
  if (Result<void> object = node.expectObject(); !object)
    return propagate(object);
  // Files of before 2020 have no type.
  Result<std::string> type = node.string("type", file.vocabularyIsList ? "Unigram" : "BPE");
  if (!type)
    return propagate(type);
  bool unigram = *type == "Unigram";
  if (*type != "BPE" && *type != "Unigram" && *type != "WordPiece" && *type != "WordLevel")
    return node.member("type").fail("model {} is not supported; supported: BPE, Unigram, WordPiece, WordLevel",
                                    quote(*type));
  if (file.hasVocabulary && file.vocabularyIsList != unigram)
    return node.member("vocab").fail("expected {}, found {}",
                                     unigram ? "an array of [token, score]" : "an object of token: id",
                                     unigram ? "an object" : "an array");
  if (!file.hasVocabulary)
    return node.member("vocab").fail("missing, or no {}", unigram ? "array of [token, score]" : "object of token: id");
  if (unigram)
    return parseUnigramModel(node, file, vocabulary, rules);
  if (*type == "BPE")
    return parseBytePairModel(node, file, vocabulary, rules);
  if (*type == "WordPiece")
    return parseWordPieceModel(node, file, vocabulary);
  return parseWordLevelModel(node, file, vocabulary);
}

std::array<int32_t, 256> byteTokens(const Vocabulary &vocabulary) {
  std::array<int32_t, 256> ids;
  for (int byte = 0; byte < 256; ++byte)
    ids[static_cast<size_t>(byte)] = vocabulary.id(fmt::format("<0x{:02X}>", byte)).value_or(-1);
  return ids;
}

} // namespace lathe
