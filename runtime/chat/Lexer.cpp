#include "runtime/chat/Lexer.h"

#include "runtime/chat/Text.h"
#include "runtime/tokenizer/Utf8.h"

#include <algorithm>
#include <charconv>

namespace lathe::chat {
namespace {

using Kind = Token::Kind;

bool isDigit(char c) { return c >= '0' && c <= '9'; }
bool isNamePart(std::string_view text, size_t at) {
  return isDigit(text[at]) || static_cast<unsigned>((text[at] | 32) - 'a') < 26u || text[at] == '_' ||
         static_cast<uint8_t>(text[at]) >= 0x80;
}

class Lexer {
public:
  Lexer(std::string_view source, std::string_view name) : source(source), name(name) {}

  Result<std::vector<Token>> run() {
    while (at < source.size() && !error)
      lexData();
    if (error)
      return std::unexpected(*error);
    add(Kind::end, "", source.size());
    return std::move(tokens);
  }

private:
  std::string_view source, name;
  size_t at = 0;
  bool lineStarting = true; ///< what stands at `at` follows a newline, also one that a tag took
  std::vector<Token> tokens;
  std::optional<Error> error;

  void add(Kind kind, std::string text, size_t offset) {
    tokens.push_back({kind, std::move(text), static_cast<uint32_t>(offset)});
  }
  template <typename... Args> void refuse(size_t offset, fmt::format_string<Args...> format, Args &&...args) {
    if (!error)
      error = Error{ExitCode::badInput, fmt::format("{}: {}", placeInSource(source, offset, name),
                                                    fmt::format(format, std::forward<Args>(args)...))};
  }
  std::string_view rest() const { return source.substr(at); }
  size_t skipSpace(size_t position) const { return position + leadingSpace(source.substr(position)); }

