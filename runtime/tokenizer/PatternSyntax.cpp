//===- PatternSyntax.cpp - Oniguruma's syntax to PCRE2's ------------------===//
//
//   \s \S      White_Space; PCRE2 counts U+180E too
//   \w \W      Alphabetic, M, Nd, Pc; PCRE2 has letters, digits and _
//   \h \H      hexadecimal digits; PCRE2 has horizontal space
//   \v         U+000B; PCRE2 has vertical space
//   (?m)       dot matches newline, (?s) in PCRE2; ^ and $ always match at lines (PCRE2_MULTILINE)
//   a{1,3}+    repeats the repeat; possessive in PCRE2
//   a{,3}      up to three; literal in PCRE2 10.42
//   \p{L}      with the characters that are younger than PCRE2's Unicode (UnicodeAdditions.h)
//
// Source: oniguruma/doc/RE (Ruby syntax), pcre2pattern(3).
//
//===----------------------------------------------------------------------===//
#include "runtime/tokenizer/Pattern.h"
#include "runtime/tokenizer/UnicodeAdditions.h"
#include "runtime/tokenizer/Utf8.h"

#include <algorithm>
#include <array>
#include <vector>

namespace lathe {

namespace {

constexpr size_t expressionLimit = size_t(16) << 10;

constexpr std::string_view whitespace =
    R"(\t-\r \x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";
constexpr std::string_view notWhitespace =
    R"(\x{0}-\x{8}\x{E}-\x{1F}!-\x{84}\x{86}-\x{9F}\x{A1}-\x{167F}\x{1681}-\x{1FFF}\x{200B}-\x{2027})"
    R"(\x{202A}-\x{202E}\x{2030}-\x{205E}\x{2060}-\x{2FFF}\x{3001}-\x{10FFFF})";

constexpr std::string_view categories[] = {"L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc", "Me", "N",
                                           "Nd", "Nl", "No", "P",  "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po",
                                           "S",  "Sm", "Sc", "Sk", "So", "Z",  "Zs", "Zl", "Zp"};

/// The inside of a character class that holds a general category.
std::string categoryMembers(std::string_view category) {
  std::string members = fmt::format("\\p{{{}}}", category);
  for (const CategoryRange &range : unicodeAdditions)
    if (range.category.starts_with(category))
      members += fmt::format("\\x{{{:X}}}-\\x{{{:X}}}", range.first, range.last);
  return members;
}

/// Alphabetic, M, Nd, Pc, and outside of classes the six numbers of Latin-1 that Oniguruma counts among letters there.
std::string wordMembers(bool inClass) {
  std::string members = inClass ? "\\p{Alphabetic}" : "\\p{Alphabetic}\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}";
  for (std::string_view category : {"L", "M", "Nd", "Pc"})
    members += categoryMembers(category);
  return members;
}

class Translator {
public:
  explicit Translator(std::string_view input) : input(input) {}

  Result<std::string> run() {
    if (input.size() > expressionLimit)
      return fail(ExitCode::badInput, "{} bytes long, expected at most {}", input.size(), expressionLimit);
    while (position < input.size())
      if (Result<void> item = translateItem(); !item)
        return propagate(item);
    return output;
  }

private:
  std::string_view input;
  size_t position = 0;
  std::string output;
  size_t atom = 0; ///< where in `output` the item starts that a repeat applies to
  std::vector<size_t> groups;

  bool at(std::string_view text) const { return input.substr(position).starts_with(text); }
  bool take(std::string_view text) {
    bool found = at(text);
    position += found ? text.size() : 0;
    return found;
  }

  std::unexpected<Error> refuse(size_t where, std::string_view what) const {
    return fail(ExitCode::badInput, "{} at byte {} of {}", what, where, quote(input));
  }

  static void appendLiteral(std::string &text, char32_t c) {
    if (c < 0x80 && !std::isalnum(static_cast<int>(c)))
      text += fmt::format("\\x{{{:X}}}", static_cast<uint32_t>(c));
    else
      appendUtf8(text, c);
  }

