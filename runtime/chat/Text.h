//===- Text.h - strings that remember what came from outside --------------===//
//
// Text of a template and text of a request end up in one prompt. Special tokens are to be recognised in the first and
// not in the second ("<|im_end|>" in a user's message must not end the turn), so a string carries the byte ranges that
// a request brought in, and every operation keeps them. What cannot say which byte came from where marks all of its
// result.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Tokenizer.h"

#include <string>
#include <string_view>
#include <vector>

namespace lathe::chat {

/// Well-formed UTF-8 with its ranges of input, in order and apart from each other.
struct Text {
  std::string bytes;
  std::vector<TextRange> input;

  Text() = default;
  explicit Text(std::string bytes) : bytes(std::move(bytes)) {}
  static Text fromInput(std::string bytes);
  /// A text made out of others as a whole: all of it is input where any of them has some.
  static Text made(std::string bytes, bool hasInput) { return hasInput ? fromInput(std::move(bytes)) : Text(bytes); }

  bool hasInput() const { return !input.empty(); }
  size_t size() const { return bytes.size(); }
  std::string_view view() const { return bytes; }
  Text slice(size_t begin, size_t end) const;
  Text &append(const Text &other);
  Text &append(std::string_view literal) { return bytes += literal, *this; }
};

/// Characters are code points, as in Python.
size_t characterCount(std::string_view text);
/// Byte offset of each character, and the length of the text.
std::vector<size_t> characterOffsets(std::string_view text);
std::vector<char32_t> characters(std::string_view text);
/// Length in bytes of the character that begins with `first`.
size_t characterLength(char first);

/// Python's str.isspace() of one character; more than Unicode's White_Space.
bool isSpace(char32_t character);
/// Bytes of such characters at the start and at the end.
size_t leadingSpace(std::string_view text);
size_t trailingSpace(std::string_view text);

/// Simple case mappings of Unicode, and U+00DF to SS.
std::string upperCase(std::string_view text);
std::string lowerCase(std::string_view text);
std::string titleCase(char32_t character);
bool isUpper(char32_t character);
bool isLower(char32_t character);
bool isAlphabetic(char32_t character);
bool isDecimalDigit(char32_t character);
/// Whether Python's repr shows a character as it is.
bool isPrintable(char32_t character);
/// \w of Python's re.
bool isWord(char32_t character);

} // namespace lathe::chat
