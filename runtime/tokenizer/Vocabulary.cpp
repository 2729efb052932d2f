#include "runtime/tokenizer/Vocabulary.h"

#include "runtime/tokenizer/Utf8.h"

#include <bit>
#include <limits>
#include <xxhash.h>

namespace lathe {

Result<void> Vocabulary::add(std::string_view token, uint64_t id) {
  if (id >= idLimit)
    return fail(ExitCode::badInput, "token {} has id {}, expected one below {}", quote(token), id, idLimit);
  if (text.size() + token.size() > std::numeric_limits<uint32_t>::max())
    return fail(ExitCode::badInput, "the tokens' texts exceed 4 GiB");
  if ((entries.size() + 1) * 2 > slots.size())
    rehash(std::max<size_t>(64, slots.size() * 2));
  size_t slot = find(token);
  if (slots[slot] != none)
    return fail(ExitCode::badInput, "token {} appears twice, with ids {} and {}", quote(token), entries[slots[slot]].id,
                id);
  if (id >= entryOfId.size())
    entryOfId.resize(id + 1, none);
  if (entryOfId[id] != none)
    return fail(ExitCode::badInput, "id {} belongs to both {} and {}", id, quote(textOf(entries[entryOfId[id]])),
                quote(token));
  slots[slot] = entryOfId[id] = static_cast<uint32_t>(entries.size());
  entries.push_back(
      {static_cast<uint32_t>(text.size()), static_cast<uint32_t>(token.size()), static_cast<int32_t>(id)});
  text += token;
  return {};
}

void Vocabulary::reserve(size_t tokens, size_t bytes) {
  text.reserve(bytes);
  entries.reserve(tokens);
  entryOfId.reserve(tokens);
  rehash(std::bit_ceil(tokens * 2));
}

std::optional<int32_t> Vocabulary::id(std::string_view token, size_t count) const {
  if (slots.empty())
    return std::nullopt;
  uint32_t entry = slots[find(token)];
  return entry == none || entry >= count ? std::nullopt : std::optional(entries[entry].id);
}

std::optional<std::string_view> Vocabulary::token(int32_t id) const {
  if (id < 0 || id >= size() || entryOfId[id] == none)
    return std::nullopt;
  return textOf(entries[entryOfId[id]]);
}

size_t Vocabulary::find(std::string_view token) const {
  size_t mask = slots.size() - 1;
  size_t index = XXH3_64bits(token.data(), token.size()) & mask;
  while (slots[index] != none && textOf(entries[slots[index]]) != token)
    index = (index + 1) & mask;
  return index;
}

void Vocabulary::rehash(size_t size) {
  if (size <= slots.size())
    return;
  slots.assign(size, none);
  for (uint32_t entry = 0; entry < entries.size(); ++entry)
    slots[find(textOf(entries[entry]))] = entry;
}

} // namespace lathe