  Result<void> translateItem() {
    size_t start = position;
    switch (input[position]) {
    case '(':
      return openGroup();
    case ')':
      ++position;
      if (groups.empty())
        return refuse(start, "an unmatched )");
      atom = groups.back();
      groups.pop_back();
      output += ')';
      return {};
    case '[': {
      atom = output.size();
      return translateClass();
    }
    case '\\': {
      atom = output.size();
      if (at("\\A") || at("\\z")) { // the start and the end of the text, the same in both
        output += input.substr(position, 2);
        position += 2;
        return {};
      }
      Result<Escape> escape = readEscape(false);
      if (!escape)
        return propagate(escape);
      if (escape->members.empty())
        appendLiteral(output, escape->character);
      else
        output += fmt::format("[{}{}]", escape->negated ? "^" : "", escape->members);
      return {};
    }
    case '*':
    case '+':
    case '?':
      output += input[position++];
      if (position < input.size() && (input[position] == '?' || input[position] == '+'))
        output += input[position++];
      return {};
    case '{':
      return translateRepeat();
    case '|':
    case '.':
    case '^':
    case '$':
      atom = output.size();
      output += input[position++];
      return {};
    default:
      atom = output.size();
      appendLiteral(output, nextCharacter(input, position));
      return {};
    }
  }

