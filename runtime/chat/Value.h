//===- Value.h - what a template computes with ----------------------------===//
//
// Python's values as Jinja shows them. Lists and dicts never change once they are made (transformers renders in
// jinja2's ImmutableSandboxedEnvironment, which forbids it), so they can be shared and cannot contain themselves;
// only objects (namespaces, loops) have state.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/chat/Text.h"

#include <compare>
#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace lathe::chat {

class Value;
struct Sequence;
struct Dict;

/// What has identity: equal to itself only.
struct Object {
  virtual ~Object() = default;
  virtual const char *typeName() const = 0;
  /// Of the values in it that it keeps for good. What has changing state is 0 deep: the rendering clears it at its end.
  virtual int depth() const { return 0; }
};

/// The value of a name, key or index that does not exist; `what` is the error that using it gives.
struct Undefined {
  std::shared_ptr<const std::string> what;
};
struct None {};

class Value {
public:
  Value() = default;
  Value(None) : value(None()) {}
  template <std::same_as<bool> Bool> Value(Bool boolean) : value(boolean) {} // a pointer is no bool
  Value(int64_t integer) : value(integer) {}
  Value(double real) : value(real) {}
  Value(Text text) : value(std::make_shared<const Text>(std::move(text))) {}
  Value(std::shared_ptr<const Text> text) : value(std::move(text)) {}
  Value(std::shared_ptr<const Sequence> sequence) : value(std::move(sequence)) {}
  Value(std::shared_ptr<const Dict> dict) : value(std::move(dict)) {}
  template <std::derived_from<Object> Kind>
  Value(std::shared_ptr<Kind> object) : value(std::shared_ptr<Object>(std::move(object))) {}
  static Value undefined(std::string what);
  static Value literal(std::string text) { return Value(Text(std::move(text))); }
  static Value list(std::vector<Value> items);
  static Value tuple(std::vector<Value> items);
  /// An iterator: it can be walked once, and has neither length nor text.
  static Value generator(std::vector<Value> items);

  bool isUndefined() const { return std::holds_alternative<Undefined>(value); }
  bool isNone() const { return std::holds_alternative<None>(value); }
  bool isBoolean() const { return std::holds_alternative<bool>(value); }
  /// Python's bool is an int.
  bool isInteger() const { return std::holds_alternative<int64_t>(value) || isBoolean(); }
  bool isReal() const { return std::holds_alternative<double>(value); }
  bool isNumber() const { return isInteger() || isReal(); }
  bool isText() const { return std::holds_alternative<std::shared_ptr<const Text>>(value); }
  bool isSequence() const { return std::holds_alternative<std::shared_ptr<const Sequence>>(value); }
  bool isDict() const { return std::holds_alternative<std::shared_ptr<const Dict>>(value); }
  bool isObject() const { return std::holds_alternative<std::shared_ptr<Object>>(value); }

  // Each is for a value of its kind only.
  std::string whyUndefined() const {
    const auto &what = std::get<Undefined>(value).what;
    return what ? *what : "an undefined value";
  }
  int64_t integer() const { return isBoolean() ? std::get<bool>(value) : std::get<int64_t>(value); }
  double number() const { return isReal() ? std::get<double>(value) : static_cast<double>(integer()); }
  const Text &text() const { return *std::get<std::shared_ptr<const Text>>(value); }
  std::string_view view() const { return text().bytes; }
  const Sequence &sequence() const { return *std::get<std::shared_ptr<const Sequence>>(value); }
  const std::shared_ptr<const Sequence> &sequencePointer() const {
    return std::get<std::shared_ptr<const Sequence>>(value);
  }
  const Dict &dict() const { return *std::get<std::shared_ptr<const Dict>>(value); }
  const std::shared_ptr<Object> &object() const { return std::get<std::shared_ptr<Object>>(value); }
  template <typename Kind> Kind *as() const { return isObject() ? dynamic_cast<Kind *>(object().get()) : nullptr; }
  bool isList() const;
  bool isTuple() const;

  bool truthy() const;
  /// As in an error message: "str", "list", "dict", "NoneType".
  const char *typeName() const;
  /// Levels of lists and dicts: 0 for what contains nothing.
  int depth() const;
  /// What walking it costs: its items, with theirs, and a part of its text. Items that are shared count each time.
  uint64_t weight() const;
  /// Whether some text in it came with the request.
  bool hasInput() const;
  /// What a dict can have as a key.
  bool hashable() const;
  size_t hash() const;
  /// Python's `==`.
  bool operator==(const Value &other) const;
  /// Python's `<`; nothing where it is a TypeError there.
  std::optional<std::partial_ordering> compare(const Value &other) const;

private:
  std::variant<Undefined, None, bool, int64_t, double, std::shared_ptr<const Text>, std::shared_ptr<const Sequence>,
               std::shared_ptr<const Dict>, std::shared_ptr<Object>>
      value;
};

struct Sequence {
  enum class Form { list, tuple, range, keys, values, items, generator };
  Form form = Form::list;
  std::vector<Value> items;
  int64_t begin = 0, end = 0, step = 1; ///< of a range
  mutable bool consumed = false;        ///< of a generator
  int depth = 1;
  uint64_t weight = 1;
  bool hasInput = false;

  static std::shared_ptr<const Sequence> make(Form form, std::vector<Value> items);
  /// list and tuple are Python's sequences, range nearly.
  bool indexed() const { return form == Form::list || form == Form::tuple || form == Form::range; }
};

/// What a walk goes through; keeps it alive.
class Items {
public:
  Items(std::shared_ptr<const Sequence> sequence) : held(std::move(sequence)) {}
  auto begin() const { return held->items.begin(); }
  auto end() const { return held->items.end(); }
  size_t size() const { return held->items.size(); }
  bool empty() const { return held->items.empty(); }
  const Value &operator[](size_t index) const { return held->items[index]; }
  const std::vector<Value> &values() const { return held->items; }
  const std::shared_ptr<const Sequence> &sequence() const { return held; }

private:
  std::shared_ptr<const Sequence> held;
};

/// Keeps the order in which keys came.
struct Dict {
  std::vector<std::pair<Value, Value>> entries;
  int depth = 1;
  uint64_t weight = 1;
  bool hasInput = false;

  const Value *find(const Value &key) const;
  const Value *find(std::string_view key) const;
  /// Adds or replaces. `key` is hashable.
  void set(Value key, Value value);
  void set(std::string_view key, Value value) { set(Value::literal(std::string(key)), std::move(value)); }

private:
  std::unordered_multimap<size_t, size_t> index; ///< hash to entry
};

/// Deeper and heavier values are refused where they are made, so that walking one ends and needs no guard of its own.
inline constexpr int kMaxValueDepth = 100;
inline constexpr uint64_t kMaxValueWeight = 1 << 24;

} // namespace lathe::chat
