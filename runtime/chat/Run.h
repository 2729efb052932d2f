//===- Run.h - one rendering of a template --------------------------------===//
//
// What evaluation, filters, tests and methods share: the budget, the first error, and the operations of Python that
// they are made of. After an error everything returns neutral values quickly; whoever loops looks at `charge`.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/chat/Value.h"
#include "runtime/support/Error.h"

#include <array>
#include <ctime>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lathe::chat {

struct RenderLimits {
  uint64_t steps = 20'000'000; ///< about one for each node evaluated, item walked and 16 bytes made
  uint64_t outputBytes = uint64_t(64) << 20;
  int depth = 800; ///< of evaluation within evaluation
};

struct Arguments {
  std::vector<Value> values;
  std::vector<std::pair<std::string, Value>> named;
};

class Run;

/// A value that can be called.
struct Callable : Object {
  virtual Value call(Run &run, Arguments &arguments) = 0;
};

/// A built-in function, or a method bound to its value.
struct Function : Callable {
  using Body = Value (*)(Run &, const Value &self, Arguments &);
  std::string name;
  Body body;
  Value self;

  Function(std::string name, Body body, Value self) : name(std::move(name)), body(body), self(std::move(self)) {}
  const char *typeName() const override { return "function"; }
  int depth() const override { return self.depth() + 1; }
  Value call(Run &run, Arguments &arguments) override { return body(run, self, arguments); }
};

/// namespace(): the one thing whose items a template can set.
struct Namespace : Object {
  Dict items;
  const char *typeName() const override { return "namespace"; }
};

/// What has named items of its own: `loop`, a cycler.
struct WithAttributes : Object {
  virtual std::optional<Value> attribute(Run &run, std::string_view name) = 0;
};

class Run {
public:
  Run(std::string_view source, std::string_view name, const RenderLimits &limits, std::function<std::time_t()> clock)
      : source(source), name(name), limits(limits), clock(std::move(clock)) {}

  /// Keeps the first error, at the place that `at` says. Returns something to return.
  Value fail(std::string message);
  bool failed() const { return error.has_value(); }
  /// Takes from the budget; false when nothing is left, or something failed before.
  bool charge(uint64_t steps = 1);
  /// False, and an error, for a value that is too deep or too heavy.
  bool accept(const Value &value);

  // Python's operations. Each fails where Python raises.
  Text str(const Value &value);
  Text repr(const Value &value);
  bool equal(const Value &left, const Value &right);
  /// `<`, false on failure.
  bool less(const Value &left, const Value &right);
  bool contains(const Value &container, const Value &item);
  /// The items of what can be walked; empty on failure. A generator is used up.
  Items iterate(const Value &value);
  std::optional<int64_t> length(const Value &value);
  Value arithmetic(std::string_view op, const Value &left, const Value &right);
  /// a.name and a[index] as jinja2's sandbox finds them.
  Value attribute(const Value &object, std::string_view name);
  Value item(const Value &object, const Value &index);
  Value slice(const Value &object, const Value &begin, const Value &end, const Value &step);
  Value call(const Value &callee, Arguments &arguments);
  Value filter(const std::string &name, Arguments &arguments);
  bool test(const std::string &name, Arguments &arguments);
  /// json.dumps with ensure_ascii=False. `indent` less than 0: on one line.
  Text json(const Value &value, const std::string *indent, std::string_view itemSeparator,
            std::string_view keySeparator, bool sortKeys, bool ascii);
  /// `format % arguments`, and format.format(…).
  Value formatPercent(const Text &format, const Value &arguments);
  Value formatBraces(const Text &format, const Arguments &arguments);

  uint32_t at = 0; ///< the place that is being evaluated, an offset
  std::string_view source, name;
  RenderLimits limits;
  std::function<std::time_t()> clock;
  std::optional<Error> error;
  int depth = 0;
  std::vector<std::shared_ptr<Namespace>> namespaces; ///< all of them, to be emptied at the end

private:
  uint64_t used = 0;

  void writeRepr(Text &out, const Value &value);
  Value integerArithmetic(std::string_view op, int64_t left, int64_t right);
  Value realArithmetic(std::string_view op, double left, double right);
  Value repeat(const Value &value, int64_t count);
};

/// Arguments by their parameters' names, in Python's way. Empty on failure, which is noted in `run`.
class Bound {
public:
  Bound(Run &run, std::string_view function, std::initializer_list<const char *> names, size_t required,
        const Arguments &arguments);
  explicit operator bool() const { return good; }
  bool has(size_t index) const { return values[index].has_value(); }
  const Value &operator[](size_t index) const { return *values[index]; }
  /// With what Python's call would have as default.
  Value value(size_t index, Value otherwise) const { return has(index) ? *values[index] : otherwise; }
  bool flag(size_t index, bool otherwise) const { return has(index) ? values[index]->truthy() : otherwise; }
  /// An int; another type is a failure.
  int64_t integer(size_t index, int64_t otherwise);
  /// A str; another type is a failure, None is `otherwise`.
  Text text(size_t index, std::string_view otherwise);

private:
  Run &run;
  std::string function;
  std::vector<const char *> names;
  std::vector<std::optional<Value>> values;
  bool good = true;
};

using Filter = Value (*)(Run &, Arguments &);
using Test = bool (*)(Run &, Arguments &);
/// Null for a name that is unknown.
Filter findFilter(std::string_view name);
Filter findTextFilter(std::string_view name);
Filter findSequenceFilter(std::string_view name);
Test findTest(std::string_view name);
/// A method of str, list, tuple or dict, or nothing where Python has none of that name.
std::optional<Value> findMethod(const Value &self, std::string_view name);
std::optional<Value> findTextMethod(const Value &self, std::string_view name);
/// range, dict, namespace, joiner, cycler, raise_exception, strftime_now.
std::optional<Value> findGlobal(std::string_view name);

/// Python's repr of a float, and its parts for formats.
std::string realText(double value);

} // namespace lathe::chat
