#include "runtime/chat/Run.h"

#include <algorithm>

namespace lathe::chat {
namespace {

using Values = std::vector<Value>;
using Form = Sequence::Form;

Value view(Run &run, const Value &self, Form form) {
  Values items;
  if (run.charge(1 + self.dict().entries.size()))
    for (const auto &[key, value] : self.dict().entries)
      items.push_back(form == Form::keys ? key : form == Form::values ? value : Value::tuple({key, value}));
  return Sequence::make(form, std::move(items));
}

template <Form form> Value dictView(Run &run, const Value &self, Arguments &arguments) {
  Bound bound(run, "dict", {}, 0, arguments);
  return bound ? view(run, self, form) : Value();
}

Value dictGet(Run &run, const Value &self, Arguments &arguments) {
  Bound bound(run, "get", {"key", "default"}, 1, arguments);
  if (!bound)
    return {};
  if (!bound[0].hashable())
    return run.fail(fmt::format("get: a {} is no key of a dict", bound[0].typeName()));
  const Value *found = run.charge(bound[0].weight()) ? self.dict().find(bound[0]) : nullptr;
  return found ? *found : bound.value(1, None());
}

Value copy(Run &run, const Value &self, Arguments &arguments) {
  Bound bound(run, "copy", {}, 0, arguments);
  return self;
}

Value sequenceCount(Run &run, const Value &self, Arguments &arguments) {
  Bound bound(run, "count", {"value"}, 1, arguments);
  int64_t number = 0;
  if (bound)
    for (const Value &item : self.sequence().items)
      number += run.equal(item, bound[0]);
  return number;
}

Value sequenceIndex(Run &run, const Value &self, Arguments &arguments) {
  Bound bound(run, "index", {"value"}, 1, arguments);
  const Values &items = self.sequence().items;
  for (size_t i = 0; bound && i < items.size(); ++i)
    if (run.equal(items[i], bound[0]))
      return static_cast<int64_t>(i);
  return run.fail("index: the value is not in the list");
}

Value method(std::string_view name, Function::Body body, const Value &self) {
  return std::make_shared<Function>(std::string(name), body, self);
}

/// Methods that change a value are not there: jinja2's immutable sandbox hides them, too.
Value changing(const Value &self, std::string_view name) {
  return Value::undefined(fmt::format("{}.{} changes its value, which templates must not", self.typeName(), name));
}

} // namespace

std::optional<Value> findMethod(const Value &self, std::string_view name) {
  if (self.isText())
    return findTextMethod(self, name);
  if (self.isDict()) {
    if (name == "get")
      return method(name, dictGet, self);
    if (name == "items")
      return method(name, dictView<Form::items>, self);
    if (name == "keys")
      return method(name, dictView<Form::keys>, self);
    if (name == "values")
      return method(name, dictView<Form::values>, self);
    if (name == "copy")
      return method(name, copy, self);
    for (std::string_view hidden : {"clear", "pop", "popitem", "setdefault", "update"})
      if (name == hidden)
        return changing(self, name);
    return std::nullopt;
  }
  if (!self.isSequence() || !self.sequence().indexed())
    return std::nullopt;
  if (name == "count")
    return method(name, sequenceCount, self);
  if (name == "index")
    return method(name, sequenceIndex, self);
  if (!self.isList())
    return std::nullopt;
  if (name == "copy")
    return method(name, copy, self);
  for (std::string_view hidden : {"append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"})
    if (name == hidden)
      return changing(self, name);
  return std::nullopt;
}

} // namespace lathe::chat
