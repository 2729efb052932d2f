//===- Unicode.h - properties and forms of characters ---------------------===//
//
// `tokenizers` takes what it knows of characters from several libraries, each of its own version of Unicode: Rust's
// standard library, the crates regex, unicode_categories and unicode-normalization-alignments, and a table of scripts
// of its own. A newer version would give other ids for characters added since, so each property here is that of its
// library. UnicodeTables.cpp holds them, written by test/data/tokenizer/unicode.py; test/checks/tokenizer_check.py
// compares every code point.
//
//===----------------------------------------------------------------------===//
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace lathe {

struct CodePointRange {
  char32_t first, last;
};

bool isWhitespace(char32_t c);     ///< White_Space
bool isNumeric(char32_t c);        ///< Nd, Nl, No (Rust's char::is_numeric)
bool isWord(char32_t c);           ///< \w of Rust's regex: Alphabetic, M, Nd, Pc, the joiners
bool isPunctuation(char32_t c);    ///< ASCII's symbols too, as BERT has it
bool isOther(char32_t c);          ///< Cc, Cf, Co
bool isNonspacingMark(char32_t c); ///< Mn of unicode_categories
bool isCombiningMark(char32_t c);  ///< M of unicode-normalization-alignments
bool isChinese(char32_t c);        ///< the CJK blocks of BERT's tokenization.py
void appendLowercase(std::string &text, char32_t c);

/// The script of a character with Hiragana and Katakana counted as Han; 0 for spaces and for what has none.
constexpr uint8_t anyScript = 0;
uint8_t scriptOf(char32_t c);

enum class NormalForm { nfc, nfd, nfkc, nfkd };
/// A normalization form of well-formed UTF-8 (UAX #15), in time linear up to a logarithm.
std::string normalForm(std::string_view text, NormalForm form);

/// Length in bytes of the extended grapheme cluster (UAX #29) at the start of well-formed UTF-8.
size_t graphemeLength(std::string_view text);

namespace unicode { // UnicodeTables.cpp; ranges in ascending order

struct ScriptRange {
  char32_t first, last;
  uint8_t script;
};
struct CasePair {
  char32_t upper, lower;
};

extern const std::span<const CodePointRange> numeric, word, punctuation, other, nonspacingMark, combiningMark;
/// Younger than unicode-normalization-alignments: no decomposition, and no order among marks.
extern const std::span<const CodePointRange> unnormalized;
extern const std::span<const ScriptRange> scripts;
/// Where lower case is one character; U+0130 has two.
extern const std::span<const CasePair> lowercase;

} // namespace unicode
} // namespace lathe
