#include "runtime/tokenizer/Unicode.h"

#include "runtime/tokenizer/Utf8.h"

#include <algorithm>
#include <utf8proc.h>
#include <vector>

namespace lathe {

namespace {

template <typename Range> const Range *rangeOf(std::span<const Range> ranges, char32_t c) {
  auto range = std::ranges::lower_bound(ranges, c, {}, &Range::last);
  return range != ranges.end() && range->first <= c ? &*range : nullptr;
}

bool among(std::span<const CodePointRange> ranges, char32_t c) { return rangeOf(ranges, c) != nullptr; }

bool isAsciiLetter(char32_t c) { return (c | 0x20) >= 'a' && (c | 0x20) <= 'z'; }
bool isAsciiDigit(char32_t c) { return c >= '0' && c <= '9'; }

/// Below U+0300 nothing composes or is out of order, and NFC changes nothing.
bool isComposedAlready(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return static_cast<uint8_t>(c) < 0xCC; });
}

bool isAscii(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return static_cast<uint8_t>(c) < 0x80; });
}

int combiningClass(utf8proc_int32_t c) {
  return c < 0x300 || among(unicode::unnormalized, static_cast<char32_t>(c))
             ? 0
             : utf8proc_get_property(c)->combining_class;
}

/// Canonical or compatibility decomposition in canonical order. utf8proc_map would sort marks by insertion, quadratic
/// on a long run of them; its parts are used one by one instead.
std::vector<utf8proc_int32_t> decomposed(std::string_view text, bool compatibility) {
  auto options = static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | (compatibility ? UTF8PROC_COMPAT : 0));
  std::vector<utf8proc_int32_t> characters;
  characters.reserve(text.size() + 1);
  bool marks = false;
  for (size_t position = 0; position < text.size();) {
    utf8proc_int32_t parts[32];
    char32_t c = nextCharacter(text, position);
    auto character = static_cast<utf8proc_int32_t>(c);
    if (c < 0xA0) {
      characters.push_back(character);
      continue;
    }
    utf8proc_ssize_t count = among(unicode::unnormalized, c)
                                 ? -1
                                 : utf8proc_decompose_char(character, parts, std::size(parts), options, nullptr);
    marks |= c >= 0xC0;
    if (count < 0 || count > std::ssize(parts))
      characters.push_back(character);
    else
      characters.insert(characters.end(), parts, parts + count);
  }
  for (auto begin = characters.begin(); marks && begin != characters.end();) {
    auto end = std::find_if(begin, characters.end(), [](auto c) { return combiningClass(c) == 0; });
    if (end - begin > 1)
      std::ranges::stable_sort(begin, end, {}, combiningClass);
    begin = end == characters.end() ? end : end + 1;
  }
  return characters;
}

/// Composes between characters that normalization does not know, as they stand in its way.
void compose(std::vector<utf8proc_int32_t> &characters) {
  auto isUnknown = [](utf8proc_int32_t c) {
    return c >= 0x300 && among(unicode::unnormalized, static_cast<char32_t>(c));
  };
  std::vector<utf8proc_int32_t> part, result;
  result.reserve(characters.size());
  for (auto begin = characters.begin(); begin != characters.end();) {
    auto end = std::find_if(begin, characters.end(), isUnknown);
    part.assign(begin, end);
    part.push_back(0); // utf8proc ends its output with a zero
    utf8proc_ssize_t length =
        utf8proc_normalize_utf32(part.data(), static_cast<utf8proc_ssize_t>(part.size() - 1),
                                 static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
    result.insert(result.end(), part.begin(), part.begin() + std::max<utf8proc_ssize_t>(length, 0));
    if (end != characters.end())
      result.push_back(*end++);
    begin = end;
  }
  characters = std::move(result);
}

} // namespace

bool isWhitespace(char32_t c) {
  return (c >= 0x9 && c <= 0xD) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
         c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool isNumeric(char32_t c) { return c < 0x80 ? isAsciiDigit(c) : among(unicode::numeric, c); }
bool isWord(char32_t c) { return c < 0x80 ? isAsciiLetter(c) || isAsciiDigit(c) || c == '_' : among(unicode::word, c); }
bool isPunctuation(char32_t c) {
  return c < 0x80 ? c > 0x20 && c < 0x7F && !isAsciiLetter(c) && !isAsciiDigit(c) : among(unicode::punctuation, c);
}
bool isOther(char32_t c) { return c < 0x80 ? c < 0x20 || c == 0x7F : among(unicode::other, c); }
bool isNonspacingMark(char32_t c) { return c >= 0x300 && among(unicode::nonspacingMark, c); }
bool isCombiningMark(char32_t c) { return c >= 0x300 && among(unicode::combiningMark, c); }

bool isChinese(char32_t c) {
  static constexpr CodePointRange blocks[] = {{0x3400, 0x4DBF},   {0x4E00, 0x9FFF},   {0xF900, 0xFAFF},
                                              {0x20000, 0x2A6DF}, {0x2A700, 0x2B73F}, {0x2B740, 0x2B81F},
                                              {0x2B920, 0x2CEAF}, {0x2F800, 0x2FA1F}};
  return c >= 0x3400 && among(blocks, c);
}

void appendLowercase(std::string &text, char32_t c) {
  if (c < 0x80)
    return text.push_back(static_cast<char>(c >= 'A' && c <= 'Z' ? c | 0x20 : c));
  if (c == 0x130) {
    text += "i\u0307";
    return;
  }
  auto pair = std::ranges::lower_bound(unicode::lowercase, c, {}, &unicode::CasePair::upper);
  appendUtf8(text, pair != unicode::lowercase.end() && pair->upper == c ? pair->lower : c);
}

uint8_t scriptOf(char32_t c) {
  const unicode::ScriptRange *range = rangeOf(unicode::scripts, c);
  return range ? range->script : anyScript;
}

std::string normalForm(std::string_view text, NormalForm form) {
  bool composes = form == NormalForm::nfc || form == NormalForm::nfkc;
  if (isAscii(text) || (form == NormalForm::nfc && isComposedAlready(text)))
    return std::string(text);
  std::vector<utf8proc_int32_t> characters = decomposed(text, form == NormalForm::nfkc || form == NormalForm::nfkd);
  if (composes)
    compose(characters);
  std::string result;
  result.reserve(text.size());
  for (utf8proc_int32_t character : characters)
    appendUtf8(result, static_cast<char32_t>(character));
  return result;
}

size_t graphemeLength(std::string_view text) {
  size_t position = 0;
  if (text.empty())
    return 0;
  auto previous = static_cast<utf8proc_int32_t>(nextCharacter(text, position));
  utf8proc_int32_t state = 0;
  while (position < text.size()) {
    size_t end = position;
    auto next = static_cast<utf8proc_int32_t>(nextCharacter(text, end));
    if (utf8proc_grapheme_break_stateful(previous, next, &state))
      break;
    previous = next;
    position = end;
  }
  return position;
}

} // namespace lathe
