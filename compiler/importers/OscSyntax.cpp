#include "compiler/importers/OscSyntax.h"

#include "compiler/ConfigDiagnostics.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace lathe {
namespace {

using nlohmann::json;

constexpr size_t kMaxBytes = size_t{1} << 18;
constexpr size_t kMaxValueBytes = size_t{1} << 16;
constexpr size_t kMaxResolvedBytes = size_t{16} << 20;
constexpr int kMaxReferenceDepth = 16;
constexpr size_t kMaxReferences = 100'000;

std::string_view trimmed(std::string_view text) {
  size_t first = text.find_first_not_of(" \t\r");
  return first == std::string_view::npos ? "" : text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

size_t columnOf(std::string_view line, std::string_view part) {
  return static_cast<size_t>(part.data() - line.data()) + 1;
}

json parseValue(const std::string &text) {
  // Values are scalars and short lists: deeper text stays a string, as it does when it is no JSON at all.
  size_t depth =
      static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return c == '[' || c == '{'; }));
  json value = depth <= 64 ? json::parse(text, nullptr, false) : json(json::value_t::discarded);
  return value.is_discarded() ? json(printable(text)) : value;
}

template <typename T> std::optional<T> parseWhole(std::string_view text) {
  T value{};
  auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  return code == std::errc() && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

} // namespace

std::optional<int64_t> oscInteger(const json &value) {
  if (value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{INT64_MAX})
    return std::nullopt;
  if (value.is_number_integer())
    return value.get<int64_t>();
  if (value.is_string())
    return parseWhole<int64_t>(trimmed(value.get_ref<const std::string &>()));
  if (value.is_number_float() && std::trunc(value.get<double>()) == value.get<double>() &&
      std::abs(value.get<double>()) < 1e15)
    return static_cast<int64_t>(value.get<double>());
  return std::nullopt;
}

std::optional<double> oscNumber(const json &value) {
  if (value.is_number())
    return value.get<double>();
  if (!value.is_string())
    return std::nullopt;
  auto number = parseWhole<double>(trimmed(value.get_ref<const std::string &>()));
  return number && std::isfinite(*number) ? number : std::nullopt;
}

std::optional<bool> oscBoolean(const json &value) {
  if (value.is_boolean())
    return value.get<bool>();
  std::string word = value.is_string() ? value.get<std::string>() : value.is_number_integer() ? value.dump() : "";
  std::transform(word.begin(), word.end(), word.begin(), [](unsigned char c) { return std::tolower(c); });
  static constexpr std::array<std::string_view, 6> yes{"true", "1", "yes", "on", "t", "y"},
      no{"false", "0", "no", "off", "f", "n"};
  if (std::find(yes.begin(), yes.end(), word) != yes.end())
    return true;
  if (std::find(no.begin(), no.end(), word) != no.end())
    return false;
  return std::nullopt;
}

const OscSection *OscFile::section(std::string_view name) const {
  auto found = std::find_if(all.begin(), all.end(), [&](const OscSection &section) { return section.name == name; });
  return found == all.end() ? nullptr : &*found;
}

Result<void> OscFile::readSection(std::string_view line, size_t number) {
  std::string_view content = trimmed(line);
  size_t column = columnOf(line, content);
  if (content.back() != ']' || content.size() < 3)
    return fail(ExitCode::badInput, "{}:{}:{}: expected a section like [model.attention], found {}", file, number,
                column, inQuotes(content));
  std::string name(trimmed(content.substr(1, content.size() - 2)));
  if (const OscSection *other = section(name))
    return fail(ExitCode::badInput, "{}:{}:{}: section [{}] appears twice: first on line {}", file, number, column,
                printable(name), other->line);
  if (all.size() >= 4096)
    return fail(ExitCode::badInput, "{}:{}:{}: more than 4096 sections", file, number, column);
  all.push_back({std::move(name), number, {}});
  return {};
}

Result<OscValue *> OscFile::readValue(std::string_view line, size_t number) {
  size_t separator = line.find_first_of("=:");
  std::string_view key = trimmed(line.substr(0, std::min(separator, line.size())));
  size_t column = columnOf(line, trimmed(line));
  if (all.empty())
    return fail(ExitCode::badInput, "{}:{}:{}: expected a section like [model] before the first key, found {}", file,
                number, column, inQuotes(trimmed(line)));
  OscSection &section = all.back();
  if (separator == std::string_view::npos || key.empty())
    return fail(ExitCode::badInput, "{}:{}:{}: [{}] expected 'key = value', found {}", file, number, column,
                printable(section.name), inQuotes(trimmed(line)));
  std::string_view value = trimmed(line.substr(separator + 1));
  OscValue entry{std::string(value), {}, number, column, value.empty() ? separator + 2 : columnOf(line, value)};
  auto [other, fresh] = section.values.emplace(std::string(key), std::move(entry));
  if (!fresh)
    return fail(ExitCode::badInput, "{}:{}:{}: [{}] key {} appears twice: first on line {}", file, number, column,
                printable(section.name), inQuotes(key), other->second.line);
  return &other->second;
}

