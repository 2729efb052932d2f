//===- Model.h - words to ids ---------------------------------------------===//
#pragma once

#include "runtime/tokenizer/JsonNode.h"
#include "runtime/tokenizer/TokenizerFile.h"

#include <memory>

namespace lathe {

/// What the library sentencepiece does otherwise than `tokenizers`; the object "sentencepiece" within "lathe" asks for
/// it. Merges to the same token have the same rank, a charsmap replaces the longest match, and each malformed byte is a
/// U+FFFD of its own.
struct SentencePieceRules {
  std::vector<int32_t> userDefined; ///< tokens that BPE finds in a word before it merges; in ascending order
  std::vector<int32_t> unmatched; ///< tokens that no text becomes: control, byte and unknown tokens; in ascending order
  bool singlePrecision = false;   ///< Unigram rounds sums of scores to float; llama.cpp, alone, does not

  bool isUserDefined(int32_t id) const;
  bool isUnmatched(int32_t id) const;
};

/// `model` of tokenizer.json. Refers to the vocabulary of parse, of which it sees the tokens that were there then.
class Model {
public:
  /// `rules` is null for what `tokenizers` does.
  static Result<std::unique_ptr<const Model>> parse(const JsonNode &node, const TokenizerFile &file,
                                                    const Vocabulary &vocabulary, const SentencePieceRules *rules);
  virtual ~Model() = default;

  /// Appends the ids of a word of well-formed UTF-8, in time linear up to a logarithm.
  virtual void encode(std::string_view word, std::vector<int32_t> &ids) const = 0;
  /// Length of a part at the start of a word whose ids, with those of the rest, are the ids of the whole.
  virtual size_t cut(std::string_view word) const { return word.size(); }

protected:
  static constexpr int32_t noToken = -1;
};

// One for each `type`.
Result<std::unique_ptr<const Model>> parseBytePairModel(const JsonNode &node, const TokenizerFile &file,
                                                        const Vocabulary &vocabulary, const SentencePieceRules *rules);
Result<std::unique_ptr<const Model>> parseUnigramModel(const JsonNode &node, const TokenizerFile &file,
                                                       const Vocabulary &vocabulary, const SentencePieceRules *rules);
Result<std::unique_ptr<const Model>> parseWordPieceModel(const JsonNode &node, const TokenizerFile &file,
                                                         const Vocabulary &vocabulary);
Result<std::unique_ptr<const Model>> parseWordLevelModel(const JsonNode &node, const TokenizerFile &file,
                                                         const Vocabulary &vocabulary);

/// The ids of "<0x00>" to "<0xFF>", -1 where there is none.
std::array<int32_t, 256> byteTokens(const Vocabulary &vocabulary);

} // namespace lathe
