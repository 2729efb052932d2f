#include "runtime/chat/Run.h"

#include "runtime/tokenizer/Utf8.h"

#include <algorithm>
#include <cmath>

namespace lathe::chat {
namespace {

/// What both "%-8.3f" and "{:<8.3f}" say.
struct Spec {
  std::string fill = " ";
  char align = 0; ///< < > ^ = or none
  char sign = '-';
  bool alternate = false, thousands = false;
  int64_t width = 0, precision = -1;
  char type = 0;
};
constexpr int64_t kMaxWidth = 10'000;

Text pad(Text body, const Spec &spec, char defaultAlign) {
  auto count = static_cast<int64_t>(characterCount(body.view()));
  int64_t missing = spec.width - count;
  if (missing <= 0)
    return body;
  char align = spec.align ? spec.align : defaultAlign;
  int64_t left = align == '>' || align == '=' ? missing : align == '^' ? missing / 2 : 0;
  std::string before, after;
  for (int64_t i = 0; i < missing; ++i)
    (i < left ? before : after) += spec.fill;
  size_t head = 0; // '=' pads behind the sign and the base
  if (align == '=') {
    head = body.bytes.starts_with('-') || body.bytes.starts_with('+') || body.bytes.starts_with(' ');
    head += body.bytes.substr(head, 2) == "0x" || body.bytes.substr(head, 2) == "0X" ? 2 : 0;
  }
  Text out = body.slice(0, head);
  out.append(before).append(body.slice(head, body.size())).append(after);
  return out;
}

std::string withSign(std::string digits, bool negative, const Spec &spec) {
  return negative ? "-" + digits : spec.sign == '-' ? digits : spec.sign + digits;
}

void separateThousands(std::string &digits) {
  size_t end = std::min(digits.find_first_of(".e"), digits.size());
  for (size_t i = end; i > 3; i -= 3)
    digits.insert(i - 3, ",");
}

std::string integerText(int64_t value, const Spec &spec) {
  bool negative = value < 0;
  uint64_t magnitude = negative ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
  std::string digits = spec.type == 'x'   ? fmt::format("{:x}", magnitude)
                       : spec.type == 'X' ? fmt::format("{:X}", magnitude)
                       : spec.type == 'o' ? fmt::format("{:o}", magnitude)
                       : spec.type == 'b' ? fmt::format("{:b}", magnitude)
                                          : fmt::format("{}", magnitude);
  if (spec.thousands)
    separateThousands(digits);
  if (spec.alternate && spec.type && spec.type != 'd')
    digits = fmt::format("0{}{}", spec.type, digits);
  return withSign(digits, negative, spec);
}

std::string realFormat(double value, const Spec &spec) {
  int precision = static_cast<int>(spec.precision < 0 ? 6 : spec.precision);
  double magnitude = std::abs(value);
  std::string digits;
  switch (spec.type) {
  case 'e':
    digits = fmt::format("{:.{}e}", magnitude, precision);
    break;
  case 'E':
    digits = fmt::format("{:.{}E}", magnitude, precision);
    break;
  case 'g':
    digits = fmt::format("{:.{}g}", magnitude, std::max(precision, 1));
    break;
  case 'G':
    digits = fmt::format("{:.{}G}", magnitude, std::max(precision, 1));
    break;
  case '%':
    digits = fmt::format("{:.{}f}%", magnitude * 100, precision);
    break;
  default:
    digits = fmt::format("{:.{}f}", magnitude, precision);
  }
  if (spec.thousands)
    separateThousands(digits);
  return withSign(digits, std::signbit(value), spec);
}

int64_t number(std::string_view text, size_t &at) {
  int64_t value = 0;
  for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at)
    value = std::min<int64_t>(value * 10 + (text[at] - '0'), kMaxWidth + 1);
  return value;
}

bool fits(Run &run, const Spec &spec) {
  bool good = spec.width <= kMaxWidth && spec.precision <= 300;
  if (!good)
    run.fail(fmt::format("a format of more than {} characters or 300 digits", kMaxWidth));
  return good && run.charge(1 + static_cast<uint64_t>(spec.width) / 16);
}

/// The part of "{:…}" behind the colon: [[fill]align][sign][#][0][width][,][.precision][type].
std::optional<Spec> parseSpec(std::string_view text) {
  Spec spec;
  size_t at = 0;
  constexpr std::string_view aligns = "<>^=";
  size_t first = text.empty() ? 0 : characterLength(text[0]);
  if (first < text.size() && aligns.find(text[first]) != aligns.npos)
    spec.fill = text.substr(0, first), spec.align = text[first], at = first + 1;
  else if (!text.empty() && aligns.find(text[0]) != aligns.npos)
    spec.align = text[at++];
  auto take = [&](std::string_view any) { return at < text.size() && any.find(text[at]) != any.npos; };
  if (take("+- "))
    spec.sign = text[at++];
  if (take("#"))
    spec.alternate = true, ++at;
  if (take("0")) {
    ++at;
    if (!spec.align)
      spec.align = '=', spec.fill = "0";
  }
  spec.width = number(text, at);
  if (take(","))
    spec.thousands = true, ++at;
  if (take(".")) {
    size_t begin = ++at;
    spec.precision = number(text, at);
    if (at == begin)
      return std::nullopt;
  }
  if (take("sdfFeEgGxXob%"))
    spec.type = text[at++];
  if (at != text.size())
    return std::nullopt;
  return spec;
}

} // namespace