Result<void> OscFile::readLines(std::string_view text) {
  OscValue *open = nullptr; // the value that an indented line goes on with
  for (size_t number = 1; !text.empty(); ++number) {
    size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end), content = trimmed(line);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (content.empty() || content.front() == '#' || content.front() == ';')
      continue;
    if (open && (line.front() == ' ' || line.front() == '\t')) {
      open->text += '\n';
      open->text += content;
      continue;
    }
    open = nullptr;
    if (content.front() == '[') {
      if (auto read = readSection(line, number); !read)
        return read;
      continue;
    }
    auto read = readValue(line, number);
    if (!read)
      return propagate(read);
    open = *read;
  }
  return {};
}

Result<std::string> OscFile::resolve(const OscSection &section, const std::string &key, const OscValue &value,
                                     int depth) {
  auto wrong = [&](const std::string &what) {
    return fail(ExitCode::badInput, "{}:{}:{}: [{}] {}: {}", file, value.line, value.valueColumn,
                printable(section.name), printable(key), what);
  };
  if (++references > kMaxReferences)
    return wrong(fmt::format("the file makes more than {} references", kMaxReferences));
  if (depth > kMaxReferenceDepth)
    return wrong(fmt::format("references go on for more than {} steps: is there a cycle?", kMaxReferenceDepth));
  std::string result;
  std::string_view rest = value.text;
  while (!rest.empty()) {
    size_t dollar = std::min(rest.find('$'), rest.size());
    result += rest.substr(0, dollar);
    rest.remove_prefix(dollar);
    if (rest.starts_with("$$")) {
      result += '$';
      rest.remove_prefix(2);
    } else if (rest.starts_with("${")) {
      size_t end = rest.find('}');
      std::string_view name = rest.substr(2, std::min(end, rest.size()) - 2);
      size_t colon = name.find(':');
      if (end == std::string_view::npos || colon == std::string_view::npos)
        return wrong("expected a reference like ${section:key}, found " +
                     inQuotes(rest.substr(0, end == std::string_view::npos ? end : end + 1)));
      std::string_view targetName = trimmed(name.substr(0, colon));
      const OscSection *target = this->section(targetName);
      if (!target) {
        std::vector<std::string_view> names;
        for (const OscSection &known : all)
          names.push_back(known.name);
        std::string_view near = nearestName(targetName, names);
        return wrong(fmt::format("{} refers to section [{}], which is not there{}", inQuotes(rest.substr(0, end + 1)),
                                 printable(targetName.substr(0, 80)),
                                 near.empty() ? "" : fmt::format("; did you mean [{}]?", printable(near))));
      }
      std::string targetKey(trimmed(name.substr(colon + 1)));
      auto entry = target->values.find(targetKey);
      if (entry == target->values.end()) {
        std::vector<std::string_view> names;
        for (const auto &[known, ignored] : target->values)
          names.push_back(known);
        return wrong(fmt::format("{} refers to a key that is not there{}", inQuotes(rest.substr(0, end + 1)),
                                 suggestion(targetKey, names)));
      }
      auto text = resolve(*target, targetKey, entry->second, depth + 1);
      if (!text)
        return text;
      // Inside a longer value a JSON string loses its quotes.
      bool whole = result.empty() && rest.size() == end + 1;
      if (!whole && text->size() >= 2 && text->front() == '"' && text->back() == '"')
        *text = text->substr(1, text->size() - 2);
      result += *text;
      rest.remove_prefix(end + 1);
    } else if (!rest.empty()) {
      return wrong("expected ${section:key} or $$ after the dollar, found " + inQuotes(rest.substr(0, 20)));
    }
    if (result.size() > kMaxValueBytes)
      return wrong(fmt::format("expected a value of at most {} bytes", kMaxValueBytes));
  }
  return result;
}

Result<void> OscFile::resolveAll() {
  size_t bytes = 0;
  for (OscSection &section : all) {
    for (auto &[key, value] : section.values) {
      auto text = resolve(section, key, value, 0);
      if (!text)
        return propagate(text);
      if ((bytes += text->size()) > kMaxResolvedBytes)
        return fail(ExitCode::badInput, "{}: its references make more than {} bytes", file, kMaxResolvedBytes);
      value.value = parseValue(*text);
    }
  }
  return {};
}

Result<OscFile> OscFile::parse(std::string_view text, const std::string &path) {
  OscFile result;
  result.file = path;
  if (text.size() > kMaxBytes)
    return fail(ExitCode::badInput, "{}: expected a config of at most {} bytes, found {}", path, kMaxBytes,
                text.size());
  if (auto read = result.readLines(text); !read)
    return propagate(read);
  if (auto resolved = result.resolveAll(); !resolved)
    return propagate(resolved);
  return result;
}

} // namespace lathe
