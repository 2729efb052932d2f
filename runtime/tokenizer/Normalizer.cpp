#include "runtime/tokenizer/Normalizer.h"

#include "runtime/tokenizer/Utf8.h"

#include <algorithm>
#include <utf8proc.h>

namespace lathe {

namespace {

constexpr std::string_view supported = "null, NFC, Sequence";

/// utf8proc_map would sort marks by insertion, quadratic on a long run of them; its parts are used one by one instead.
std::string composed(std::string_view text) {
  std::vector<utf8proc_int32_t> characters;
  characters.reserve(text.size() + 1);
  for (size_t position = 0; position < text.size();) {
    utf8proc_int32_t parts[32];
    auto character = static_cast<utf8proc_int32_t>(nextCharacter(text, position));
    utf8proc_ssize_t count = utf8proc_decompose_char(character, parts, std::size(parts), UTF8PROC_DECOMPOSE, nullptr);
    if (count < 0 || count > std::ssize(parts))
      characters.push_back(character);
    else
      characters.insert(characters.end(), parts, parts + count);
  }
  auto combiningClass = [](utf8proc_int32_t character) { return utf8proc_get_property(character)->combining_class; };
  for (auto begin = characters.begin(); begin != characters.end();) {
    auto end = std::find_if(begin, characters.end(), [&](auto character) { return combiningClass(character) == 0; });
    std::ranges::stable_sort(begin, end, {}, combiningClass);
    begin = end == characters.end() ? end : end + 1;
  }
  utf8proc_ssize_t length =
      utf8proc_normalize_utf32(characters.data(), static_cast<utf8proc_ssize_t>(characters.size()),
                               static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
  std::string result;
  result.reserve(text.size());
  for (utf8proc_ssize_t index = 0; index < length; ++index)
    appendUtf8(result, static_cast<char32_t>(characters[static_cast<size_t>(index)]));
  return result;
}

} // namespace

Result<Normalizer> Normalizer::parse(const JsonNode &node) {
  Normalizer result;
  if (!node.isNull())
    if (Result<void> added = result.add(node, 0); !added)
      return propagate(added);
  return result;
}

Result<void> Normalizer::add(const JsonNode &node, int depth) {
  Result<std::string> type = node.type(supported);
  if (!type)
    return propagate(type);
  if (*type == "NFC") {
    nfc = true;
    return {};
  }
  if (*type != "Sequence")
    return node.fail("normalizer {} is not supported; supported: {}", quote(*type), supported);
  if (depth == 8)
    return node.fail("sequences nested deeper than 8 levels");
  Result<std::vector<JsonNode>> members = node.member("normalizers").elements();
  if (!members)
    return propagate(members);
  for (const JsonNode &member : *members)
    if (Result<void> added = add(member, depth + 1); !added)
      return added;
  return {};
}

std::string Normalizer::apply(std::string_view text) const {
  bool ascii = std::ranges::all_of(text, [](char c) { return static_cast<uint8_t>(c) < 0x80; });
  return nfc && !ascii ? composed(text) : std::string(text);
}

} // namespace lathe