Value Run::formatPercent(const Text &format, const Value &arguments) {
  size_t given = 0;
  // What has items may stay over: they could have been asked for by their names.
  bool tuple = arguments.isTuple(),
       whole = arguments.isDict() || arguments.isUndefined() || (arguments.isSequence() && !tuple);
  auto nextArgument = [&]() -> Value {
    if (tuple ? given < arguments.sequence().items.size() : given == 0)
      return ++given, tuple ? arguments.sequence().items[given - 1] : arguments;
    return fail("not enough arguments for a format with '%'");
  };
  Text out;
  std::string_view text = format.view();
  for (size_t at = 0; at < text.size() && charge();) {
    size_t percent = std::min(text.find('%', at), text.size());
    out.append(format.slice(at, percent));
    at = percent + 1;
    if (percent == text.size())
      break;
    Value value;
    bool named = text.substr(at).starts_with('(');
    if (named) {
      size_t end = text.find(')', at);
      if (end == text.npos || !arguments.isDict())
        return fail("a format with '%(name)' needs a dict");
      const Value *found = arguments.dict().find(text.substr(at + 1, end - at - 1));
      if (!found)
        return fail(fmt::format("a format asks for {}, which is not given", quote(text.substr(at + 1, end - at - 1))));
      value = *found, at = end + 1, whole = true;
    }
    Spec spec;
    for (; at < text.size() && std::string_view("-+ #0").find(text[at]) != std::string_view::npos; ++at) {
      spec.align = text[at] == '-' ? '<' : spec.align;
      spec.sign = text[at] == '+' || (text[at] == ' ' && spec.sign == '-') ? text[at] : spec.sign;
      spec.alternate = spec.alternate || text[at] == '#';
      if (text[at] == '0' && spec.align != '<')
        spec.align = '=', spec.fill = "0";
    }
    if (spec.align == '<')
      spec.fill = " ";
    spec.width = number(text, at);
    if (at < text.size() && text[at] == '.')
      spec.precision = number(text, ++at);
    if (at >= text.size())
      return fail("a format ends within a '%'");
    char type = text[at++];
    if (!fits(*this, spec))
      return {};
    if (type == '%') {
      out.append("%");
      continue;
    }
    if (std::string_view("srdiufFeEgGxXo").find(type) == std::string_view::npos)
      return fail(fmt::format("the format '%{}' is not supported", type));
    if (!named)
      value = nextArgument();
    if (failed())
      return {};
    if (type == 's' || type == 'r') {
      Text body = type == 's' ? str(value) : repr(value);
      std::vector<size_t> offsets = characterOffsets(body.view());
      if (spec.precision >= 0 && spec.precision < static_cast<int64_t>(offsets.size()) - 1)
        body = body.slice(0, offsets[static_cast<size_t>(spec.precision)]);
      spec.fill = " ";
      out.append(pad(std::move(body), spec, '>'));
      continue;
    }
    if (!value.isNumber())
      return fail(fmt::format("the format '%{}' needs a number, found {}", type, value.typeName()));
    bool integral = std::string_view("diuxXo").find(type) != std::string_view::npos;
    if (integral && value.isReal() &&
        (std::string_view("xXo").find(type) != std::string_view::npos || std::abs(value.number()) > 9e18 ||
         std::isnan(value.number())))
      return fail(fmt::format("the format '%{}' needs an int", type));
    spec.type = type == 'i' || type == 'u' ? 'd' : type;
    int64_t integer = integral ? (value.isReal() ? static_cast<int64_t>(value.number()) : value.integer()) : 0;
    out.append(pad(Text(integral ? integerText(integer, spec) : realFormat(value.number(), spec)), spec, '>'));
  }
  if (!whole && (tuple ? given < arguments.sequence().items.size() : given == 0))
    return fail("not all arguments of a format with '%' are used");
  return out;
}

