#include "runtime/chat/Value.h"

#include <algorithm>
#include <cmath>

namespace lathe::chat {
namespace {

template <typename Container> void note(Container &container, const Value &item) {
  container.depth = std::max(container.depth, item.depth() + 1);
  container.weight = std::min(container.weight + item.weight(), 2 * kMaxValueWeight);
  container.hasInput = container.hasInput || item.hasInput();
}

template <typename Number> std::partial_ordering order(Number left, Number right) { return left <=> right; }

/// An int against a float, exactly: a double cannot hold every int.
std::partial_ordering order(const Value &left, const Value &right) {
  if (left.isInteger() && right.isInteger())
    return order(left.integer(), right.integer());
  if (left.isReal() && right.isReal())
    return order(left.number(), right.number());
  if (left.isReal()) {
    auto reversed = order(right, left);
    return reversed == std::partial_ordering::less      ? std::partial_ordering::greater
           : reversed == std::partial_ordering::greater ? std::partial_ordering::less
                                                        : reversed;
  }
  double real = right.number();
  if (std::isnan(real))
    return std::partial_ordering::unordered;
  if (real >= 9223372036854775808.0)
    return std::partial_ordering::less;
  if (real < -9223372036854775808.0)
    return std::partial_ordering::greater;
  double whole = std::floor(real);
  auto byWhole = order(left.integer(), static_cast<int64_t>(whole));
  return byWhole == std::partial_ordering::equivalent && whole < real ? std::partial_ordering::less : byWhole;
}

} // namespace

Value Value::undefined(std::string what) {
  Value result;
  result.value = Undefined{std::make_shared<const std::string>(std::move(what))};
  return result;
}

Value Value::list(std::vector<Value> items) { return Sequence::make(Sequence::Form::list, std::move(items)); }
Value Value::tuple(std::vector<Value> items) { return Sequence::make(Sequence::Form::tuple, std::move(items)); }
Value Value::generator(std::vector<Value> items) { return Sequence::make(Sequence::Form::generator, std::move(items)); }

std::shared_ptr<const Sequence> Sequence::make(Form form, std::vector<Value> items) {
  auto sequence = std::make_shared<Sequence>();
  sequence->form = form;
  for (const Value &item : items)
    note(*sequence, item);
  sequence->items = std::move(items);
  return sequence;
}

bool Value::isList() const { return isSequence() && sequence().form == Sequence::Form::list; }
bool Value::isTuple() const { return isSequence() && sequence().form == Sequence::Form::tuple; }

bool Value::truthy() const {
  if (isUndefined() || isNone())
    return false;
  if (isInteger())
    return integer() != 0;
  if (isReal())
    return number() != 0;
  if (isText())
    return !text().bytes.empty();
  if (isSequence())
    return sequence().form == Sequence::Form::generator || !sequence().items.empty();
  return isObject() || !dict().entries.empty();
}

const char *Value::typeName() const {
  switch (value.index()) {
  case 0:
    return "undefined";
  case 1:
    return "NoneType";
  case 2:
    return "bool";
  case 3:
    return "int";
  case 4:
    return "float";
  case 5:
    return "str";
  case 7:
    return "dict";
  case 8:
    return object()->typeName();
  default:
    break;
  }
  static constexpr const char *names[] = {"list",        "tuple",      "range",    "dict_keys",
                                          "dict_values", "dict_items", "generator"};
  return names[static_cast<size_t>(sequence().form)];
}

int Value::depth() const {
  return isSequence() ? sequence().depth : isDict() ? dict().depth : isObject() ? object()->depth() : 0;
}

uint64_t Value::weight() const {
  return isSequence() ? sequence().weight : isDict() ? dict().weight : isText() ? 1 + text().size() / 16 : 1;
}

bool Value::hasInput() const {
  return isText() ? text().hasInput() : isSequence() ? sequence().hasInput : isDict() && dict().hasInput;
}

bool Value::hashable() const {
  if (isTuple())
    return std::ranges::all_of(sequence().items, &Value::hashable);
  return !isDict() && !isList();
}

size_t Value::hash() const {
  if (isText())
    return std::hash<std::string_view>()(view());
  if (isInteger())
    return std::hash<int64_t>()(integer());
  if (isReal()) { // equal numbers have equal hashes
    double real = number();
    bool whole = std::abs(real) < 9e18 && std::floor(real) == real;
    return whole ? std::hash<int64_t>()(static_cast<int64_t>(real)) : std::hash<double>()(real);
  }
  if (isTuple()) {
    size_t all = 0x9E3779B9;
    for (const Value &item : sequence().items)
      all = all * 31 + item.hash();
    return all;
  }
  return isObject() ? std::hash<const void *>()(object().get()) : value.index();
}

bool Value::operator==(const Value &other) const {
  if (isNumber() && other.isNumber())
    return order(*this, other) == std::partial_ordering::equivalent;
  if (value.index() != other.value.index())
    return false;
  if (isUndefined() || isNone())
    return true;
  if (isText())
    return view() == other.view();
  if (isObject())
    return object() == other.object();
  if (isDict())
    return dict().entries.size() == other.dict().entries.size() &&
           std::ranges::all_of(dict().entries, [&](const auto &entry) {
             const Value *found = other.dict().find(entry.first);
             return found && *found == entry.second;
           });
  const Sequence &left = sequence(), &right = other.sequence();
  if (&left == &right)
    return true;
  bool byItems = left.indexed() || left.form == Sequence::Form::keys || left.form == Sequence::Form::items;
  return left.form == right.form && byItems && left.items == right.items;
}

std::optional<std::partial_ordering> Value::compare(const Value &other) const {
  if (isNumber() && other.isNumber())
    return order(*this, other);
  if (isText() && other.isText())
    return order(view().compare(other.view()), 0);
  if (!(isList() && other.isList()) && !(isTuple() && other.isTuple()))
    return std::nullopt;
  const std::vector<Value> &left = sequence().items, &right = other.sequence().items;
  for (size_t i = 0; i < std::min(left.size(), right.size()); ++i)
    if (!(left[i] == right[i]))
      return left[i].compare(right[i]);
  return order(left.size(), right.size());
}

const Value *Dict::find(const Value &key) const {
  auto [begin, end] = index.equal_range(key.hash());
  for (auto it = begin; it != end; ++it)
    if (entries[it->second].first == key)
      return &entries[it->second].second;
  return nullptr;
}

const Value *Dict::find(std::string_view key) const {
  auto [begin, end] = index.equal_range(std::hash<std::string_view>()(key));
  for (auto it = begin; it != end; ++it)
    if (const Value &known = entries[it->second].first; known.isText() && known.view() == key)
      return &entries[it->second].second;
  return nullptr;
}

void Dict::set(Value key, Value value) {
  note(*this, key);
  note(*this, value);
  if (const Value *known = find(key)) {
    *const_cast<Value *>(known) = std::move(value);
    return;
  }
  index.emplace(key.hash(), entries.size());
  entries.emplace_back(std::move(key), std::move(value));
}

} // namespace lathe::chat
