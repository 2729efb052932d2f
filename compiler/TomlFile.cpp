#include "compiler/TomlFile.h"

#include "compiler/ConfigDiagnostics.h"

#include <algorithm>

namespace lathe {

// Keys of a config nest two deep. toml++ frees a table recursively, so a line like a.a.a.a… must not get to it.
static constexpr ptrdiff_t kMaxDotsPerLine = 24;

static Result<void> checkLines(std::string_view text, const std::string &file) {
  for (size_t line = 1; !text.empty(); ++line) {
    size_t end = std::min(text.find('\n'), text.size());
    std::string_view content = text.substr(0, end);
    if (!content.starts_with('#') && std::count(content.begin(), content.end(), '.') > kMaxDotsPerLine)
      return fail(ExitCode::badInput, "{}:{}:1: expected at most {} dots in a line: keys of a config nest two deep",
                  file, line, kMaxDotsPerLine);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return {};
}

Result<toml::table> parseToml(std::string_view text, const std::string &file, size_t most) {
  if (text.size() > most)
    return fail(ExitCode::badInput, "{}: expected a config of at most {} bytes, found {}", file, most, text.size());
  if (auto fine = checkLines(text, file); !fine)
    return propagate(fine);
  toml::parse_result parsed = toml::parse(text);
  if (parsed)
    return std::move(parsed).table();
  const toml::parse_error &error = parsed.error();
  return fail(ExitCode::badInput, "{}:{}:{}: not TOML: {}", file, error.source().begin.line,
              error.source().begin.column, printable(error.description()));
}

std::string describe(const toml::node &node) {
  if (auto text = node.value_exact<std::string_view>())
    return "the string " + inQuotes(*text);
  if (auto value = node.value_exact<int64_t>())
    return fmt::format("the integer {}", *value);
  if (auto value = node.value_exact<double>())
    return fmt::format("the number {}", *value);
  if (auto value = node.value_exact<bool>())
    return *value ? "true" : "false";
  return node.is_table() ? "a table" : node.is_array() ? "a list" : "a date or time";
}

} // namespace lathe
