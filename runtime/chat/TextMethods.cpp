//===- TextMethods.cpp - the methods of str ---------------------------------===//
#include "runtime/chat/Run.h"
#include "runtime/chat/TextOperations.h"

#include "runtime/tokenizer/Utf8.h"

#include <algorithm>

namespace lathe::chat {

namespace {

using Values = std::vector<Value>;

Value split(Run &run, const Value &self, Arguments &arguments, bool fromRight) {
  Bound bound(run, "split", {"sep", "maxsplit"}, 0, arguments);
  if (!bound)
    return {};
  int64_t limit = bound.integer(1, -1);
  Text separator = bound.text(0, "");
  bool bySpace = !bound.has(0) || bound[0].isNone();
  if (!bySpace && separator.size() == 0)
    return run.fail("split: the separator is empty");
  if (!run.charge(1 + self.text().size()))
    return {};
  return Value::list(bySpace ? splitSpace(self.text(), limit, fromRight)
                             : splitAt(self.text(), separator.view(), limit, fromRight));
}

Value splitLines(Run &run, const Value &self, Arguments &arguments) {
  Bound bound(run, "splitlines", {"keepends"}, 0, arguments);
  if (!bound || !run.charge(1 + self.text().size()))
    return {};
  return Value::list(linesOf(self.text(), bound.flag(0, false)));
}

template <bool left, bool right> Value strip(Run &run, const Value &self, Arguments &arguments) {
  Bound bound(run, "strip", {"chars"}, 0, arguments);
  if (!bound || !run.charge(self.weight()))
    return {};
  Text characters = bound.text(0, "");
  bool all = !bound.has(0) || bound[0].isNone();
  return stripText(self.text(), all ? nullptr : &characters.bytes, left, right);
}

/// The part of a str that `start` and `end`, which count characters, select; nothing where start lies behind the end.
struct Part {
  size_t begin = 0, end = 0, firstCharacter = 0;
};
std::optional<Part> part(Run &run, Bound &bound, const Text &text, size_t startIndex) {
  run.charge(1 + text.size() / 16);
  std::vector<size_t> offsets;
  auto count = static_cast<int64_t>(text.size());
  bool limited = (bound.has(startIndex) && !bound[startIndex].isNone()) ||
                 (bound.has(startIndex + 1) && !bound[startIndex + 1].isNone());
  if (!limited)
    return Part{0, text.size(), 0};
  offsets = characterOffsets(text.view());
  count = static_cast<int64_t>(offsets.size()) - 1;
  auto place = [&](size_t index, int64_t otherwise) {
    int64_t position = bound.has(index) && !bound[index].isNone() ? bound.integer(index, otherwise) : otherwise;
    return position < 0 ? std::max<int64_t>(position + count, 0) : position;
  };
  int64_t begin = place(startIndex, 0), end = std::min(place(startIndex + 1, count), count);
  if (begin > end)
    return std::nullopt;
  return Part{offsets[static_cast<size_t>(begin)], offsets[static_cast<size_t>(end)], static_cast<size_t>(begin)};
}

template <bool atEnd> Value startsOrEnds(Run &run, const Value &self, Arguments &arguments) {
  Bound bound(run, atEnd ? "endswith" : "startswith", {"prefix", "start", "end"}, 1, arguments);
  if (!bound)
    return {};
  Values wanted{bound[0]};
  if (bound[0].isTuple())
    wanted = bound[0].sequence().items;
  auto within = part(run, bound, self.text(), 1);
  bool found = false;
  for (const Value &each : wanted) {
    if (!each.isText())
      return run.fail(fmt::format("{}: expected a str, found {}", atEnd ? "endswith" : "startswith", each.typeName()));
    if (within && run.charge()) {
      std::string_view view = self.view().substr(within->begin, within->end - within->begin);
      found = found || (atEnd ? view.ends_with(each.view()) : view.starts_with(each.view()));
    }
  }
  return found;
}

template <bool last, bool mustFind> Value find(Run &run, const Value &self, Arguments &arguments) {
  Bound bound(run, "find", {"sub", "start", "end"}, 1, arguments);
  if (!bound)
    return {};
  Text wanted = bound.text(0, "");
  auto within = part(run, bound, self.text(), 1);
  size_t found = std::string_view::npos;
  if (within) {
    std::string_view view = self.view().substr(within->begin, within->end - within->begin);
    found = last ? view.rfind(wanted.view()) : view.find(wanted.view());
    if (found != view.npos)
      return static_cast<int64_t>(within->firstCharacter + characterCount(view.substr(0, found)));
  }
  return mustFind ? run.fail("index: the text is not found") : Value(int64_t(-1));
}

Value count(Run &run, const Value &self, Arguments &arguments) {
  Bound bound(run, "count", {"sub", "start", "end"}, 1, arguments);
  if (!bound)
    return {};
  Text wanted = bound.text(0, "");
  auto within = part(run, bound, self.text(), 1);
  if (!within)
    return int64_t(0);
  std::string_view view = self.view().substr(within->begin, within->end - within->begin);
  if (wanted.size() == 0)
    return static_cast<int64_t>(characterCount(view) + 1);
  int64_t number = 0;
  for (size_t at = view.find(wanted.view()); at != view.npos; at = view.find(wanted.view(), at + wanted.size()))
    ++number;
  return number;
}

Value replace(Run &run, const Value &self, Arguments &arguments) {
  Bound bound(run, "replace", {"old", "new", "count"}, 2, arguments);
  if (!bound)
    return {};
  Text from = bound.text(0, ""), to = bound.text(1, "");
  int64_t limit = bound.integer(2, -1);
  uint64_t times = from.size() ? self.text().size() / from.size() : self.text().size() + 1;
  if (!bound || !run.charge(1 + self.text().size() + times * to.size() / 16))
    return {};
  return replaceText(self.text(), from.view(), to, limit);
}

/// A case mapping; characters of ASCII keep their places, so ranges of input do, too.
Value mapCase(Run &run, const Value &self, Arguments &arguments, std::string (*map)(std::string_view)) {
  Bound bound(run, "case", {}, 0, arguments);
  if (!bound || !run.charge(1 + self.text().size()))
    return {};
  std::string mapped = map(self.view());
  bool inPlace = std::ranges::all_of(self.view(), [](char c) { return static_cast<uint8_t>(c) < 0x80; });
  if (!inPlace)
    return Text::made(std::move(mapped), self.hasInput());
  Text text = self.text();
  text.bytes = std::move(mapped);
  return text;
}

template <std::string (*map)(std::string_view)> Value caseMethod(Run &run, const Value &self, Arguments &arguments) {
  return mapCase(run, self, arguments, map);
}

template <bool (*is)(char32_t)> Value allAre(Run &run, const Value &self, Arguments &arguments) {
  Bound bound(run, "is", {}, 0, arguments);
  run.charge(1 + self.text().size());
  return self.text().size() > 0 && std::ranges::all_of(characters(self.view()), is);
}

template <bool upper> Value hasCase(Run &run, const Value &self, Arguments &arguments) {
  Bound bound(run, "is", {}, 0, arguments);
  run.charge(1 + self.text().size());
  bool some = false;
  for (char32_t c : characters(self.view())) {
    if (upper ? isLower(c) : isUpper(c))
      return false;
    some = some || (upper ? isUpper(c) : isLower(c));
  }
  return some;
}

bool isAlphanumeric(char32_t c) { return isWord(c) && c != '_'; }

Value joinMethod(Run &run, const Value &self, Arguments &arguments) {
  Bound bound(run, "join", {"iterable"}, 1, arguments);
  if (!bound)
    return {};
  auto items = run.iterate(bound[0]);
  Text out;
  for (size_t i = 0; i < items.size(); ++i) {
    if (!items[i].isText())
      return run.fail(fmt::format("join: item {}: expected a str, found {}", i, items[i].typeName()));
    if (!run.charge(self.weight() + items[i].weight()))
      return {};
    if (i)
      out.append(self.text());
    out.append(items[i].text());
  }
  return out;
}

template <bool prefix> Value removeAffix(Run &run, const Value &self, Arguments &arguments) {
  Bound bound(run, "removeprefix", {"affix"}, 1, arguments);
  if (!bound)
    return {};
  Text affix = bound.text(0, "");
  const Text &text = self.text();
  if (!run.charge(self.weight()))
    return {};
  if (prefix && text.view().starts_with(affix.view()))
    return text.slice(affix.size(), text.size());
  if (!prefix && text.view().ends_with(affix.view()))
    return text.slice(0, text.size() - affix.size());
  return self;
}

template <bool last> Value partition(Run &run, const Value &self, Arguments &arguments) {
  Bound bound(run, "partition", {"sep"}, 1, arguments);
  if (!bound)
    return {};
  Text separator = bound.text(0, "");
  if (separator.size() == 0)
    return run.fail("partition: the separator is empty");
  const Text &text = self.text();
  size_t found = last ? text.view().rfind(separator.view()) : text.view().find(separator.view());
  if (!run.charge(self.weight()))
    return {};
  if (found == std::string_view::npos)
    return last ? Value::tuple({Text(), Text(), self}) : Value::tuple({self, Text(), Text()});
  size_t behind = found + separator.size();
  return Value::tuple({text.slice(0, found), text.slice(found, behind), text.slice(behind, text.size())});
}

/// ljust, rjust, center: `side` is where the text goes.
template <int side> Value justify(Run &run, const Value &self, Arguments &arguments) {
  Bound bound(run, "justify", {"width", "fillchar"}, 1, arguments);
  if (!bound)
    return {};
  Text fill = bound.text(1, " ");
  if (characterCount(fill.view()) != 1)
    return run.fail("expected one character to fill with");
  int64_t width = bound.integer(0, 0), length = static_cast<int64_t>(characterCount(self.view())),
          missing = width - length;
  if (!bound || missing <= 0)
    return self;
  if (!run.charge(1 + static_cast<uint64_t>(missing)))
    return {};
  int64_t left = side < 0 ? 0 : side > 0 ? missing : missing / 2 + (missing & width & 1);
  Text out;
  for (int64_t i = 0; i < left; ++i)
    out.append(fill);
  out.append(self.text());
  for (int64_t i = left; i < missing; ++i)
    out.append(fill);
  return out;
}

Value zfill(Run &run, const Value &self, Arguments &arguments) {
  Bound bound(run, "zfill", {"width"}, 1, arguments);
  if (!bound)
    return {};
  const Text &text = self.text();
  int64_t missing = bound.integer(0, 0) - static_cast<int64_t>(characterCount(text.view()));
  if (!bound || missing <= 0 || !run.charge(1 + static_cast<uint64_t>(missing)))
    return self;
  size_t sign = text.bytes.starts_with('-') || text.bytes.starts_with('+');
  Text out = text.slice(0, sign);
  return out.append(std::string(static_cast<size_t>(missing), '0')).append(text.slice(sign, text.size()));
}

constexpr std::pair<std::string_view, Function::Body> kMethods[] = {
    {"capitalize", caseMethod<capitalCase>},
    {"center", justify<0>},
    {"count", count},
    {"endswith", startsOrEnds<true>},
    {"find", find<false, false>},
    {"index", find<false, true>},
    {"isalnum", allAre<isAlphanumeric>},
    {"isalpha", allAre<isAlphabetic>},
    {"isdecimal", allAre<isDecimalDigit>},
    {"isdigit", allAre<isDecimalDigit>},
    {"islower", hasCase<false>},
    {"isnumeric", allAre<isDecimalDigit>},
    {"isspace", allAre<isSpace>},
    {"isupper", hasCase<true>},
    {"join", joinMethod},
    {"ljust", justify<-1>},
    {"lower", caseMethod<lowerCase>},
    {"lstrip", strip<true, false>},
    {"partition", partition<false>},
    {"removeprefix", removeAffix<true>},
    {"removesuffix", removeAffix<false>},
    {"replace", replace},
    {"rfind", find<true, false>},
    {"rindex", find<true, true>},
    {"rjust", justify<1>},
    {"rpartition", partition<true>},
    {"rstrip", strip<false, true>},
    {"split", [](Run &run, const Value &self, Arguments &arguments) { return split(run, self, arguments, false); }},
    {"rsplit", [](Run &run, const Value &self, Arguments &arguments) { return split(run, self, arguments, true); }},
    {"splitlines", splitLines},
    {"startswith", startsOrEnds<false>},
    {"strip", strip<true, true>},
    {"swapcase", caseMethod<swappedCase>},
    {"title", caseMethod<wordTitleCase>},
    {"upper", caseMethod<upperCase>},
    {"zfill", zfill},
    {"format",
     [](Run &run, const Value &self, Arguments &arguments) { return run.formatBraces(self.text(), arguments); }},
};

Value unsupported(Run &run, const Value &, Arguments &) { return run.fail("this method of str is not supported"); }

} // namespace

std::optional<Value> findTextMethod(const Value &self, std::string_view name) {
  for (const auto &[known, body] : kMethods)
    if (known == name)
      return Value(std::make_shared<Function>(std::string(name), body, self));
  for (std::string_view known : {"casefold", "encode", "expandtabs", "format_map", "isascii", "isidentifier",
                                 "isprintable", "istitle", "maketrans", "translate"})
    if (known == name)
      return Value(std::make_shared<Function>(std::string(name), unsupported, self));
  return std::nullopt;
}

} // namespace lathe::chat
