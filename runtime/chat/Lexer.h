//===- Lexer.h - a template to tokens -------------------------------------===//
//
// What jinja2's lexer does with trim_blocks and lstrip_blocks, which is how transformers reads chat templates: the
// newline behind a block or comment goes, and so do blanks before one at the start of a line; '-' takes all whitespace
// on its side, '+' none.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/support/Error.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lathe::chat {

struct Token {
  enum class Kind { data, variableBegin, variableEnd, blockBegin, blockEnd, name, string, integer, real, symbol, end };
  Kind kind = Kind::end;
  std::string text; ///< of a string: its value; of a number and a symbol: how it is written
  uint32_t offset = 0;

  bool is(Kind wanted, std::string_view what) const { return kind == wanted && text == what; }
  bool isSymbol(std::string_view what) const { return is(Kind::symbol, what); }
  bool isName(std::string_view what) const { return is(Kind::name, what); }
};

/// Text with one kind of line end ("\n") and no newline at its end, as jinja2 reads it.
std::string normalizeSource(std::string_view source);

/// Where something stands in a template: "name:line:column".
std::string placeInSource(std::string_view source, size_t offset, std::string_view name);

/// Tokens of a source that is normalized; the last is `end`. `name` begins every error.
Result<std::vector<Token>> tokenize(std::string_view source, std::string_view name);

/// What a token is called in an error message.
std::string describe(const Token &token);

} // namespace lathe::chat
