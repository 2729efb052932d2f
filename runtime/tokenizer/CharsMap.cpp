#include "runtime/tokenizer/CharsMap.h"

#include "runtime/tokenizer/Utf8.h"

namespace lathe {

Result<CharsMap> CharsMap::parse(std::string bytes) {
  auto word = [&](size_t at) {
    uint32_t value = 0;
    for (int byte = 3; byte >= 0; --byte)
      value = value << 8 | static_cast<uint8_t>(bytes[at + static_cast<size_t>(byte)]);
    return value;
  };
  if (bytes.size() < 4)
    return fail(ExitCode::badInput, "{} bytes long, expected at least 4", bytes.size());
  uint32_t size = word(0);
  if (size > bytes.size() - 4 || size % 4 != 0 || size == 0)
    return fail(ExitCode::badInput, "has a trie of {} bytes, expected a multiple of 4 from 4 to {}", size,
                bytes.size() - 4);
  CharsMap result;
  result.units.reserve(size / 4);
  for (size_t at = 4; at < 4 + size_t(size); at += 4)
    result.units.push_back(word(at));
  result.replacements = bytes.substr(4 + size_t(size));
  if (validUtf8Length(result.replacements) != result.replacements.size())
    return fail(ExitCode::badInput, "has replacements that are no UTF-8");
  return result;
}

std::optional<CharsMap::Match> CharsMap::find(std::string_view text, bool longest) const {
  auto offset = [](uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); };
  std::optional<Match> found;
  size_t node = offset(units[0]);
  for (size_t at = 0; at < text.size(); ++at) {
    uint8_t byte = static_cast<uint8_t>(text[at]);
    node ^= byte;
    if (byte == 0 || node >= units.size())
      break;
    uint32_t unit = units[node];
    if ((unit & (1u << 31 | 0xFF)) != byte)
      break;
    node ^= offset(unit);
    if ((unit >> 8 & 1) == 0)
      continue;
    if (node >= units.size())
      break;
    size_t begin = units[node] & ~(1u << 31);
    if (begin < replacements.size() && (static_cast<uint8_t>(replacements[begin]) & 0xC0) != 0x80) {
      size_t end = replacements.find('\0', begin);
      found = {at + 1, std::string_view(replacements).substr(begin, end == replacements.npos ? end : end - begin)};
      if (!longest)
        break;
    }
  }
  return found;
}

std::optional<std::string> fromBase64(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3);
  if (text.size() % 4 != 0)
    return std::nullopt;
  for (size_t at = 0; at < text.size(); at += 4) {
    uint32_t bits = 0;
    size_t padding = 0;
    for (size_t index = 0; index < 4; ++index) {
      char c = text[at + index];
      uint32_t value = c >= 'A' && c <= 'Z'   ? static_cast<uint32_t>(c - 'A')
                       : c >= 'a' && c <= 'z' ? static_cast<uint32_t>(c - 'a' + 26)
                       : c >= '0' && c <= '9' ? static_cast<uint32_t>(c - '0' + 52)
                       : c == '+'             ? 62
                       : c == '/'             ? 63
                                              : 64;
      bool pads = c == '=' && index >= 2 && at + 4 == text.size();
      if ((value == 64 && !pads) || (padding > 0 && !pads))
        return std::nullopt;
      padding += pads;
      bits = bits << 6 | (pads ? 0 : value);
    }
    for (size_t index = 0; index < 3 - padding; ++index)
      bytes += static_cast<char>(bits >> (16 - 8 * index));
  }
  return bytes;
}

} // namespace lathe
