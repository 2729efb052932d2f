//===- Vocabulary.h - tokens and their ids --------------------------------===//
#pragma once

#include "runtime/support/Error.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lathe {

/// Tokens in the spelling of tokenizer.json, found by text and by id. All texts lie in one block: a large vocabulary
/// must load within milliseconds.
class Vocabulary {
public:
  /// Ids lie below this, which bounds the tables that a few bytes of hostile input can ask for.
  static constexpr uint64_t idLimit = uint64_t(1) << 21;

  /// Fails when the token or the id is there already, or the id is too large. The message has no place in it.
  Result<void> add(std::string_view token, uint64_t id);
  void reserve(size_t tokens, size_t bytes);

  /// The id of a token among the first `count` that were added.
  std::optional<int32_t> id(std::string_view token, size_t count = ~size_t(0)) const;
  /// The text of an id; nothing for a gap and for what lies outside.
  std::optional<std::string_view> token(int32_t id) const;

  size_t count() const { return entries.size(); }
  int32_t size() const { return static_cast<int32_t>(entryOfId.size()); } ///< ids are below this

private:
  struct Entry {
    uint32_t begin, length;
    int32_t id;
  };
  static constexpr uint32_t none = ~uint32_t(0);
  std::string text;
  std::vector<Entry> entries;
  std::vector<uint32_t> entryOfId;
  std::vector<uint32_t> slots; ///< open addressing by hash of the text, at most half full

  std::string_view textOf(const Entry &entry) const { return std::string_view(text).substr(entry.begin, entry.length); }
  size_t find(std::string_view token) const;
  void rehash(size_t size);
};

} // namespace lathe