  void lexData();
  void addData(std::string_view text, size_t offset, char sign, bool block);
  bool lexRaw(size_t tag);
  void lexComment(size_t tag);
  void lexInside(size_t tag, bool block);
  bool endsTag(std::string_view end, bool block);
  void lexNumber();
  void lexString();
  bool lexSymbol(std::string &open);
  bool escape(std::string_view text, size_t &position, std::string &value);
};

/// Text up to a tag: what the tag's sign or lstrip_blocks leaves of it.
void Lexer::addData(std::string_view text, size_t offset, char sign, bool block) {
  if (sign == '-') {
    text.remove_suffix(trailingSpace(text));
  } else if (sign != '+' && block) {
    size_t line = text.rfind('\n') + 1; // npos + 1 is 0
    if ((line > 0 || lineStarting) && leadingSpace(text.substr(line)) == text.size() - line)
      text = text.substr(0, line);
  }
  if (!text.empty())
    add(Kind::data, std::string(text), offset);
}

void Lexer::lexData() {
  size_t begin = at, tag = begin;
  for (tag = source.find('{', begin); tag != source.npos; tag = source.find('{', tag + 1))
    if (tag + 1 < source.size() && std::string_view("{%#").find(source[tag + 1]) != std::string_view::npos)
      break;
  if (tag == source.npos) {
    add(Kind::data, std::string(source.substr(begin)), begin);
    at = source.size();
    return;
  }
  char kind = source[tag + 1], sign = tag + 2 < source.size() ? source[tag + 2] : ' ';
  addData(source.substr(begin, tag - begin), begin, sign, kind != '{');
  at = tag + 2 + (sign == '-' || sign == '+');
  if (kind == '#')
    lexComment(tag);
  else if (kind == '{' || !lexRaw(tag))
    lexInside(tag, kind == '%');
}

void Lexer::lexComment(size_t tag) {
  size_t end = source.find("#}", at);
  if (end == source.npos)
    return refuse(tag, "a comment without an end: expected '#}}'");
  char sign = end > at ? source[end - 1] : ' ';
  at = end + 2;
  if (sign == '-')
    at = skipSpace(at);
  else if (sign != '+' && at < source.size() && source[at] == '\n')
    ++at;
  lineStarting = source[at - 1] == '\n';
}

/// "{% raw %}" to "{% endraw %}" is data; false when no "raw" stands behind the tag's begin.
bool Lexer::lexRaw(size_t tag) {
  size_t position = skipSpace(at);
  if (source.substr(position, 3) != "raw")
    return false;
  position = skipSpace(position + 3);
  bool strips = source.substr(position, 3) == "-%}";
  if (!strips && source.substr(position, 2) != "%}")
    return false;
  at = position + 2 + strips;
  if (strips)
    at = skipSpace(at);
  lineStarting = source[at - 1] == '\n';
  size_t begin = at;
  for (size_t end = source.find("{%", begin); end != source.npos; end = source.find("{%", end + 1)) {
    char sign = end + 2 < source.size() ? source[end + 2] : ' ';
    size_t word = skipSpace(end + 2 + (sign == '-' || sign == '+'));
    if (source.substr(word, 6) != "endraw")
      continue;
    addData(source.substr(begin, end - begin), begin, sign, true);
    at = skipSpace(word + 6);
    if (endsTag("%}", true))
      return true;
    refuse(at, "expected '%}}' behind endraw");
    return true;
  }
  refuse(tag, "a raw block without an end: expected '{{% endraw %}}'");
  return true;
}

/// Whether the tag ends here, and what its end takes with it.
bool Lexer::endsTag(std::string_view end, bool block) {
  bool minus = rest().starts_with('-') && rest().substr(1).starts_with(end);
  bool plus = block && rest().starts_with('+') && rest().substr(1).starts_with(end);
  if (!minus && !plus && !rest().starts_with(end))
    return false;
  at += end.size() + (minus || plus);
  if (minus)
    at = skipSpace(at);
  else if (block && !plus && rest().starts_with('\n'))
    ++at;
  lineStarting = source[at - 1] == '\n';
  return true;
}

void Lexer::lexInside(size_t tag, bool block) {
  add(block ? Kind::blockBegin : Kind::variableBegin, "", tag);
  std::string open; // brackets that wait for their end
  while (!error) {
    size_t begin = at;
    if (open.empty() && endsTag(block ? "%}" : "}}", block))
      return add(block ? Kind::blockEnd : Kind::variableEnd, "", begin);
    at = skipSpace(at);
    if (at >= source.size())
      return refuse(tag, "{} without an end: expected '{}'", block ? "a block" : "a print statement",
                    block ? "%}" : "}}");
    if (at != begin)
      continue;
    char c = source[at];
    if (isDigit(c)) {
      lexNumber();
    } else if (isNamePart(source, at)) {
      while (at < source.size() && isNamePart(source, at))
        ++at;
      std::string word(source.substr(begin, at - begin));
      size_t position = 0;
      for (char32_t character = 0; position < word.size();)
        if (character = nextCharacter(word, position); !isWord(character))
          return refuse(begin, "unexpected character {}", quote(word));
      add(Kind::name, word, begin);
    } else if (c == '\'' || c == '"') {
      lexString();
    } else if (!lexSymbol(open)) {
      return refuse(begin, "unexpected character {}", quote(source.substr(begin, 1)));
    }
  }
}

/// Digits with single underscores between them, then a fraction or an exponent; "1." is a number and a dot.
void Lexer::lexNumber() {
  size_t begin = at;
  auto digits = [&](size_t from, std::string_view allowed) {
    size_t end = from;
    while (end < source.size() && (allowed.find(char(source[end] | 32)) != allowed.npos || isDigit(source[end]) ||
                                   (source[end] == '_' && end > from && source[end - 1] != '_')))
      ++end;
    return end > from && source[end - 1] == '_' ? end - 1 : end;
  };
  std::string_view prefix = source.substr(begin, 2);
  bool based =
      prefix.size() == 2 && prefix[0] == '0' && std::string_view("box").find(char(prefix[1] | 32)) != prefix.npos;
  bool real = false;
  if (based) {
    at = digits(begin + 2, (prefix[1] | 32) == 'x' ? "abcdef" : "");
  } else {
    at = digits(begin, "");
    bool afterDot = begin > 0 && source[begin - 1] == '.';
    size_t end = at;
    if (end < source.size() && source[end] == '.' && digits(end + 1, "") > end + 1)
      end = digits(end + 1, ""), real = true;
    size_t exponent = end + 1;
    if (end < source.size() && (source[end] | 32) == 'e') {
      exponent += exponent < source.size() && (source[exponent] == '+' || source[exponent] == '-');
      if (digits(exponent, "") > exponent)
        end = digits(exponent, ""), real = true;
    }
    real = real && !afterDot;
    at = real ? end : at;
  }
  std::string text(source.substr(begin, at - begin));
  std::erase(text, '_');
  if (!based && !real && text.size() > 1 && text[0] == '0' && text.find_first_not_of('0') != text.npos)
    return refuse(begin, "a number must not begin with 0: {}", quote(text));
  add(real ? Kind::real : Kind::integer, text, begin);
}

bool Lexer::escape(std::string_view text, size_t &position, std::string &value) {
  constexpr std::string_view from = "\\'\"abfnrtv", to = "\\'\"\a\b\f\n\r\t\v";
  char c = text[position++];
  if (size_t found = from.find(c); found != from.npos)
    return value += to[found], true;
  if (c == '\n')
    return true;
  size_t length = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
  int base = 16;
  if (c >= '0' && c <= '7') {
    --position;
    base = 8;
    while (length < 3 && position + length < text.size() && text[position + length] >= '0' &&
           text[position + length] <= '7')
      ++length;
  }
  if (length == 0) {
    if (c == 'N')
      return false;
    value += '\\';
    value += c;
    return true;
  }
  uint32_t character = 0;
  if (position + length > text.size())
    return false;
  auto [stop, code] = std::from_chars(text.data() + position, text.data() + position + length, character, base);
  if (code != std::errc() || stop != text.data() + position + length || character > 0x10FFFF ||
      (character >= 0xD800 && character < 0xE000))
    return false;
  position += length;
  appendUtf8(value, character);
  return true;
}

void Lexer::lexString() {
  size_t begin = at, end = at + 1;
  while (end < source.size() && source[end] != source[begin])
    end += source[end] == '\\' ? 2 : 1;
  if (end >= source.size())
    return refuse(begin, "a string without an end");
  std::string_view text = source.substr(begin + 1, end - begin - 1);
  std::string value;
  for (size_t position = 0; position < text.size();) {
    if (text[position] != '\\') {
      value += text[position++];
      continue;
    }
    size_t start = position++;
    if (!escape(text, position, value))
      return refuse(begin + 1 + start, "an escape sequence that is none in a string");
  }
  at = end + 1;
  add(Kind::string, value, begin);
}

bool Lexer::lexSymbol(std::string &open) {
  constexpr std::string_view longs[] = {"//", "**", "==", "!=", ">=", "<="}, singles = "+-*/%~[](){}<>=.:|,;";
  for (std::string_view symbol : longs)
    if (rest().starts_with(symbol)) {
      add(Kind::symbol, std::string(symbol), at);
      at += 2;
      return true;
    }
  char c = source[at];
  if (singles.find(c) == singles.npos)
    return false;
  constexpr std::string_view opening = "([{", closing = ")]}";
  if (size_t which = opening.find(c); which != opening.npos)
    open += closing[which];
  if (closing.find(c) != closing.npos) {
    if (open.empty() || open.back() != c)
      return refuse(at, "unexpected '{}'{}", c, open.empty() ? "" : fmt::format(", expected '{}'", open.back())), true;
    open.pop_back();
  }
  add(Kind::symbol, std::string(1, c), at++);
  return true;
}

} // namespace

std::string normalizeSource(std::string_view source) {
  std::string result;
  result.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    bool carriage = source[i] == '\r';
    result += carriage ? '\n' : source[i];
    i += carriage && i + 1 < source.size() && source[i + 1] == '\n';
  }
  if (result.ends_with('\n'))
    result.pop_back();
  return result;
}

std::string placeInSource(std::string_view source, size_t offset, std::string_view name) {
  std::string_view before = source.substr(0, offset);
  size_t line = static_cast<size_t>(std::ranges::count(before, '\n')), begin = before.rfind('\n') + 1;
  return fmt::format("{}:{}:{}", name, line + 1, characterCount(before.substr(begin)) + 1);
}

Result<std::vector<Token>> tokenize(std::string_view source, std::string_view name) {
  return Lexer(source, name).run();
}

std::string describe(const Token &token) {
  switch (token.kind) {
  case Kind::end:
    return "the end of the template";
  case Kind::data:
    return "text";
  case Kind::variableEnd:
    return "'}}'";
  case Kind::blockEnd:
    return "'%}'";
  case Kind::variableBegin:
    return "'{{'";
  case Kind::blockBegin:
    return "'{%'";
  case Kind::string:
    return "a string";
  default:
    return quote(token.text);
  }
}

} // namespace lathe::chat
