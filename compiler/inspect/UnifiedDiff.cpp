//===- UnifiedDiff.cpp - two texts, line by line ------------------------------===//
#include "compiler/inspect/Difference.h"

#include <algorithm>
#include <string_view>

namespace lathe {
namespace {

using Lines = std::vector<std::string_view>;

Lines linesOf(std::string_view text) {
  Lines lines;
  while (!text.empty()) {
    size_t end = std::min(text.find('\n'), text.size());
    lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

/// One line of the result: ' ' in both, '-' only before, '+' only after.
struct Edit {
  char kind;
  size_t before, after; ///< how many lines of each stand in front of it
};

/// The most edits that are searched for: the search keeps their square.
constexpr int64_t mostEdits = 2000;

/// Edits that turn `a` into `b`, as few as possible.
std::vector<Edit> editsOf(const Lines &a, const Lines &b) {
  int64_t n = a.size(), m = b.size(), most = std::min(n + m, mostEdits);
  std::vector<int64_t> furthest(2 * most + 3, 0); // by diagonal k = x - y, at most + 1 + k
  std::vector<std::vector<int64_t>> trace;
  auto downwards = [](const std::vector<int64_t> &reach, int64_t at, int64_t k, int64_t d) {
    return k == -d || (k != d && reach[at - 1] < reach[at + 1]);
  };
  for (int64_t d = 0; d <= most; ++d) {
    trace.emplace_back(furthest.begin() + most + 1 - d - (d ? 1 : 0), furthest.begin() + most + 2 + d + (d ? 1 : 0));
    for (int64_t k = -d; k <= d; k += 2) {
      int64_t at = most + 1 + k;
      int64_t x = d == 0 ? 0 : downwards(furthest, at, k, d) ? furthest[at + 1] : furthest[at - 1] + 1;
      int64_t y = x - k;
      while (x < n && y < m && a[x] == b[y])
        ++x, ++y;
      furthest[at] = x;
      if (x < n || y < m)
        continue;
      // Found: back along the trace.
      std::vector<Edit> edits;
      for (int64_t step = d; step >= 0; --step) {
        const std::vector<int64_t> &reach = trace[step];
        int64_t diagonal = x - y, place = step + (step ? 1 : 0) + diagonal;
        bool down = step > 0 && downwards(reach, place, diagonal, step);
        int64_t from = step == 0 ? 0 : down ? reach[place + 1] : reach[place - 1];
        int64_t startX = step == 0 ? 0 : down ? from : from + 1;
        while (x > startX) {
          --x, --y;
          edits.push_back({' ', static_cast<size_t>(x), static_cast<size_t>(y)});
        }
        if (step > 0 && down)
          --y, edits.push_back({'+', static_cast<size_t>(x), static_cast<size_t>(y)});
        else if (step > 0)
          --x, edits.push_back({'-', static_cast<size_t>(x), static_cast<size_t>(y)});
      }
      std::ranges::reverse(edits);
      return edits;
    }
  }
  std::vector<Edit> all;
  for (int64_t x = 0; x < n; ++x)
    all.push_back({'-', static_cast<size_t>(x), 0});
  for (int64_t y = 0; y < m; ++y)
    all.push_back({'+', static_cast<size_t>(n), static_cast<size_t>(y)});
  return all;
}

} // namespace

std::string unifiedDiff(const std::string &before, const std::string &after, size_t context) {
  Lines a = linesOf(before), b = linesOf(after);
  std::vector<Edit> edits = editsOf(a, b);
  std::string text;
  for (size_t i = 0; i < edits.size(); ++i) {
    if (edits[i].kind == ' ')
      continue;
    // A hunk goes on as long as less than two contexts lie between changes.
    size_t first = i - std::min(i, context), last = i;
    for (size_t j = i; j < edits.size() && j <= last + 2 * context; ++j)
      if (edits[j].kind != ' ')
        last = j;
    size_t end = std::min(last + context + 1, edits.size());
    size_t removed = 0, added = 0;
    std::string body;
    for (size_t j = first; j < end; ++j) {
      removed += edits[j].kind != '+', added += edits[j].kind != '-';
      body += edits[j].kind;
      body += edits[j].kind == '+' ? b[edits[j].after] : a[edits[j].before];
      body += '\n';
    }
    text += fmt::format("@@ -{},{} +{},{} @@\n{}", edits[first].before + (removed > 0), removed,
                        edits[first].after + (added > 0), added, body);
    i = end - 1;
  }
  return text;
}

} // namespace lathe
