//===- Trie.h - prefixes of a text among many strings ---------------------===//
#pragma once

#include "runtime/tokenizer/FlatMap.h"

#include <array>
#include <string_view>

namespace lathe {

/// A trie over bytes: (node, byte) to node, and a value where a string ends.
class Trie {
public:
  static constexpr uint32_t root = 0, none = FlatMap::missing;

  Trie() { first.fill(none); }

  /// Of equal strings the first one's value stays. Empty strings are left out.
  void add(std::string_view text, uint32_t value) {
    uint32_t node = root;
    for (char c : text) {
      uint8_t byte = static_cast<uint8_t>(c);
      uint32_t &next = node == root ? first[byte] : children[FlatMap::key(node, byte)];
      if (next == none) {
        next = static_cast<uint32_t>(values.size());
        values.push_back(none);
      }
      node = next;
    }
    if (node != root && values[node] == none)
      values[node] = value;
  }

  uint32_t child(uint32_t node, char c) const {
    uint8_t byte = static_cast<uint8_t>(c);
    return node == root ? first[byte] : children.get(FlatMap::key(node, byte));
  }
  uint32_t value(uint32_t node) const { return values[node]; }

  /// The longest string at `position`: its length, 0 for none.
  size_t longest(std::string_view text, size_t position, uint32_t &value) const {
    size_t length = 0;
    uint32_t node = root;
    for (size_t next = position; next < text.size(); ++next) {
      node = child(node, text[next]);
      if (node == none)
        break;
      if (values[node] != none) {
        value = values[node];
        length = next + 1 - position;
      }
    }
    return length;
  }

private:
  FlatMap children;
  std::array<uint32_t, 256> first; ///< the root's children, which are asked for most
  std::vector<uint32_t> values{none};
};

} // namespace lathe
