//===- Normalizer.h - what is done to text before it is split -------------===//
#pragma once

#include "runtime/tokenizer/TokenizerFile.h"

namespace lathe {

/// Null, NFC, or a sequence of them.
class Normalizer {
public:
  static Result<Normalizer> parse(const JsonNode &node);

  bool changesNothing() const { return !nfc; }
  /// Unicode's normalization form C of well-formed UTF-8, in time linear up to a logarithm.
  std::string apply(std::string_view text) const;

private:
  bool nfc = false;

  Result<void> add(const JsonNode &node, int depth);
};

} // namespace lathe
