//===- Utf8.h - UTF-8 and the byte alphabet of byte-level BPE -------------===//
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace lathe {

/// Length in bytes of the longest prefix of `text` that is well-formed UTF-8 (Unicode 16, table 3-7).
size_t validUtf8Length(std::string_view text);

/// Malformed parts become U+FFFD, one for each maximal subpart, as Python's `decode('utf-8', errors='replace')`
/// and Rust's `from_utf8_lossy` do it. With `eachByte` one for each byte, as the library sentencepiece does it.
std::string decodeLossy(std::string_view bytes, bool eachByte = false);

/// Bytes at the end of `text` that begin a character and may still become one: 0 to 3.
size_t incompleteTailLength(std::string_view text);

/// The character at `position` of well-formed UTF-8, which is moved behind it.
char32_t nextCharacter(std::string_view text, size_t &position);
void appendUtf8(std::string &text, char32_t character);

/// Length of the White_Space characters at the start and at the end of well-formed UTF-8, in bytes.
size_t leadingWhitespace(std::string_view text);
size_t trailingWhitespace(std::string_view text);

/// The alphabet of GPT-2's byte-level BPE (openai/gpt-2, encoder.py, bytes_to_unicode): each byte is one printable
/// character, itself where it is printable Latin-1, else U+0100 and up.
char32_t characterOfByte(uint8_t byte);
/// The byte that a character of the alphabet stands for, -1 for any other.
int byteOfCharacter(char32_t character);
/// A token's text to the bytes it stands for; a token with a character outside the alphabet is taken as it is.
std::string bytesOfToken(std::string_view token);
/// Bytes to the spelling that a vocabulary uses.
std::string tokenOfBytes(std::string_view bytes);

/// A text of the input for an error message: quoted, control characters escaped, shortened.
std::string quote(std::string_view text);

} // namespace lathe
