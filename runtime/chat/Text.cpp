#include "runtime/chat/Text.h"

#include "runtime/tokenizer/Utf8.h"

#include <algorithm>
#include <utf8proc.h>

namespace lathe::chat {

Text Text::fromInput(std::string bytes) {
  Text text(std::move(bytes));
  if (!text.bytes.empty())
    text.input.push_back({0, text.bytes.size()});
  return text;
}

Text Text::slice(size_t begin, size_t end) const {
  Text part(bytes.substr(begin, end - begin));
  for (const TextRange &range : input) {
    size_t from = std::max(range.begin, begin), to = std::min(range.end, end);
    if (from < to)
      part.input.push_back({from - begin, to - begin});
  }
  return part;
}

Text &Text::append(const Text &other) {
  size_t offset = bytes.size(), count = other.input.size(); // `other` may be this text
  for (size_t i = 0; i < count; ++i) {
    TextRange range{other.input[i].begin + offset, other.input[i].end + offset};
    if (!input.empty() && input.back().end == range.begin)
      input.back().end = range.end;
    else
      input.push_back(range);
  }
  bytes += other.bytes;
  return *this;
}

size_t characterLength(char first) {
  auto byte = static_cast<uint8_t>(first);
  return byte < 0xC0 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

size_t characterCount(std::string_view text) {
  return static_cast<size_t>(
      std::ranges::count_if(text, [](char byte) { return (static_cast<uint8_t>(byte) & 0xC0) != 0x80; }));
}

std::vector<size_t> characterOffsets(std::string_view text) {
  std::vector<size_t> offsets;
  for (size_t at = 0; at < text.size(); at += characterLength(text[at]))
    offsets.push_back(at);
  offsets.push_back(text.size());
  return offsets;
}

std::vector<char32_t> characters(std::string_view text) {
  std::vector<char32_t> result;
  for (size_t at = 0; at < text.size();)
    result.push_back(nextCharacter(text, at));
  return result;
}

bool isSpace(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

size_t leadingSpace(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    size_t begin = at;
    if (!isSpace(nextCharacter(text, at)))
      return begin;
  }
  return text.size();
}

size_t trailingSpace(std::string_view text) {
  size_t end = text.size();
  while (end > 0) {
    size_t begin = end - 1;
    while (begin > 0 && (static_cast<uint8_t>(text[begin]) & 0xC0) == 0x80)
      --begin;
    size_t at = begin;
    if (!isSpace(nextCharacter(text, at)))
      break;
    end = begin;
  }
  return text.size() - end;
}

namespace {

utf8proc_category_t category(char32_t character) { return utf8proc_category(static_cast<utf8proc_int32_t>(character)); }

template <typename Map> std::string mapped(std::string_view text, const Map &map) {
  std::string result;
  result.reserve(text.size());
  for (size_t at = 0; at < text.size();)
    map(result, nextCharacter(text, at));
  return result;
}

} // namespace

std::string upperCase(std::string_view text) {
  return mapped(text, [](std::string &result, char32_t character) {
    if (character == 0xDF)
      result += "SS";
    else
      appendUtf8(result, static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(character))));
  });
}

std::string lowerCase(std::string_view text) {
  return mapped(text, [](std::string &result, char32_t character) {
    appendUtf8(result, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(character))));
  });
}

std::string titleCase(char32_t character) {
  if (character == 0xDF)
    return "Ss";
  std::string result;
  appendUtf8(result, static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(character))));
  return result;
}

bool isUpper(char32_t character) { return category(character) == UTF8PROC_CATEGORY_LU; }
bool isLower(char32_t character) {
  return category(character) == UTF8PROC_CATEGORY_LL || character == 0xAA || character == 0xBA;
}

bool isAlphabetic(char32_t character) {
  auto kind = category(character);
  return kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO;
}

bool isDecimalDigit(char32_t character) { return category(character) == UTF8PROC_CATEGORY_ND; }

bool isPrintable(char32_t character) {
  switch (category(character)) {
  case UTF8PROC_CATEGORY_CC:
  case UTF8PROC_CATEGORY_CF:
  case UTF8PROC_CATEGORY_CS:
  case UTF8PROC_CATEGORY_CO:
  case UTF8PROC_CATEGORY_CN:
  case UTF8PROC_CATEGORY_ZL:
  case UTF8PROC_CATEGORY_ZP:
    return false;
  case UTF8PROC_CATEGORY_ZS:
    return character == ' ';
  default:
    return true;
  }
}

bool isWord(char32_t character) {
  auto kind = category(character);
  return isAlphabetic(character) || (kind >= UTF8PROC_CATEGORY_ND && kind <= UTF8PROC_CATEGORY_NO) || character == '_';
}

} // namespace lathe::chat
