#include "runtime/chat/TextOperations.h"

#include "runtime/tokenizer/Utf8.h"

#include <algorithm>

namespace lathe::chat {

Text stripText(const Text &text, const std::string *given, bool left, bool right) {
  size_t begin = 0, end = text.size();
  std::string_view view = text.view();
  if (!given) {
    begin = left ? leadingSpace(view) : 0;
    end -= right && begin < end ? trailingSpace(view.substr(begin)) : 0;
    return text.slice(begin, end);
  }
  auto inSet = [&](size_t at, size_t length) { return given->find(view.substr(at, length)) != given->npos; };
  while (left && begin < end && inSet(begin, characterLength(view[begin])))
    begin += characterLength(view[begin]);
  while (right && begin < end) {
    size_t last = end - 1;
    while (last > begin && (static_cast<uint8_t>(view[last]) & 0xC0) == 0x80)
      --last;
    if (!inSet(last, end - last))
      break;
    end = last;
  }
  return text.slice(begin, end);
}

Text replaceText(const Text &text, std::string_view from, const Text &to, int64_t count) {
  Text out;
  size_t at = 0;
  std::string_view view = text.view();
  for (size_t limit = count < 0 ? SIZE_MAX : static_cast<size_t>(count); limit > 0; --limit) {
    size_t found = from.empty() ? at : view.find(from, at);
    if (found == view.npos)
      break;
    out.append(text.slice(at, found)).append(to);
    at = found + from.size();
    if (from.empty()) { // before each character and at the end
      if (at >= view.size())
        return out;
      size_t next = at + characterLength(view[at]);
      out.append(text.slice(at, next));
      at = next;
    }
  }
  return out.append(text.slice(at, view.size()));
}

/// Words between runs of whitespace; what follows the last split stays whole.
std::vector<Value> splitSpace(const Text &text, int64_t limit, bool fromRight) {
  std::vector<Value> parts;
  size_t begin = 0, end = text.size();
  std::string_view view = text.view();
  begin += leadingSpace(view);
  if (fromRight || limit < 0)
    end -= begin < end ? trailingSpace(view.substr(begin)) : 0;
  if (fromRight)
    begin = 0;
  auto spaceAt = [&](size_t at) {
    size_t next = at;
    return isSpace(nextCharacter(view, next));
  };
  if (!fromRight) {
    while (begin < end) {
      size_t stop = begin;
      if (limit >= 0 && static_cast<int64_t>(parts.size()) == limit)
        stop = end;
      while (stop < end && !spaceAt(stop))
        stop += characterLength(view[stop]);
      parts.push_back(text.slice(begin, stop));
      begin = stop + (stop < end ? leadingSpace(view.substr(stop, end - stop)) : 0);
    }
    return parts;
  }
  while (end > 0) {
    size_t start = end;
    auto previous = [&](size_t at) {
      do
        --at;
      while (at > 0 && (static_cast<uint8_t>(view[at]) & 0xC0) == 0x80);
      return at;
    };
    if (limit >= 0 && static_cast<int64_t>(parts.size()) == limit) {
      start = 0;
    } else {
      while (start > 0 && !spaceAt(previous(start)))
        start = previous(start);
    }
    if (start < end)
      parts.push_back(text.slice(start, end));
    end = start - trailingSpace(view.substr(0, start));
  }
  std::ranges::reverse(parts);
  return parts;
}

std::vector<Value> splitAt(const Text &text, std::string_view separator, int64_t limit, bool fromRight) {
  std::vector<Value> parts;
  std::string_view view = text.view();
  size_t begin = 0, end = view.size();
  while (limit < 0 || static_cast<int64_t>(parts.size()) < limit) {
    if (fromRight) {
      size_t found = end >= separator.size() ? view.rfind(separator, end - separator.size()) : view.npos;
      if (found == view.npos)
        break;
      parts.push_back(text.slice(found + separator.size(), end));
      end = found;
    } else {
      size_t found = view.find(separator, begin);
      if (found == view.npos)
        break;
      parts.push_back(text.slice(begin, found));
      begin = found + separator.size();
    }
  }
  parts.push_back(text.slice(begin, end));
  if (fromRight)
    std::ranges::reverse(parts);
  return parts;
}

std::vector<Value> linesOf(const Text &text, bool keepEnds) {
  std::vector<Value> lines;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    size_t end = at;
    char32_t c = nextCharacter(text.bytes, at);
    bool breaks = (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
    if (!breaks)
      continue;
    at += c == '\r' && at < text.size() && text.bytes[at] == '\n';
    lines.push_back(text.slice(begin, keepEnds ? at : end));
    begin = at;
  }
  if (begin < text.size())
    lines.push_back(text.slice(begin, text.size()));
  return lines;
}

std::string capitalCase(std::string_view text) {
  if (text.empty())
    return {};
  size_t at = 0;
  std::string first = titleCase(nextCharacter(text, at));
  return first + lowerCase(text.substr(at));
}

std::string wordTitleCase(std::string_view text) {
  std::string out;
  bool inWord = false;
  for (size_t at = 0; at < text.size();) {
    size_t begin = at;
    char32_t c = nextCharacter(text, at);
    std::string_view one = text.substr(begin, at - begin);
    out += inWord ? lowerCase(one) : titleCase(c);
    inWord = isUpper(c) || isLower(c);
  }
  return out;
}

std::string swappedCase(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    size_t begin = at;
    char32_t c = nextCharacter(text, at);
    std::string_view one = text.substr(begin, at - begin);
    out += isUpper(c) ? lowerCase(one) : upperCase(one);
  }
  return out;
}

} // namespace lathe::chat
