//===- CharsMap.h - replacements compiled by sentencepiece ----------------===//
//
// `precompiled_charsmap` of a sentencepiece model: the size of a trie in bytes (u32, little-endian), the trie as a
// double array of u32 (github.com/s-yata/darts-clone), and the replacements, each ended by a zero byte.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/support/Error.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lathe {

class CharsMap {
public:
  /// Errors say what is wrong with the bytes; where they stand is the caller's to add.
  static Result<CharsMap> parse(std::string bytes);

  struct Match {
    size_t length; ///< bytes of the text
    std::string_view replacement;
  };
  std::optional<Match> shortest(std::string_view text) const { return find(text, false); }
  std::optional<Match> longest(std::string_view text) const { return find(text, true); }

private:
  std::vector<uint32_t> units;
  std::string replacements;

  std::optional<Match> find(std::string_view text, bool longest) const;
};

/// The bytes of a text in base64 (RFC 4648, with padding); nothing where it is malformed.
std::optional<std::string> fromBase64(std::string_view text);

} // namespace lathe
