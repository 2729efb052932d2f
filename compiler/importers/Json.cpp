#include "compiler/importers/Json.h"

#include "compiler/ConfigDiagnostics.h"

#include <algorithm>

namespace lathe {
namespace {

using nlohmann::json;

constexpr size_t kMaxDepth = 64;
// A value of nlohmann::json takes 16 bytes, in an object about 100.
constexpr size_t kMaxValues = size_t{1} << 20;
// The library's lexer keeps several copies of a token.
constexpr size_t kMaxTokenBytes = size_t{4} << 20;

std::string placeOf(std::string_view text, const std::string &path, size_t offset) {
  std::string_view before = text.substr(0, std::min(offset, text.size()));
  size_t lines = static_cast<size_t>(std::count(before.begin(), before.end(), '\n'));
  size_t start = before.rfind('\n');
  return fmt::format("{}:{}:{}", path, lines + 1,
                     before.size() - (start == std::string_view::npos ? 0 : start + 1) + 1);
}

/// The offset of a string, number or word that is too long; the text's size when there is none.
size_t findLongToken(std::string_view text) {
  size_t start = 0;
  bool inString = false;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (inString && c == '\\') {
      ++i;
    } else if (c == '"') {
      inString = !inString;
      start = i + 1;
    } else if (!inString && std::string_view(" \t\r\n,:[]{}").find(c) != std::string_view::npos) {
      start = i + 1;
    }
    if (i + 1 > start + kMaxTokenBytes)
      return start;
  }
  return text.size();
}

/// Walks a text once without keeping it: syntax, depth, number of values.
class Surveyor final : public nlohmann::json_sax<json> {
public:
  Surveyor(std::string_view text, const std::string &path, size_t mostValues)
      : text(text), path(path), mostValues(mostValues) {}

  bool null() override { return value(); }
  bool boolean(bool) override { return value(); }
  bool number_integer(number_integer_t) override { return value(); }
  bool number_unsigned(number_unsigned_t) override { return value(); }
  bool number_float(number_float_t, const string_t &) override { return value(); }
  bool string(string_t &) override { return value(); }
  bool binary(binary_t &) override { return value(); }
  bool start_object(size_t) override { return open(); }
  bool start_array(size_t) override { return open(); }
  bool end_object() override { return --depth, true; }
  bool end_array() override { return --depth, true; }
  bool key(string_t &) override { return true; }
  bool parse_error(size_t position, const std::string &, const nlohmann::detail::exception &exception) override {
    std::string_view what = exception.what();
    // "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error …": the place is said by us.
    if (size_t column = what.find("column "); column != std::string_view::npos)
      what.remove_prefix(std::min(what.find(": ", column), what.size() - 2) + 2);
    else if (size_t bracket = what.find("] "); bracket != std::string_view::npos)
      what.remove_prefix(bracket + 2);
    message = fmt::format("{}: not JSON: {}", placeOf(text, path, position > 0 ? position - 1 : 0),
                          printable(what.substr(0, 300)));
    return false;
  }

  std::string message;

private:
  bool value() {
    if (++values <= mostValues)
      return true;
    message = fmt::format("{}: expected at most {} JSON values", path, mostValues);
    return false;
  }
  bool open() {
    if (++depth > kMaxDepth) {
      message = fmt::format("{}: JSON nests deeper than {}", path, kMaxDepth);
      return false;
    }
    return value();
  }

  std::string_view text;
  const std::string &path;
  size_t mostValues, depth = 0, values = 0;
};

/// Steps over a text that is known to be JSON.
class Walker {
public:
  explicit Walker(std::string_view text) : text(text) { space(); }
  size_t at() const { return offset; }
  /// Moves to the value of a member of the object here; false (and no move) when there is none.
  bool enter(std::string_view name) {
    size_t start = offset;
    if (peek() == '{') {
      ++offset;
      space();
      while (peek() == '"') {
        size_t begin = offset + 1;
        skipString();
        bool found = text.substr(begin, offset - 1 - begin) == name;
        space();
        ++offset; // ':'
        space();
        if (found)
          return true;
        skipValue();
        space();
        if (peek() == ',')
          ++offset;
        space();
      }
    }
    offset = start;
    return false;
  }

  void skipValue();

private:
  char peek() const { return offset < text.size() ? text[offset] : '\0'; }
  void space() {
    while (offset < text.size() && std::string_view(" \t\r\n").find(text[offset]) != std::string_view::npos)
      ++offset;
  }
  void skipString() {
    for (++offset; offset < text.size() && text[offset] != '"'; ++offset)
      if (text[offset] == '\\')
        ++offset;
    ++offset;
  }
  std::string_view text;
  size_t offset = 0;
};

void Walker::skipValue() {
  size_t depth = 0;
  do {
    char c = peek();
    if (c == '"') {
      skipString();
      continue;
    }
    if (c == '{' || c == '[')
      ++depth;
    else if ((c == '}' || c == ']') && depth > 0)
      --depth;
    else if (depth == 0 && (c == ',' || c == '}'))
      return;
    ++offset;
  } while (offset < text.size() && (depth > 0 || (peek() != ',' && peek() != '}')));
}

Result<void> survey(std::string_view text, const std::string &path, size_t mostValues) {
  Surveyor surveyor(text, path, mostValues);
  if (!json::sax_parse(text, &surveyor))
    return fail(ExitCode::badInput, "{}", surveyor.message);
  return {};
}

} // namespace

Result<json> parseJson(std::string_view text, const std::string &path, std::string_view skipped) {
  if (size_t offset = findLongToken(text); offset < text.size())
    return fail(ExitCode::badInput, "{}: expected a string or number of at most {} bytes", placeOf(text, path, offset),
                kMaxTokenBytes);
  std::string rest;
  if (!skipped.empty()) {
    if (auto fine = survey(text, path, text.size()); !fine)
      return propagate(fine);
    Walker walker(text);
    if (walker.enter(skipped)) {
      rest = text.substr(0, walker.at());
      walker.skipValue();
      rest.append("null").append(text.substr(walker.at()));
      text = rest;
    }
  }
  if (auto fine = survey(text, path, kMaxValues); !fine)
    return propagate(fine);
  json root = json::parse(text, nullptr, false);
  if (root.is_discarded())
    return fail(ExitCode::badInput, "{}: not JSON", path);
  return root;
}

std::string placeInJson(std::string_view text, const std::string &path, std::string_view keys) {
  Walker walker(text);
  while (!keys.empty()) {
    size_t dot = std::min(keys.find('.'), keys.size());
    if (!walker.enter(keys.substr(0, dot)))
      break;
    keys.remove_prefix(std::min(dot + 1, keys.size()));
  }
  return placeOf(text, path, walker.at());
}

std::string describeJson(const json &value) {
  if (value.is_string())
    return "the string " + inQuotes(value.get_ref<const std::string &>());
  if (value.is_number() || value.is_boolean() || value.is_null())
    return value.dump();
  return value.is_array() ? "a list" : "an object";
}

} // namespace lathe
