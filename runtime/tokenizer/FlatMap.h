//===- FlatMap.h - a map from 64-bit keys for tables built once -----------===//
#pragma once

#include <bit>
#include <cstdint>
#include <optional>
#include <vector>

namespace lathe {

/// Open addressing with linear probing, at most half full. Two 32-bit numbers make a key: (left, right) of a merge,
/// (node, byte) of a trie. The key of all ones is reserved.
class FlatMap {
public:
  static constexpr uint64_t key(uint32_t high, uint32_t low) { return uint64_t(high) << 32 | low; }

  void reserve(size_t count) { rehash(std::bit_ceil(std::max<size_t>(16, count * 2))); }

  /// The value stays the caller's to read or to set; a new one is `missing`.
  uint32_t &operator[](uint64_t key) {
    if ((used + 1) * 2 > slots.size())
      rehash(std::max<size_t>(16, slots.size() * 2));
    Slot &slot = slots[find(key)];
    if (slot.key == empty) {
      slot.key = key;
      ++used;
    }
    return slot.value;
  }

  uint32_t get(uint64_t key) const { return slots.empty() ? missing : slots[find(key)].value; }

  static constexpr uint32_t missing = ~uint32_t(0);

private:
  static constexpr uint64_t empty = ~uint64_t(0);
  struct Slot {
    uint64_t key = empty;
    uint32_t value = missing;
  };
  std::vector<Slot> slots;
  size_t used = 0;

  size_t find(uint64_t key) const {
    size_t mask = slots.size() - 1;
    size_t index = (key ^ key >> 29) * 0x9E3779B97F4A7C15u >> 20 & mask;
    while (slots[index].key != key && slots[index].key != empty)
      index = (index + 1) & mask;
    return index;
  }

  void rehash(size_t size) {
    if (size <= slots.size())
      return;
    std::vector<Slot> old(size);
    old.swap(slots);
    for (const Slot &slot : old)
      if (slot.key != empty)
        slots[find(slot.key)] = slot;
  }
};

} // namespace lathe