  Result<void> openGroup() {
    size_t start = position;
    groups.push_back(output.size());
    bool branchStart = start == 0 || output.ends_with("(?:"); // a literal ( is written as a number
    for (std::string_view opening : {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>"})
      if (take(opening)) {
        output += opening;
        return {};
      }
    if (!take("(?")) {
      ++position;
      output += "(?:";
      return {};
    }
    std::string flags = "(?";
    while (position < input.size() && (at("i") || at("m") || at("-")))
      flags += input[position] == 'm' ? 's' : input[position], ++position;
    if (flags.size() == 2 || (!at(")") && !at(":")))
      return refuse(start, "a group of a kind that is not supported");
    // Oniguruma has a(?i)b|c mean a(?i:b|c), PCRE2 does not; at the start of a group they agree.
    if (at(")") && !branchStart)
      return refuse(start, "flags that do not stand at the start");
    if (take(")"))
      groups.pop_back();
    else
      ++position;
    output += flags + input[position - 1];
    return {};
  }

  Result<void> translateRepeat() {
    size_t start = position++;
    auto digits = [&] {
      size_t from = position;
      while (position < input.size() && std::isdigit(static_cast<unsigned char>(input[position])))
        ++position;
      return input.substr(from, position - from);
    };
    std::string_view least = digits();
    bool range = take(",");
    std::string_view most = range ? digits() : least;
    if (!take("}") || (least.empty() && most.empty())) {
      position = start + 1;
      atom = output.size();
      appendLiteral(output, '{');
      return {};
    }
    output += fmt::format("{{{}{}{}}}", least.empty() ? "0" : least, range ? "," : "", range ? most : "");
    if (at("?") && !range)
      return refuse(start, "a repeat {n}?, which engines read differently,");
    if (take("?"))
      output += '?';
    else if (at("+"))
      output.insert(atom, "(?:"), output += ')'; // the + that follows repeats this group
    return {};
  }

  /// One character, or the members of a class.
  struct Escape {
    char32_t character = 0;
    std::string members = {};
    bool negated = false;
  };

  Result<Escape> readEscape(bool inClass) {
    size_t start = position++;
    if (position == input.size())
      return refuse(start, "a lone \\");
    char32_t c = nextCharacter(input, position);
    auto members = [&](std::string text, bool negated) -> Result<Escape> {
      if (negated && inClass)
        return refuse(start, "a negated property inside [] is not supported, found");
      return Escape{0, std::move(text), negated};
    };
    switch (c) {
    case 's':
      return members(std::string(whitespace), false);
    case 'S':
      return members(std::string(notWhitespace), false);
    case 'd':
    case 'D':
      return members(categoryMembers("Nd"), c == 'D');
    case 'w':
    case 'W':
      return members(wordMembers(inClass), c == 'W');
    case 'h':
    case 'H':
      return members("0-9A-Fa-f", c == 'H');
    case 'p':
    case 'P': {
      size_t end = input.find('}', position);
      if (!take("{") || end == input.npos)
        return refuse(start, "a property without {name}");
      bool negated = (c == 'P') != take("^");
      std::string_view name = input.substr(position, end - position);
      position = end + 1;
      if (std::ranges::find(categories, name) == std::end(categories))
        return refuse(start, fmt::format("property {} is not supported (general categories are)", quote(name)));
      return members(categoryMembers(name), negated);
    }
    case 'x':
    case 'u':
      return readHexadecimal(start, c == 'u');
    case 't':
      return Escape{'\t'};
    case 'n':
      return Escape{'\n'};
    case 'r':
      return Escape{'\r'};
    case 'f':
      return Escape{'\f'};
    case 'v':
      return Escape{'\v'};
    case 'a':
      return Escape{'\a'};
    case 'e':
      return Escape{0x1B};
    default:
      if (c < 0x80 && std::isalnum(static_cast<int>(c)))
        return refuse(start, fmt::format("\\{} is not supported, found", static_cast<char>(c)));
      return Escape{c};
    }
  }

  Result<Escape> readHexadecimal(size_t start, bool fourDigits) {
    bool braces = !fourDigits && take("{");
    size_t most = braces ? 8 : fourDigits ? 4 : 2, count = 0;
    uint64_t value = 0;
    for (; count < most && position < input.size() && std::isxdigit(static_cast<unsigned char>(input[position]));
         ++count) {
      char digit = input[position++];
      value = value * 16 + static_cast<uint64_t>(digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10);
    }
    if (count == 0 || (fourDigits && count != 4) || (braces && !take("}")))
      return refuse(start, "a malformed character number");
    // \xHH above 7F names a byte in Oniguruma, which is no character.
    if (value > 0x10FFFF || (value >= 0xD800 && value < 0xE000) || (!braces && !fourDigits && value > 0x7F))
      return refuse(start, "a number that is no character");
    return Escape{static_cast<char32_t>(value)};
  }

  Result<void> translateClass() {
    size_t start = position++;
    std::string text = take("^") ? "[^" : "[";
    if (at("]"))
      return refuse(start, "an empty [] is not supported, found");
    bool first = true, rangeMayFollow = false, inRange = false;
    while (true) {
      if (position >= input.size())
        return refuse(start, "[ without ]");
      if (take("]"))
        break;
      if (at("["))
        return refuse(position, "[ inside [] is not supported, found");
      if (at("&&"))
        return refuse(position, "&& inside [] is not supported, found");
      if (at("-")) {
        bool last = input.substr(position + 1).starts_with("]");
        ++position;
        if (!rangeMayFollow || last) {
          if (!first && !last)
            return refuse(position - 1, "a - that is neither a range nor at an end of []");
          appendLiteral(text, '-');
        } else {
          text += '-';
          inRange = true;
        }
        first = rangeMayFollow = false;
        continue;
      }
      if (at("\\")) {
        size_t escapeStart = position;
        Result<Escape> escape = readEscape(true);
        if (!escape)
          return propagate(escape);
        if (inRange && !escape->members.empty())
          return refuse(escapeStart, "a range that ends in a class");
        if (escape->members.empty())
          appendLiteral(text, escape->character);
        else
          text += escape->members;
        rangeMayFollow = escape->members.empty() && !inRange;
      } else {
        appendLiteral(text, nextCharacter(input, position));
        rangeMayFollow = !inRange;
      }
      first = inRange = false;
    }
    output += text + "]";
    return {};
  }
};

} // namespace

Result<std::string> Pattern::translate(std::string_view expression) { return Translator(expression).run(); }

} // namespace lathe
