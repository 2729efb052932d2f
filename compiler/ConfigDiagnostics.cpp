#include "compiler/ConfigDiagnostics.h"

#include <algorithm>
#include <fmt/format.h>
#include <numeric>
#include <utf8proc.h>
#include <utility>
#include <vector>

namespace lathe {

std::string inQuotes(std::string_view text) {
  constexpr size_t most = 60;
  return fmt::format("{:?}{}", text.substr(0, most), text.size() > most ? "..." : "");
}

std::string listed(std::span<const std::string_view> names) {
  return fmt::format("{}", fmt::join(names.begin(), names.end(), ", "));
}

// Insertions, deletions, replacements, and swaps of neighbours (optimal string alignment).
static size_t editDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> before, above(b.size() + 1), row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    before = std::exchange(above, row);
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({row[j - 1] + 1, above[j] + 1, above[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], before[j - 2] + 1);
    }
  }
  return row.back();
}

std::string_view nearestName(std::string_view name, std::span<const std::string_view> names) {
  std::string_view best;
  if (name.size() > 64)
    return best;
  size_t bound = std::max<size_t>(1, name.size() / 4) + 1;
  for (std::string_view candidate : names) {
    size_t distance = editDistance(name, candidate);
    if (distance < bound) {
      bound = distance;
      best = candidate;
    }
  }
  return best;
}

std::string suggestion(std::string_view name, std::span<const std::string_view> names) {
  std::string_view near = nearestName(name, names);
  return fmt::format("{} known: {}", near.empty() ? ";" : fmt::format("; did you mean '{}'?", near), listed(names));
}

static const utf8proc_uint8_t *bytesOf(std::string_view text) {
  return reinterpret_cast<const utf8proc_uint8_t *>(text.data());
}

std::string printable(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    utf8proc_int32_t point = -1;
    utf8proc_ssize_t bytes =
        utf8proc_iterate(bytesOf(text), static_cast<utf8proc_ssize_t>(std::min<size_t>(text.size(), 4)), &point);
    if (bytes <= 0 || point < 0x20 || (point >= 0x7f && point < 0xa0))
      result += '?';
    else
      result += text.substr(0, static_cast<size_t>(bytes));
    text.remove_prefix(bytes > 0 ? static_cast<size_t>(bytes) : 1);
  }
  return result;
}

bool isUtf8(std::string_view text) {
  while (!text.empty()) {
    if (static_cast<unsigned char>(text.front()) < 0x80) {
      text.remove_prefix(1);
      continue;
    }
    utf8proc_int32_t point = -1;
    utf8proc_ssize_t bytes =
        utf8proc_iterate(bytesOf(text), static_cast<utf8proc_ssize_t>(std::min<size_t>(text.size(), 4)), &point);
    if (bytes <= 0 || point < 0)
      return false;
    text.remove_prefix(static_cast<size_t>(bytes));
  }
  return true;
}

} // namespace lathe
