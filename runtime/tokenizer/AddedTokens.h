//===- AddedTokens.h - tokens that are found before the model -------------===//
#pragma once

#include "runtime/tokenizer/Normalizer.h"
#include "runtime/tokenizer/Trie.h"
#include "runtime/tokenizer/Vocabulary.h"

#include <functional>

namespace lathe {

struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool special = false;
  bool normalized = false; ///< searched in the normalized text
  bool lstrip = false;     ///< takes the whitespace before it
  bool rstrip = false;     ///< and behind it
  bool singleWord = false; ///< only where no word character touches it
};

/// The strings of `added_tokens`, searched leftmost-longest.
class AddedTokens {
public:
  /// What is longer is refused: a search takes up to this many steps a byte.
  static constexpr size_t contentLimit = 256;

  /// Puts tokens that `vocabulary` lacks into it.
  static Result<AddedTokens> parse(const JsonNode &list, Vocabulary &vocabulary, const Normalizer &normalizer);

  /// Gets text between tokens, or a token.
  using Sink = std::function<void(std::string_view text, const AddedToken *token)>;
  /// Says whether a special token from one byte to another stays text.
  using IsPlain = std::function<bool(size_t begin, size_t end)>;
  /// Cuts raw text at the tokens that are not `normalized`, normalized text at those that are. Parts
  /// of the text are views of it.
  void split(std::string_view text, bool normalized, const IsPlain &isPlain, const Sink &sink) const;

  bool isSpecial(int32_t id) const { return id >= 0 && static_cast<size_t>(id) < special.size() && special[id]; }

private:
  std::vector<AddedToken> tokens;
  std::vector<bool> special;
  Trie tries[2]; ///< by `normalized`

  Result<void> addToken(const JsonNode &node, Vocabulary &vocabulary, const Normalizer &normalizer);
};

} // namespace lathe
