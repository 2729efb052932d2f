#include "runtime/chat/Run.h"

#include <algorithm>

namespace lathe::chat {
namespace {

/// The value alone; further arguments are an error.
const Value &only(Run &run, Arguments &arguments) {
  if (arguments.values.size() != 1 || !arguments.named.empty())
    run.fail("this test takes no arguments");
  return arguments.values[0];
}

template <bool (Value::*is)() const> bool kind(Run &run, Arguments &arguments) { return (only(run, arguments).*is)(); }

bool pairOf(Run &run, Arguments &arguments) {
  bool good = arguments.values.size() == 2 && arguments.named.empty();
  if (!good)
    run.fail("this test takes one argument");
  return good;
}

bool defined(Run &run, Arguments &arguments) { return !only(run, arguments).isUndefined(); }
bool isTrue(Run &run, Arguments &arguments) { return only(run, arguments).isBoolean() && arguments.values[0].truthy(); }
bool isFalse(Run &run, Arguments &arguments) {
  return only(run, arguments).isBoolean() && !arguments.values[0].truthy();
}
bool integer(Run &run, Arguments &arguments) {
  return only(run, arguments).isInteger() && !arguments.values[0].isBoolean();
}

bool sequence(Run &run, Arguments &arguments) {
  const Value &value = only(run, arguments);
  return value.isText() || value.isDict() || value.isUndefined() || (value.isSequence() && value.sequence().indexed());
}

bool iterable(Run &run, Arguments &arguments) {
  const Value &value = only(run, arguments);
  return value.isText() || value.isDict() || value.isUndefined() || value.isSequence();
}

template <int64_t parity> bool parityIs(Run &run, Arguments &arguments) {
  const Value &value = only(run, arguments);
  if (value.isInteger())
    return (value.integer() & 1) == parity;
  Value remainder = run.arithmetic("%", value, Value(int64_t(2)));
  return !run.failed() && remainder == Value(parity);
}

bool divisible(Run &run, Arguments &arguments) {
  if (!pairOf(run, arguments))
    return false;
  Value remainder = run.arithmetic("%", arguments.values[0], arguments.values[1]);
  return !run.failed() && remainder == Value(int64_t(0));
}

template <bool upper> bool caseIs(Run &run, Arguments &arguments) {
  Text text = run.str(only(run, arguments));
  Arguments none;
  auto method = findTextMethod(Value(std::move(text)), upper ? "isupper" : "islower");
  return method && run.call(*method, none).truthy();
}

bool equal(Run &run, Arguments &arguments) {
  return pairOf(run, arguments) && run.equal(arguments.values[0], arguments.values[1]);
}
bool unequal(Run &run, Arguments &arguments) {
  return pairOf(run, arguments) && !run.equal(arguments.values[0], arguments.values[1]);
}
bool less(Run &run, Arguments &arguments) {
  return pairOf(run, arguments) && run.less(arguments.values[0], arguments.values[1]);
}
bool greater(Run &run, Arguments &arguments) {
  return pairOf(run, arguments) && run.less(arguments.values[1], arguments.values[0]);
}
bool atMost(Run &run, Arguments &arguments) {
  return pairOf(run, arguments) && (run.less(arguments.values[0], arguments.values[1]) || equal(run, arguments));
}
bool atLeast(Run &run, Arguments &arguments) {
  return pairOf(run, arguments) && (run.less(arguments.values[1], arguments.values[0]) || equal(run, arguments));
}
bool in(Run &run, Arguments &arguments) {
  return pairOf(run, arguments) && run.contains(arguments.values[1], arguments.values[0]);
}

bool same(Run &run, Arguments &arguments) {
  if (!pairOf(run, arguments))
    return false;
  const Value &left = arguments.values[0], &right = arguments.values[1];
  // Python's `is`: what has identity here, and what cannot be the same; whether two equal texts are is not defined.
  bool valued = (left.isText() && right.isText()) || (left.isReal() && right.isReal()) ||
                (left.isInteger() && right.isInteger() && !left.isBoolean() && !right.isBoolean());
  if (valued && left == right)
    run.fail("the test sameas is not for equal texts and numbers; use ==");
  if (left.isSequence() && right.isSequence())
    return &left.sequence() == &right.sequence();
  if (left.isDict() && right.isDict())
    return &left.dict() == &right.dict();
  return !valued && left.isBoolean() == right.isBoolean() && !left.isNumber() + !right.isNumber() != 1 && left == right;
}

bool callable(Run &run, Arguments &arguments) {
  const Value &value = only(run, arguments);
  return value.isUndefined() || value.as<Callable>(); // jinja2's Undefined can be called: it raises then
}

/// The text that may name a filter or a test.
std::string_view nameOf(Run &run, Arguments &arguments) {
  const Value &name = only(run, arguments);
  if (!name.hashable())
    run.fail(fmt::format("a {} is no name", name.typeName()));
  return name.isText() ? name.view() : std::string_view();
}
bool filterExists(Run &run, Arguments &arguments) { return findFilter(nameOf(run, arguments)); }
bool testExists(Run &run, Arguments &arguments) { return findTest(nameOf(run, arguments)); }

constexpr std::pair<std::string_view, Test> kTests[] = {
    {"!=", unequal},
    {"<", less},
    {"<=", atMost},
    {"==", equal},
    {">", greater},
    {">=", atLeast},
    {"boolean", kind<&Value::isBoolean>},
    {"callable", callable},
    {"defined", defined},
    {"divisibleby", divisible},
    {"eq", equal},
    {"equalto", equal},
    {"even", parityIs<0>},
    {"false", isFalse},
    {"filter", filterExists},
    {"float", kind<&Value::isReal>},
    {"ge", atLeast},
    {"greaterthan", greater},
    {"gt", greater},
    {"in", in},
    {"integer", integer},
    {"iterable", iterable},
    {"le", atMost},
    {"lessthan", less},
    {"lower", caseIs<false>},
    {"lt", less},
    {"mapping", kind<&Value::isDict>},
    {"ne", unequal},
    {"none", kind<&Value::isNone>},
    {"number", kind<&Value::isNumber>},
    {"odd", parityIs<1>},
    {"sameas", same},
    {"sequence", sequence},
    {"string", kind<&Value::isText>},
    {"test", testExists},
    {"true", isTrue},
    {"undefined", kind<&Value::isUndefined>},
    {"upper", caseIs<true>},
};

} // namespace

Test findTest(std::string_view name) {
  for (const auto &[known, test] : kTests)
    if (known == name)
      return test;
  return nullptr;
}

} // namespace lathe::chat
