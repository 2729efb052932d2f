//===- Normalizer.h - what is done to text before it is split -------------===//
#pragma once

#include "runtime/tokenizer/JsonNode.h"
#include "runtime/tokenizer/Trie.h"

#include <memory>

namespace lathe {

/// A text on its way, and how many of its first bytes come from the character at the start of the whole input:
/// Metaspace puts a space before the first word only. Well-formed UTF-8.
struct NormalizedText {
  std::string text;
  size_t atStart = 0;
};

/// The steps of `normalizer`.
class Normalizer {
public:
  /// `untouched` is null for what `tokenizers` does. Else text may be malformed, each such byte is a U+FFFD of its own,
  /// and a charsmap replaces the longest match, but nothing of these strings: what the library sentencepiece does.
  static Result<Normalizer> parse(const JsonNode &node, std::shared_ptr<const Trie> untouched);

  bool changesNothing() const { return steps.empty(); }
  /// In time linear up to a logarithm, but for the patterns of Replace, whose work is bounded.
  void apply(NormalizedText &text) const;
  std::string apply(std::string_view text) const;

  class Step {
  public:
    virtual ~Step() = default;
    virtual void apply(NormalizedText &text) const = 0;
  };

private:
  std::vector<std::shared_ptr<const Step>> steps;
};

} // namespace lathe
