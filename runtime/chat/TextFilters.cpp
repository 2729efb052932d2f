#include "runtime/chat/Run.h"
#include "runtime/chat/TextOperations.h"

#include "runtime/tokenizer/Utf8.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace lathe::chat {
namespace {

/// A str method as a filter of any value's text.
Value viaMethod(Run &run, Arguments &arguments, std::string_view name) {
  Value text(run.str(arguments.values[0]));
  Arguments rest;
  rest.values.assign(arguments.values.begin() + 1, arguments.values.end());
  rest.named = arguments.named;
  auto method = findTextMethod(text, name);
  return run.failed() ? Value() : run.call(*method, rest);
}

Value upper(Run &run, Arguments &arguments) { return viaMethod(run, arguments, "upper"); }
Value lower(Run &run, Arguments &arguments) { return viaMethod(run, arguments, "lower"); }
Value capitalize(Run &run, Arguments &arguments) { return viaMethod(run, arguments, "capitalize"); }

Value trim(Run &run, Arguments &arguments) {
  Bound bound(run, "trim", {"value", "chars"}, 1, arguments);
  if (!bound)
    return {};
  Text text = run.str(bound[0]), characters = bound.text(1, "");
  bool all = !bound.has(1) || bound[1].isNone();
  run.charge(1 + text.size() / 16);
  return stripText(text, all ? nullptr : &characters.bytes, true, true);
}

/// Words begin behind whitespace, '-' and opening brackets, which is not what str.title() does.
Value title(Run &run, Arguments &arguments) {
  Bound bound(run, "title", {"s"}, 1, arguments);
  if (!bound)
    return {};
  Text text = run.str(bound[0]);
  if (!run.charge(1 + text.size()))
    return {};
  std::string out;
  bool inWord = false;
  for (size_t at = 0; at < text.size();) {
    size_t begin = at;
    char32_t c = nextCharacter(text.bytes, at);
    std::string_view one = text.view().substr(begin, at - begin);
    bool separates = isSpace(c) || std::u32string_view(U"-({[<").find(c) != std::u32string_view::npos;
    out += inWord ? lowerCase(one) : upperCase(one);
    inWord = !separates;
  }
  return Text::made(std::move(out), text.hasInput());
}

Value replace(Run &run, Arguments &arguments) {
  Bound bound(run, "replace", {"s", "old", "new", "count"}, 3, arguments);
  if (!bound)
    return {};
  Text text = run.str(bound[0]), from = run.str(bound[1]), to = run.str(bound[2]);
  int64_t limit = bound.has(3) && !bound[3].isNone() ? bound.integer(3, -1) : -1;
  uint64_t times = from.size() ? text.size() / from.size() : text.size() + 1;
  if (!bound || !run.charge(1 + text.size() + times * to.size() / 16))
    return {};
  return replaceText(text, from.view(), to, limit);
}

Value string(Run &run, Arguments &arguments) {
  Bound bound(run, "string", {"value"}, 1, arguments);
  return bound ? Value(run.str(bound[0])) : Value();
}

Value escape(Run &run, Arguments &arguments) {
  Bound bound(run, "escape", {"value"}, 1, arguments);
  if (!bound)
    return {};
  Text text = run.str(bound[0]);
  run.charge(1 + text.size());
  constexpr std::pair<std::string_view, std::string_view> entities[] = {
      {"&", "&amp;"}, {">", "&gt;"}, {"<", "&lt;"}, {"'", "&#39;"}, {"\"", "&#34;"}};
  for (auto [from, to] : entities)
    text = replaceText(text, from, Text(std::string(to)), -1);
  return text;
}

Value toJson(Run &run, Arguments &arguments) {
  Bound bound(run, "tojson", {"x", "ensure_ascii", "indent", "separators", "sort_keys"}, 1, arguments);
  if (!bound)
    return {};
  std::optional<std::string> indent;
  if (bound.has(2) && bound[2].isText())
    indent = bound[2].view();
  else if (bound.has(2) && !bound[2].isNone())
    indent = std::string(static_cast<size_t>(std::clamp<int64_t>(bound.integer(2, 0), 0, 1000)), ' ');
  std::string item = indent ? "," : ", ", key = ": ";
  if (bound.has(3) && !bound[3].isNone()) {
    bool pair = bound[3].isSequence() && bound[3].sequence().indexed() && bound[3].sequence().items.size() == 2 &&
                bound[3].sequence().items[0].isText() && bound[3].sequence().items[1].isText();
    if (!pair)
      return run.fail("tojson: separators: expected two texts");
    item = bound[3].sequence().items[0].view();
    key = bound[3].sequence().items[1].view();
  }
  if (!bound)
    return {};
  return run.json(bound[0], indent ? &*indent : nullptr, item, key, bound.flag(4, false), bound.flag(1, false));
}

Value indent(Run &run, Arguments &arguments) {
  Bound bound(run, "indent", {"s", "width", "first", "blank"}, 1, arguments);
  if (!bound)
    return {};
  Text text = bound.text(0, ""), space;
  if (!bound || bound[0].isNone())
    return run.fail(fmt::format("indent: expected a str, found {}", bound[0].typeName()));
  if (bound.has(1) && bound[1].isText())
    space = bound[1].text();
  else
    space = Text(std::string(static_cast<size_t>(std::clamp<int64_t>(bound.integer(1, 4), 0, 1000)), ' '));
  bool first = bound.flag(2, false), blank = bound.flag(3, false);
  Arguments lines;
  Value split = run.call(*findTextMethod(Value(text.append("\n")), "splitlines"), lines);
  if (run.failed() || !bound)
    return {};
  Text out;
  const auto &items = split.sequence().items;
  for (size_t i = 0; i < items.size() && run.charge(1 + space.size() / 16); ++i) {
    const Text &line = items[i].text();
    if (i)
      out.append("\n");
    if (i ? blank || line.size() > 0 : first)
      out.append(space);
    out.append(line);
  }
  return out;
}

Value format(Run &run, Arguments &arguments) {
  Text text = run.str(arguments.values[0]);
  if (arguments.values.size() > 1 && !arguments.named.empty())
    return run.fail("format: expected either positional arguments or keywords");
  if (arguments.named.empty())
    return run.formatPercent(text, Value::tuple({arguments.values.begin() + 1, arguments.values.end()}));
  auto dict = std::make_shared<Dict>();
  for (const auto &[name, value] : arguments.named)
    dict->set(name, value);
  return run.formatPercent(text, Value(std::shared_ptr<const Dict>(dict)));
}

Value wordCount(Run &run, Arguments &arguments) {
  Bound bound(run, "wordcount", {"s"}, 1, arguments);
  if (!bound)
    return {};
  Text text = run.str(bound[0]);
  run.charge(1 + text.size());
  int64_t count = 0;
  bool inWord = false;
  for (char32_t c : characters(text.view())) {
    count += isWord(c) && !inWord;
    inWord = isWord(c);
  }
  return count;
}

Value center(Run &run, Arguments &arguments) {
  Bound bound(run, "center", {"value", "width"}, 1, arguments);
  if (!bound)
    return {};
  Arguments width{{Value(bound.integer(1, 80))}, {}};
  return run.call(*findTextMethod(Value(run.str(bound[0])), "center"), width);
}

Value truncate(Run &run, Arguments &arguments) {
  Bound bound(run, "truncate", {"s", "length", "killwords", "end", "leeway"}, 1, arguments);
  if (!bound)
    return {};
  if (auto items = bound[0].isText() ? std::nullopt : run.length(bound[0]); items && *items <= bound.integer(1, 255))
    return bound[0];
  if (!bound[0].isText())
    return run.fail(fmt::format("truncate: expected a str, found {}", bound[0].typeName()));
  Text text = bound[0].text(), end = bound.text(3, "...");
  int64_t length = bound.integer(1, 255), leeway = bound.has(4) && !bound[4].isNone() ? bound.integer(4, 5) : 5;
  auto endLength = static_cast<int64_t>(characterCount(end.view()));
  if (bound && (length < endLength || leeway < 0))
    return run.fail(fmt::format("truncate: expected a length of at least {}, found {}", endLength, length));
  std::vector<size_t> offsets = characterOffsets(text.view());
  if (!bound || !run.charge(1 + text.size()) || static_cast<int64_t>(offsets.size()) - 1 <= length + leeway)
    return text;
  Text cut = text.slice(0, offsets[static_cast<size_t>(length - endLength)]);
  if (!bound.flag(2, false))
    if (size_t space = cut.bytes.rfind(' '); space != std::string::npos)
      cut = cut.slice(0, space);
  return cut.append(end);
}

/// What int("…") and float("…") of Python read: whitespace around, underscores between digits.
std::optional<std::string> numberText(std::string_view text) {
  text.remove_prefix(leadingSpace(text));
  text.remove_suffix(trailingSpace(text));
  std::string digits;
  for (size_t i = 0; i < text.size(); ++i) {
    auto digit = [&](size_t at) { return at < text.size() && std::isxdigit(static_cast<unsigned char>(text[at])); };
    if (text[i] != '_')
      digits += text[i];
    else if (i == 0 || !digit(i - 1) || !digit(i + 1))
      return std::nullopt;
  }
  if (digits.starts_with('+'))
    digits.erase(0, 1);
  if (digits.empty() || digits.starts_with("+") || digits.starts_with("--"))
    return std::nullopt;
  return digits;
}

std::optional<double> parseReal(std::string_view text) {
  auto digits = numberText(text);
  if (!digits)
    return std::nullopt;
  double real = 0;
  auto [stop, code] = std::from_chars(digits->data(), digits->data() + digits->size(), real);
  if (stop != digits->data() + digits->size() || digits->find('(') != digits->npos)
    return std::nullopt;
  if (code == std::errc::result_out_of_range) // as Python: too large is infinite, too small is 0
    real = std::abs(real) > 1 || digits->find("e-") == digits->npos ? INFINITY : 0.0;
  else if (code != std::errc())
    return std::nullopt;
  return real;
}

Value toInt(Run &run, Arguments &arguments) {
  Bound bound(run, "int", {"value", "default", "base"}, 1, arguments);
  if (!bound)
    return {};
  const Value &value = bound[0];
  int64_t base = bound.integer(2, 10);
  if (!bound || base < 2 || base > 36)
    return run.fail("int: expected a base from 2 to 36");
  if (value.isUndefined())
    return run.fail(value.whyUndefined());
  if (value.isInteger())
    return value.integer();
  std::optional<double> real;
  if (value.isText()) {
    if (auto digits = numberText(value.view())) {
      std::string_view text = *digits;
      bool negative = text.starts_with('-');
      text.remove_prefix(negative);
      char letter = base == 16 ? 'x' : base == 8 ? 'o' : base == 2 ? 'b' : 0;
      if (letter && text.size() > 2 && text[0] == '0' && (text[1] | 32) == letter)
        text.remove_prefix(2);
      uint64_t magnitude = 0;
      auto [stop, code] = std::from_chars(text.data(), text.data() + text.size(), magnitude, static_cast<int>(base));
      if (stop == text.data() + text.size() && !text.empty()) {
        if (code != std::errc() || magnitude > INT64_MAX)
          return run.fail(fmt::format("int: {} does not fit 64 bits", quote(value.view())));
        return negative ? -static_cast<int64_t>(magnitude) : static_cast<int64_t>(magnitude);
      }
    }
    real = parseReal(value.view());
  } else if (value.isReal()) {
    real = value.number();
  }
  if (!real || !std::isfinite(*real))
    return bound.value(1, int64_t(0));
  if (std::abs(*real) >= 9223372036854775807.0)
    return run.fail("int: the number does not fit 64 bits");
  return static_cast<int64_t>(*real);
}

Value toReal(Run &run, Arguments &arguments) {
  Bound bound(run, "float", {"value", "default"}, 1, arguments);
  if (!bound)
    return {};
  const Value &value = bound[0];
  if (value.isUndefined())
    return run.fail(value.whyUndefined());
  if (value.isNumber())
    return value.number();
  auto real = value.isText() ? parseReal(value.view()) : std::nullopt;
  return real ? Value(*real) : bound.value(1, 0.0);
}

Value absolute(Run &run, Arguments &arguments) {
  Bound bound(run, "abs", {"x"}, 1, arguments);
  if (!bound)
    return {};
  if (bound[0].isReal())
    return std::abs(bound[0].number());
  if (!bound[0].isInteger() || bound[0].integer() == INT64_MIN)
    return run.fail(fmt::format("abs: expected a number, found {}", bound[0].typeName()));
  return std::abs(bound[0].integer());
}

Value round(Run &run, Arguments &arguments) {
  Bound bound(run, "round", {"value", "precision", "method"}, 1, arguments);
  if (!bound)
    return {};
  int64_t precision = bound.integer(1, 0);
  Text method = bound.text(2, "common");
  if (!bound || !bound[0].isNumber())
    return run.fail(fmt::format("round: expected a number, found {}", bound[0].typeName()));
  if (precision < 0 || precision > 300)
    return run.fail("round: expected a precision from 0 to 300");
  double value = bound[0].number();
  if (method.bytes == "common") {
    if (bound[0].isInteger())
      return bound[0].integer();
    if (!std::isfinite(value))
      return value;
    // The decimal text is rounded correctly, halves of the exact value to even, which is what Python's round() gives.
    return std::strtod(fmt::format("{:.{}f}", value, precision).c_str(), nullptr);
  }
  if (method.bytes != "ceil" && method.bytes != "floor")
    return run.fail("round: expected the method common, ceil or floor");
  double scale = std::pow(10.0, static_cast<double>(precision)), scaled = value * scale;
  if (!std::isfinite(scaled))
    return run.fail("round: the number is too large");
  return (method.bytes == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale;
}

constexpr std::pair<std::string_view, Filter> kFilters[] = {
    {"abs", absolute},       {"capitalize", capitalize}, {"center", center},
    {"e", escape},           {"escape", escape},         {"float", toReal},
    {"forceescape", escape}, {"format", format},         {"indent", indent},
    {"int", toInt},          {"lower", lower},           {"replace", replace},
    {"round", round},        {"safe", string},           {"string", string},
    {"title", title},        {"tojson", toJson},         {"trim", trim},
    {"truncate", truncate},  {"upper", upper},           {"wordcount", wordCount},
};

} // namespace

Filter findTextFilter(std::string_view name) {
  for (const auto &[known, filter] : kFilters)
    if (known == name)
      return filter;
  return nullptr;
}

} // namespace lathe::chat
