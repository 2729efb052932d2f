#include "runtime/chat/Run.h"

#include "runtime/chat/Lexer.h"
#include "runtime/tokenizer/Utf8.h"

#include <algorithm>

namespace lathe::chat {

Value Run::fail(std::string message) {
  if (!error)
    error = Error{ExitCode::badInput, fmt::format("{}: {}", placeInSource(source, at, name), message)};
  return {};
}

bool Run::charge(uint64_t steps) {
  if (error)
    return false;
  used += std::min(steps, limits.steps + 1);
  if (used > limits.steps)
    fail(fmt::format("expected at most {} steps of evaluation", limits.steps));
  return !error;
}

bool Run::accept(const Value &value) {
  if (value.depth() > kMaxValueDepth)
    fail(fmt::format("a value nested deeper than {} levels", kMaxValueDepth));
  else if (value.weight() > kMaxValueWeight)
    fail(fmt::format("a value of more than {} items", kMaxValueWeight));
  return !error;
}

Text Run::str(const Value &value) {
  if (value.isText())
    return value.text();
  return value.isUndefined() ? Text() : repr(value);
}

Text Run::repr(const Value &value) {
  Text out;
  if (charge(value.weight()))
    writeRepr(out, value);
  charge(out.size() / 16);
  return out;
}

namespace {

/// Python's repr of a str.
std::string quoted(std::string_view text) {
  char quote = text.find('\'') != text.npos && text.find('"') == text.npos ? '"' : '\'';
  std::string out(1, quote);
  for (size_t position = 0; position < text.size();) {
    size_t begin = position;
    char32_t c = nextCharacter(text, position);
    if (c == static_cast<char32_t>(quote) || c == '\\')
      out += fmt::format("\\{}", static_cast<char>(c));
    else if (c == '\n' || c == '\r' || c == '\t')
      out += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
    else if (isPrintable(c))
      out += text.substr(begin, position - begin);
    else
      out += c < 0x100     ? fmt::format("\\x{:02x}", static_cast<uint32_t>(c))
             : c < 0x10000 ? fmt::format("\\u{:04x}", static_cast<uint32_t>(c))
                           : fmt::format("\\U{:08x}", static_cast<uint32_t>(c));
  }
  return out + quote;
}

struct Brackets {
  const char *open, *close;
};
constexpr Brackets kBrackets[] = {
    {"[", "]"}, {"(", ")"}, {"range(", ")"}, {"dict_keys([", "])"}, {"dict_values([", "])"}, {"dict_items([", "])"}};

} // namespace

void Run::writeRepr(Text &out, const Value &value) {
  if (value.isText()) {
    out.append(Text::made(quoted(value.view()), value.hasInput()));
  } else if (value.isNone()) {
    out.append("None");
  } else if (value.isUndefined()) {
    out.append("Undefined");
  } else if (value.isBoolean()) {
    out.append(value.truthy() ? "True" : "False");
  } else if (value.isInteger()) {
    out.append(fmt::format("{}", value.integer()));
  } else if (value.isReal()) {
    out.append(realText(value.number()));
  } else if (value.isDict()) {
    out.append("{");
    const auto &entries = value.dict().entries;
    for (size_t i = 0; i < entries.size(); ++i) {
      out.append(i ? ", " : "");
      writeRepr(out, entries[i].first);
      out.append(": ");
      writeRepr(out, entries[i].second);
    }
    out.append("}");
  } else if (value.isSequence() && value.sequence().form == Sequence::Form::range) {
    const Sequence &range = value.sequence();
    out.append(fmt::format("range({}, {}", range.begin, range.end));
    out.append(range.step == 1 ? ")" : fmt::format(", {})", range.step));
  } else if (value.isSequence() && value.sequence().form != Sequence::Form::generator) {
    const Sequence &sequence = value.sequence();
    Brackets brackets = kBrackets[static_cast<size_t>(sequence.form)];
    out.append(brackets.open);
    for (size_t i = 0; i < sequence.items.size(); ++i) {
      out.append(i ? ", " : "");
      writeRepr(out, sequence.items[i]);
    }
    out.append(sequence.form == Sequence::Form::tuple && sequence.items.size() == 1 ? ",)" : brackets.close);
  } else {
    fail(fmt::format("a {} has no text{}", value.typeName(), value.isSequence() ? "; use the filter list" : ""));
  }
}

bool Run::equal(const Value &left, const Value &right) {
  return charge(std::min(left.weight(), right.weight())) && left == right;
}

bool Run::less(const Value &left, const Value &right) {
  if (!charge(std::min(left.weight(), right.weight())))
    return false;
  auto order = left.compare(right);
  if (!order)
    fail(left.isUndefined() || right.isUndefined()
             ? (left.isUndefined() ? left : right).whyUndefined()
             : fmt::format("cannot order {} and {}", left.typeName(), right.typeName()));
  return order && *order == std::partial_ordering::less;
}

bool Run::contains(const Value &container, const Value &item) {
  if (container.isText()) {
    if (!item.isText())
      fail(fmt::format("'in' a str: expected a str on its left, found {}", item.typeName()));
    charge(container.weight());
    return item.isText() && container.view().find(item.view()) != std::string_view::npos;
  }
  if (container.isDict()) {
    if (!item.hashable())
      fail(fmt::format("a {} is no key of a dict", item.typeName()));
    return charge(item.weight()) && item.hashable() && container.dict().find(item);
  }
  return std::ranges::any_of(iterate(container).values(), [&](const Value &each) { return equal(each, item); });
}

Items Run::iterate(const Value &value) {
  static const auto empty = std::make_shared<const Sequence>();
  if (value.isSequence()) {
    const Sequence &sequence = value.sequence();
    if (sequence.form == Sequence::Form::generator && std::exchange(sequence.consumed, true))
      return empty;
    return charge(1 + sequence.items.size()) ? value.sequencePointer() : empty;
  }
  if (value.isUndefined())
    return empty;
  std::vector<Value> items;
  if (value.isDict()) {
    if (charge(1 + value.dict().entries.size()))
      for (const auto &[key, item] : value.dict().entries)
        items.push_back(key);
  } else if (value.isText()) {
    const Text &text = value.text();
    if (charge(1 + text.size()))
      for (size_t at = 0; at < text.size(); at += characterLength(text.bytes[at]))
        items.push_back(text.slice(at, at + characterLength(text.bytes[at])));
  } else {
    fail(fmt::format("a {} cannot be iterated over", value.typeName()));
  }
  return Sequence::make(Sequence::Form::list, std::move(items));
}

std::optional<int64_t> Run::length(const Value &value) {
  if (value.isUndefined())
    return 0;
  if (value.isText()) {
    charge(value.weight());
    return static_cast<int64_t>(characterCount(value.view()));
  }
  if (value.isDict())
    return static_cast<int64_t>(value.dict().entries.size());
  if (value.isSequence() && value.sequence().form != Sequence::Form::generator)
    return static_cast<int64_t>(value.sequence().items.size());
  return std::nullopt;
}

Value Run::attribute(const Value &object, std::string_view name) {
  if (object.isUndefined())
    return fail(object.whyUndefined());
  if (auto *scope = object.as<Namespace>()) {
    if (const Value *found = scope->items.find(name))
      return *found;
  } else if (auto *with = object.as<WithAttributes>()) {
    if (auto found = with->attribute(*this, name))
      return *found;
  } else if (!name.starts_with('_')) {
    if (auto method = findMethod(object, name))
      return *method;
  }
  if (object.isDict())
    if (const Value *found = object.dict().find(name))
      return *found;
  return Value::undefined(fmt::format("a {} has no attribute {}", object.typeName(), quote(name)));
}

Value Run::item(const Value &object, const Value &index) {
  if (object.isUndefined())
    return fail(object.whyUndefined());
  if (object.isDict() && index.hashable() && charge(index.weight()))
    if (const Value *found = object.dict().find(index))
      return *found;
  bool indexed = object.isText() || (object.isSequence() && object.sequence().indexed());
  if (indexed && index.isInteger()) {
    int64_t count = *length(object), position = index.integer();
    position += position < 0 ? count : 0;
    if (position < 0 || position >= count)
      return Value::undefined(
          fmt::format("index {} is out of range: a {} of {}", index.integer(), object.typeName(), count));
    if (object.isSequence())
      return object.sequence().items[static_cast<size_t>(position)];
    std::string_view bytes = object.view();
    size_t begin = 0;
    for (; position > 0; --position)
      begin += characterLength(bytes[begin]);
    return object.text().slice(begin, begin + characterLength(bytes[begin]));
  }
  if (index.isText() && !object.isDict())
    return attribute(object, index.view());
  if (index.isText() && !index.view().starts_with('_'))
    if (auto method = findMethod(object, index.view()))
      return *method;
  if (index.isUndefined() || !index.hashable())
    return Value::undefined(fmt::format("a {} has no item of type {}", object.typeName(), index.typeName()));
  return Value::undefined(fmt::format("a {} has no item {}", object.typeName(), quote(repr(index).bytes)));
}

Value Run::slice(const Value &object, const Value &begin, const Value &end, const Value &step) {
  if (object.isUndefined())
    return fail(object.whyUndefined());
  bool indexed = object.isText() || (object.isSequence() && object.sequence().indexed());
  if (!indexed)
    return fail(fmt::format("a {} cannot be sliced", object.typeName()));
  for (const Value *part : {&begin, &end, &step})
    if (!part->isNone() && !part->isInteger())
      return fail(fmt::format("a slice by a {}: expected an int", part->typeName()));
  int64_t stride = step.isNone() ? 1 : step.integer();
  if (stride == 0)
    return fail("the step of a slice is 0");
  stride = std::clamp<int64_t>(stride, -(int64_t(1) << 40), int64_t(1) << 40);
  int64_t count = *length(object), low = stride > 0 ? 0 : -1, high = stride > 0 ? count : count - 1;
  auto clip = [&](const Value &part, int64_t otherwise) {
    if (part.isNone())
      return otherwise;
    int64_t position = part.integer();
    return std::clamp(position < 0 ? std::max(position, -count - 1) + count : position, low, high);
  };
  int64_t from = clip(begin, stride > 0 ? low : high), to = clip(end, stride > 0 ? high : low);
  if (!charge(1 + static_cast<uint64_t>(count)))
    return {};
  if (object.isSequence()) {
    std::vector<Value> items;
    for (int64_t i = from; stride > 0 ? i < to : i > to; i += stride)
      items.push_back(object.sequence().items[static_cast<size_t>(i)]);
    if (const Sequence &range = object.sequence(); range.form == Sequence::Form::range) {
      auto part = std::make_shared<Sequence>(*Sequence::make(range.form, std::move(items)));
      auto at = [&](int64_t index) { // may wrap where the range itself ends at the last int
        return static_cast<int64_t>(static_cast<uint64_t>(range.begin) +
                                    static_cast<uint64_t>(index) * static_cast<uint64_t>(range.step));
      };
      part->begin = at(from), part->end = at(to);
      part->step = static_cast<int64_t>(static_cast<uint64_t>(range.step) * static_cast<uint64_t>(stride));
      return std::shared_ptr<const Sequence>(std::move(part));
    }
    return object.isTuple() ? Value::tuple(std::move(items)) : Value::list(std::move(items));
  }
  const Text &text = object.text();
  std::vector<size_t> offsets = characterOffsets(text.view());
  if (stride == 1)
    return from < to ? text.slice(offsets[static_cast<size_t>(from)], offsets[static_cast<size_t>(to)]) : Text();
  Text out;
  for (int64_t i = from; stride > 0 ? i < to : i > to; i += stride)
    out.append(text.slice(offsets[static_cast<size_t>(i)], offsets[static_cast<size_t>(i) + 1]));
  return out;
}

Value Run::call(const Value &callee, Arguments &arguments) {
  if (callee.isUndefined())
    return fail(callee.whyUndefined());
  auto *callable = callee.as<Callable>();
  if (!callable)
    return fail(fmt::format("a {} cannot be called", callee.typeName()));
  return callable->call(*this, arguments);
}

Value Run::filter(const std::string &name, Arguments &arguments) {
  Filter found = findFilter(name);
  return found ? found(*this, arguments) : fail(fmt::format("the filter {} is not supported", quote(name)));
}

bool Run::test(const std::string &name, Arguments &arguments) {
  Test found = findTest(name);
  if (!found)
    fail(fmt::format("the test {} is not supported", quote(name)));
  return found && found(*this, arguments);
}

Bound::Bound(Run &run, std::string_view function, std::initializer_list<const char *> list, size_t required,
             const Arguments &arguments)
    : run(run), function(function), names(list), values(list.size()) {
  auto refuse = [&](std::string why) {
    run.fail(fmt::format("{}: {}", function, why));
    good = false;
  };
  if (arguments.values.size() > names.size()) {
    refuse(fmt::format("expected at most {} arguments, found {}", names.size(), arguments.values.size()));
    return;
  }
  std::ranges::copy(arguments.values, values.begin());
  for (const auto &[key, value] : arguments.named) {
    auto known = std::ranges::find(names, key);
    if (known == names.end())
      refuse(fmt::format("no argument is called {}", quote(key)));
    else if (auto &place = values[static_cast<size_t>(known - names.begin())]; place)
      refuse(fmt::format("the argument {} is given twice", quote(key)));
    else
      place = value;
  }
  for (size_t i = 0; i < required; ++i)
    if (!values[i])
      refuse(fmt::format("the argument '{}' is missing", names[i]));
}

int64_t Bound::integer(size_t index, int64_t otherwise) {
  if (!has(index))
    return otherwise;
  if ((*this)[index].isInteger())
    return (*this)[index].integer();
  run.fail(fmt::format("{}: {}: expected an int, found {}", function, names[index], (*this)[index].typeName()));
  good = false;
  return otherwise;
}

Text Bound::text(size_t index, std::string_view otherwise) {
  if (!has(index) || (*this)[index].isNone())
    return Text(std::string(otherwise));
  if ((*this)[index].isText())
    return (*this)[index].text();
  run.fail(fmt::format("{}: {}: expected a str, found {}", function, names[index], (*this)[index].typeName()));
  good = false;
  return {};
}

} // namespace lathe::chat
