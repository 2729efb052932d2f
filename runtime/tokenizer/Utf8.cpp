#include "runtime/tokenizer/Utf8.h"

#include "runtime/tokenizer/Unicode.h"

#include <algorithm>
#include <fmt/format.h>

namespace lathe {

namespace {

constexpr std::string_view replacementCharacter = "\xEF\xBF\xBD";
constexpr size_t quotedLimit = 60;

/// What stands at the start of a non-empty text: a whole character, or the longest prefix of one.
struct Sequence {
  size_t length; ///< bytes seen that belong together, at least 1
  bool whole;
  bool cut; ///< not whole only because the text ends here
};

Sequence sequenceAt(std::string_view text) {
  auto byte = [&](size_t index) { return static_cast<uint8_t>(text[index]); };
  uint8_t first = byte(0);
  if (first < 0x80)
    return {1, true, false};
  size_t length = first >= 0xC2 && first <= 0xDF   ? 2
                  : (first & 0xF0) == 0xE0         ? 3
                  : first >= 0xF0 && first <= 0xF4 ? 4
                                                   : 0;
  if (length == 0)
    return {1, false, false};
  for (size_t index = 1; index < length; ++index) {
    if (index == text.size())
      return {index, false, true};
    // The second byte's range excludes overlong forms, surrogates and what lies beyond U+10FFFF.
    uint8_t low = index == 1 && first == 0xE0 ? 0xA0 : index == 1 && first == 0xF0 ? 0x90 : 0x80;
    uint8_t high = index == 1 && first == 0xED ? 0x9F : index == 1 && first == 0xF4 ? 0x8F : 0xBF;
    if (byte(index) < low || byte(index) > high)
      return {index, false, false};
  }
  return {length, true, false};
}

constexpr bool standsForItself(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct Alphabet {
  std::array<char32_t, 256> characters{};
  std::array<int16_t, 512> bytes{};

  constexpr Alphabet() {
    bytes.fill(-1);
    char32_t next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      characters[byte] = standsForItself(byte) ? static_cast<char32_t>(byte) : next++;
      bytes[characters[byte]] = static_cast<int16_t>(byte);
    }
  }
};

constexpr Alphabet alphabet;

} // namespace

size_t validUtf8Length(std::string_view text) {
  size_t position = 0;
  while (position < text.size()) {
    Sequence sequence = sequenceAt(text.substr(position));
    if (!sequence.whole)
      break;
    position += sequence.length;
  }
  return position;
}

std::string decodeLossy(std::string_view bytes, bool eachByte) {
  std::string text;
  text.reserve(bytes.size());
  while (!bytes.empty()) {
    size_t valid = validUtf8Length(bytes);
    text += bytes.substr(0, valid);
    bytes.remove_prefix(valid);
    if (bytes.empty())
      break;
    text += replacementCharacter;
    bytes.remove_prefix(eachByte ? 1 : sequenceAt(bytes).length);
  }
  return text;
}

size_t incompleteTailLength(std::string_view text) {
  for (size_t length = 1; length <= 3 && length <= text.size(); ++length) {
    std::string_view tail = text.substr(text.size() - length);
    if ((static_cast<uint8_t>(tail[0]) & 0xC0) == 0x80)
      continue;
    Sequence sequence = sequenceAt(tail);
    return sequence.cut && sequence.length == length ? length : 0;
  }
  return 0;
}

char32_t nextCharacter(std::string_view text, size_t &position) {
  uint8_t first = static_cast<uint8_t>(text[position]);
  size_t length = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  char32_t character = length == 1 ? first : first & (0x7F >> length);
  for (size_t index = 1; index < length && position + index < text.size(); ++index)
    character = character << 6 | (static_cast<uint8_t>(text[position + index]) & 0x3F);
  position = std::min(position + length, text.size());
  return character;
}

void appendUtf8(std::string &text, char32_t c) {
  auto tail = [&](int shift) { text += static_cast<char>(0x80 | (c >> shift & 0x3F)); };
  if (c < 0x80) {
    text += static_cast<char>(c);
  } else if (c < 0x800) {
    text += static_cast<char>(0xC0 | c >> 6);
    tail(0);
  } else if (c < 0x10000) {
    text += static_cast<char>(0xE0 | c >> 12);
    tail(6), tail(0);
  } else {
    text += static_cast<char>(0xF0 | c >> 18);
    tail(12), tail(6), tail(0);
  }
}

size_t leadingWhitespace(std::string_view text) {
  size_t length = 0;
  for (size_t position = 0; position < text.size();) {
    if (!isWhitespace(nextCharacter(text, position)))
      break;
    length = position;
  }
  return length;
}

size_t trailingWhitespace(std::string_view text) {
  size_t start = text.size();
  while (start > 0) {
    size_t previous = start - 1;
    while (previous > 0 && (static_cast<uint8_t>(text[previous]) & 0xC0) == 0x80)
      --previous;
    size_t position = previous;
    if (!isWhitespace(nextCharacter(text, position)))
      break;
    start = previous;
  }
  return text.size() - start;
}

char32_t characterOfByte(uint8_t byte) { return alphabet.characters[byte]; }

int byteOfCharacter(char32_t character) { return character < alphabet.bytes.size() ? alphabet.bytes[character] : -1; }

std::string bytesOfToken(std::string_view token) {
  std::string bytes;
  for (size_t position = 0; position < token.size();) {
    int byte = byteOfCharacter(nextCharacter(token, position));
    if (byte < 0)
      return std::string(token);
    bytes += static_cast<char>(byte);
  }
  return bytes;
}

std::string tokenOfBytes(std::string_view bytes) {
  std::string token;
  token.reserve(bytes.size() * 2);
  for (char byte : bytes)
    appendUtf8(token, characterOfByte(static_cast<uint8_t>(byte)));
  return token;
}

std::string quote(std::string_view text) {
  std::string result = "\"";
  std::string_view shown = text.substr(0, quotedLimit);
  shown.remove_suffix(shown.size() - validUtf8Length(shown));
  for (char c : shown) {
    if (c == '"' || c == '\\')
      result += '\\';
    if (static_cast<uint8_t>(c) < 0x20 || c == 0x7F)
      result += fmt::format("\\x{:02x}", static_cast<uint8_t>(c));
    else
      result += c;
  }
  return result + (shown.size() < text.size() ? "…\"" : "\"");
}

} // namespace lathe