Value Run::formatBraces(const Text &format, const Arguments &arguments) {
  Text out;
  std::string_view text = format.view();
  size_t automatic = 0;
  for (size_t at = 0; at < text.size() && charge();) {
    size_t brace = std::min(text.find_first_of("{}", at), text.size());
    out.append(format.slice(at, brace));
    at = brace + 1;
    if (brace == text.size())
      break;
    if (at < text.size() && text[at] == text[brace]) {
      out.append(format.slice(brace, at++));
      continue;
    }
    size_t end = text.find('}', at);
    if (text[brace] == '}' || end == text.npos)
      return fail("a single brace in a format");
    std::string_view field = text.substr(at, end - at);
    at = end + 1;
    std::string_view specText = field.substr(std::min(field.find(':'), field.size()));
    std::string_view key = field.substr(0, field.size() - specText.size());
    if (field.find_first_of("{[.!") != field.npos && key.find_first_of("{[.!") != key.npos)
      return fail(fmt::format("the format field {} is not supported: expected a name or a number", quote(field)));
    const Value *value = nullptr;
    if (key.empty() || key.find_first_not_of("0123456789") == key.npos) {
      size_t position = 0;
      size_t index = key.empty() ? automatic++ : static_cast<size_t>(number(key, position));
      value = index < arguments.values.size() ? &arguments.values[index] : nullptr;
    } else {
      for (const auto &[name, named] : arguments.named)
        value = name == key ? &named : value;
    }
    if (!value)
      return fail(fmt::format("a format asks for {}, which is not given", quote(field)));
    auto spec = parseSpec(specText.substr(!specText.empty()));
    if (!spec)
      return fail(fmt::format("the format {} is not supported", quote(specText)));
    if (!fits(*this, *spec))
      return {};
    if (specText.size() <= 1) {
      out.append(str(*value));
      continue;
    }
    bool forInteger = std::string_view("dxXob").find(spec->type) != std::string_view::npos;
    if (value->isText() && (!spec->type || spec->type == 's')) {
      Text body = value->text();
      std::vector<size_t> offsets = characterOffsets(body.view());
      if (spec->precision >= 0 && spec->precision < static_cast<int64_t>(offsets.size()) - 1)
        body = body.slice(0, offsets[static_cast<size_t>(spec->precision)]);
      if (spec->sign != '-' || spec->align == '=')
        return fail("a format with a sign needs a number");
      out.append(pad(std::move(body), *spec, '<'));
    } else if (value->isInteger() && (!spec->type || forInteger) && spec->precision < 0) {
      out.append(pad(Text(integerText(value->integer(), *spec)), *spec, '>'));
    } else if (value->isNumber() && !forInteger && spec->type != 's' && (spec->type || value->isReal())) {
      if (!spec->type && spec->precision < 0) {
        std::string digits = realText(std::abs(value->number()));
        out.append(pad(Text(withSign(digits, std::signbit(value->number()), *spec)), *spec, '>'));
      } else if (!spec->type) {
        return fail(fmt::format("the format {} is not supported: say its type, as in ':.2f'", quote(specText)));
      } else {
        out.append(pad(Text(realFormat(value->number(), *spec)), *spec, '>'));
      }
    } else {
      return fail(fmt::format("the format {} is not for a {}", quote(specText), value->typeName()));
    }
  }
  return out;
}

} // namespace lathe::chat
