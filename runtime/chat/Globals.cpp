#include "runtime/chat/Run.h"

#include "runtime/tokenizer/Utf8.h"

#include <algorithm>

namespace lathe::chat {
namespace {

constexpr int64_t kMaxRange = 100'000; // as in jinja2's sandbox

Value range(Run &run, const Value &, Arguments &arguments) {
  Bound bound(run, "range", {"start", "stop", "step"}, 1, arguments);
  if (!bound)
    return {};
  int64_t begin = 0, end = bound.integer(0, 0), step = bound.integer(2, 1);
  if (bound.has(1))
    begin = end, end = bound.integer(1, 0);
  if (!bound)
    return {};
  if (step == 0)
    return run.fail("range: the step is 0");
  // 128 bits: the difference of two ints may not fit in one.
  __int128 distance = step > 0 ? __int128(end) - begin : __int128(begin) - end;
  __int128 stride = step > 0 ? __int128(step) : -__int128(step),
           count = distance > 0 ? (distance + stride - 1) / stride : 0;
  if (count > kMaxRange)
    return run.fail(fmt::format("range: expected at most {} numbers", kMaxRange));
  auto sequence = std::make_shared<Sequence>();
  sequence->form = Sequence::Form::range;
  sequence->begin = begin, sequence->end = end, sequence->step = step;
  if (!run.charge(1 + static_cast<uint64_t>(count)))
    return {};
  for (int64_t i = 0; i < static_cast<int64_t>(count); ++i)
    sequence->items.push_back(begin + i * step);
  sequence->weight += static_cast<uint64_t>(count);
  return std::shared_ptr<const Sequence>(std::move(sequence));
}

/// The entries of dict(…) and namespace(…): a dict or pairs, then keywords.
bool fill(Run &run, Dict &dict, Arguments &arguments) {
  if (arguments.values.size() > 1)
    return run.fail("expected at most one positional argument"), false;
  if (!arguments.values.empty() && arguments.values[0].isDict()) {
    for (const auto &[key, value] : arguments.values[0].dict().entries)
      if (run.charge())
        dict.set(key, value);
  } else if (!arguments.values.empty()) {
    for (const Value &item : run.iterate(arguments.values[0])) {
      auto pair = run.iterate(item);
      if (pair.size() != 2 || !pair[0].hashable())
        return run.fail("expected pairs of a key and a value"), false;
      dict.set(pair[0], pair[1]);
    }
  }
  for (const auto &[name, value] : arguments.named)
    dict.set(name, value);
  return !run.failed();
}

Value dict(Run &run, const Value &, Arguments &arguments) {
  auto made = std::make_shared<Dict>();
  fill(run, *made, arguments);
  return std::shared_ptr<const Dict>(std::move(made));
}

Value makeNamespace(Run &run, const Value &, Arguments &arguments) {
  auto made = std::make_shared<Namespace>();
  fill(run, made->items, arguments);
  run.namespaces.push_back(made);
  return std::shared_ptr<Object>(std::move(made));
}

/// joiner(): its text from the second call on.
struct Joiner : Callable {
  Text separator;
  bool used = false;
  const char *typeName() const override { return "joiner"; }
  Value call(Run &run, Arguments &arguments) override {
    Bound bound(run, "joiner", {}, 0, arguments);
    return std::exchange(used, true) ? Value(separator) : Value::literal("");
  }
};

Value joiner(Run &run, const Value &, Arguments &arguments) {
  Bound bound(run, "joiner", {"sep"}, 0, arguments);
  if (!bound)
    return {};
  auto made = std::make_shared<Joiner>();
  made->separator = bound.has(0) ? run.str(bound[0]) : Text(", ");
  return std::shared_ptr<Object>(std::move(made));
}

/// cycler(…): next() goes round.
struct Cycler : WithAttributes {
  std::vector<Value> items;
  size_t position = 0;
  int levels = 0;
  std::weak_ptr<Object> self;
  const char *typeName() const override { return "cycler"; }
  int depth() const override { return levels + 1; }

  static Value next(Run &, const Value &self, Arguments &) {
    auto *cycler = self.as<Cycler>();
    Value current = cycler->items[cycler->position];
    cycler->position = (cycler->position + 1) % cycler->items.size();
    return current;
  }
  static Value reset(Run &, const Value &self, Arguments &) {
    self.as<Cycler>()->position = 0;
    return None();
  }
  std::optional<Value> attribute(Run &, std::string_view name) override {
    if (name == "current")
      return items[position];
    if (name == "next" || name == "reset")
      return Value(std::make_shared<Function>(std::string(name), name == "next" ? next : reset, Value(self.lock())));
    return std::nullopt;
  }
};

Value cycler(Run &run, const Value &, Arguments &arguments) {
  if (arguments.values.empty() || !arguments.named.empty())
    return run.fail("cycler: expected items, and no keywords");
  auto made = std::make_shared<Cycler>();
  made->items = arguments.values;
  for (const Value &item : made->items)
    made->levels = std::max(made->levels, item.depth());
  made->self = made;
  return std::shared_ptr<Object>(std::move(made));
}

Value raise(Run &run, const Value &, Arguments &arguments) {
  Bound bound(run, "raise_exception", {"message"}, 1, arguments);
  return bound ? run.fail(fmt::format("the template refuses: {}", run.str(bound[0]).bytes)) : Value();
}

/// datetime.now().strftime(format): local time, without a time zone.
Value timeNow(Run &run, const Value &, Arguments &arguments) {
  Bound bound(run, "strftime_now", {"format"}, 1, arguments);
  if (!bound)
    return {};
  Text format = bound.text(0, "");
  if (format.size() > 1000)
    return run.fail("strftime_now: expected a format of at most 1000 bytes");
  std::string directives;
  for (size_t i = 0; i < format.size(); ++i) {
    char c = format.bytes[i], next = i + 1 < format.size() ? format.bytes[i + 1] : 0;
    if (c == '%' && (next == 'z' || next == 'Z' || next == 'f'))
      directives += next == 'f' ? "000000" : "", ++i;
    else if (c == '%')
      directives += c, directives += next ? next : '%', ++i;
    else
      directives += c;
  }
  std::time_t now = run.clock();
  std::tm local = {};
  localtime_r(&now, &local);
  directives += ' '; // so that 0 means that the buffer is too small
  std::string out(4096, '\0');
  size_t count = std::strftime(out.data(), out.size(), directives.c_str(), &local);
  if (count == 0)
    return run.fail("strftime_now: the time is longer than 4095 bytes");
  out.resize(count - 1);
  return Text::made(std::move(out), format.hasInput());
}

constexpr std::pair<std::string_view, Function::Body> kGlobals[] = {
    {"cycler", cycler},           {"dict", dict},   {"joiner", joiner},
    {"namespace", makeNamespace}, {"range", range}, {"raise_exception", raise},
    {"strftime_now", timeNow},
};

} // namespace

std::optional<Value> findGlobal(std::string_view name) {
  for (const auto &[known, body] : kGlobals)
    if (known == name)
      return Value(std::make_shared<Function>(std::string(name), body, Value(None())));
  return std::nullopt;
}

} // namespace lathe::chat
