#include "runtime/chat/Run.h"

#include "runtime/tokenizer/Utf8.h"

#include <algorithm>

namespace lathe::chat {
namespace {

using Values = std::vector<Value>;

/// jinja2's make_attrgetter: "a.b.0" walks items, numbers as indices; nothing for the value itself.
class Getter {
public:
  Getter(Run &run, const std::optional<Value> &attribute, bool foldCase = false, std::optional<Value> otherwise = {})
      : run(run), foldCase(foldCase), otherwise(std::move(otherwise)) {
    if (!attribute || attribute->isNone())
      return;
    if (attribute->isInteger())
      path.push_back(*attribute);
    else if (!attribute->isText())
      run.fail(fmt::format("attribute: expected a str, found {}", attribute->typeName()));
    else
      readPath(attribute->view());
  }

  Value operator()(Value value) const {
    for (const Value &step : path) {
      value = run.item(value, step);
      if (value.isUndefined() && otherwise)
        value = *otherwise;
    }
    if (foldCase && value.isText())
      return Text::made(lowerCase(value.view()), value.hasInput());
    return value;
  }

private:
  Run &run;
  bool foldCase;
  std::optional<Value> otherwise;
  Values path;

  void readPath(std::string_view text) {
    while (true) {
      std::string_view part = text.substr(0, text.find('.'));
      bool number = !part.empty() && part.size() < 18 && part.find_first_not_of("0123456789") == part.npos;
      path.push_back(number ? Value(static_cast<int64_t>(std::stoll(std::string(part))))
                            : Value::literal(std::string(part)));
      if (part.size() == text.size())
        break;
      text.remove_prefix(part.size() + 1);
    }
  }
};

std::optional<Value> optional(const Bound &bound, size_t index) {
  return bound.has(index) ? std::optional(bound[index]) : std::nullopt;
}

Value length(Run &run, Arguments &arguments) {
  Bound bound(run, "length", {"value"}, 1, arguments);
  if (!bound)
    return {};
  auto count = run.length(bound[0]);
  return count ? Value(*count) : run.fail(fmt::format("length: a {} has none", bound[0].typeName()));
}

Value defaultTo(Run &run, Arguments &arguments) {
  Bound bound(run, "default", {"value", "default_value", "boolean"}, 1, arguments);
  if (!bound)
    return {};
  bool missing = bound[0].isUndefined() || (bound.flag(2, false) && !bound[0].truthy());
  return missing ? bound.value(1, Value::literal("")) : bound[0];
}

Value first(Run &run, Arguments &arguments) {
  Bound bound(run, "first", {"seq"}, 1, arguments);
  if (!bound)
    return {};
  auto items = run.iterate(bound[0]);
  return items.empty() ? Value::undefined("the first item of nothing") : items[0];
}

Value last(Run &run, Arguments &arguments) {
  Bound bound(run, "last", {"seq"}, 1, arguments);
  if (!bound)
    return {};
  if (bound[0].isSequence() && bound[0].sequence().form == Sequence::Form::generator)
    return run.fail("last: a generator cannot be walked from its end; use the filter list");
  auto items = run.iterate(bound[0]);
  return items.empty() ? Value::undefined("the last item of nothing") : items[items.size() - 1];
}

Value list(Run &run, Arguments &arguments) {
  Bound bound(run, "list", {"value"}, 1, arguments);
  return bound ? Value::list(run.iterate(bound[0]).values()) : Value();
}

Value join(Run &run, Arguments &arguments) {
  Bound bound(run, "join", {"value", "d", "attribute"}, 1, arguments);
  if (!bound)
    return {};
  Text separator = bound.has(1) ? run.str(bound[1]) : Text(), out;
  Getter get(run, optional(bound, 2));
  auto items = run.iterate(bound[0]);
  for (size_t i = 0; i < items.size(); ++i) {
    Text piece = run.str(get(items[i]));
    if (!run.charge(1 + (piece.size() + separator.size()) / 16))
      return {};
    if (i)
      out.append(separator);
    out.append(piece);
  }
  return out;
}

Value reverse(Run &run, Arguments &arguments) {
  Bound bound(run, "reverse", {"value"}, 1, arguments);
  if (!bound)
    return {};
  if (bound[0].isText())
    return run.slice(bound[0], None(), None(), int64_t(-1));
  bool generator = bound[0].isSequence() && bound[0].sequence().form == Sequence::Form::generator;
  Values items = run.iterate(bound[0]).values();
  std::ranges::reverse(items);
  return generator ? Value::list(std::move(items)) : Value::generator(std::move(items));
}

Value itemsOf(Run &run, Arguments &arguments) {
  Bound bound(run, "items", {"value"}, 1, arguments);
  if (!bound)
    return {};
  Values pairs;
  if (bound[0].isDict()) {
    if (run.charge(1 + bound[0].dict().entries.size()))
      for (const auto &[key, value] : bound[0].dict().entries)
        pairs.push_back(Value::tuple({key, value}));
  } else if (!bound[0].isUndefined()) {
    return run.fail(fmt::format("items: expected a dict, found {}", bound[0].typeName()));
  }
  return Value::generator(std::move(pairs));
}

/// Sorts by keys; a failure in comparing leaves some order and the error.
void sortByKeys(Run &run, Values &items, const std::vector<Value> &keys, bool descending) {
  std::vector<size_t> order(items.size());
  for (size_t i = 0; i < order.size(); ++i)
    order[i] = i;
  // The order that NaN and failures give is none; the merge sort of libstdc++ stays within bounds with any answers.
  std::ranges::stable_sort(order, [&](size_t a, size_t b) {
    return !run.failed() && (descending ? run.less(keys[b], keys[a]) : run.less(keys[a], keys[b]));
  });
  Values sorted;
  for (size_t i : order)
    sorted.push_back(items[i]);
  items = std::move(sorted);
}

Value sort(Run &run, Arguments &arguments) {
  Bound bound(run, "sort", {"value", "reverse", "case_sensitive", "attribute"}, 1, arguments);
  if (!bound)
    return {};
  Values items = run.iterate(bound[0]).values(), keys;
  std::vector<Getter> getters;
  bool fold = !bound.flag(2, false);
  if (bound.has(3) && bound[3].isText()) { // several attributes with commas between them
    std::string_view rest = bound[3].view();
    while (true) {
      std::string_view part = rest.substr(0, rest.find(','));
      getters.emplace_back(run, Value::literal(std::string(part)), fold);
      if (part.size() == rest.size())
        break;
      rest.remove_prefix(part.size() + 1);
    }
  } else {
    getters.emplace_back(run, optional(bound, 3), fold);
  }
  for (const Value &item : items) {
    Values parts;
    for (const Getter &get : getters)
      parts.push_back(get(item));
    keys.push_back(Value::list(std::move(parts))); // also one alone: lists compare equal items without ordering them
  }
  sortByKeys(run, items, keys, bound.flag(1, false));
  return Value::list(std::move(items));
}

Value dictSort(Run &run, Arguments &arguments) {
  Bound bound(run, "dictsort", {"value", "case_sensitive", "by", "reverse"}, 1, arguments);
  if (!bound)
    return {};
  Text by = bound.text(2, "key");
  if (!bound[0].isDict())
    return run.fail(fmt::format("dictsort: expected a dict, found {}", bound[0].typeName()));
  if (by.bytes != "key" && by.bytes != "value")
    return run.fail("dictsort: by: expected 'key' or 'value'");
  Values items, keys;
  Getter get(run, std::nullopt, !bound.flag(1, false));
  for (const auto &[key, value] : bound[0].dict().entries) {
    items.push_back(Value::tuple({key, value}));
    keys.push_back(get(by.bytes == "key" ? key : value));
  }
  run.charge(1 + items.size());
  sortByKeys(run, items, keys, bound.flag(3, false));
  return Value::list(std::move(items));
}

Value unique(Run &run, Arguments &arguments) {
  Bound bound(run, "unique", {"value", "case_sensitive", "attribute"}, 1, arguments);
  if (!bound)
    return {};
  Getter get(run, optional(bound, 2), !bound.flag(1, false));
  Dict seen;
  Values out;
  for (const Value &item : run.iterate(bound[0])) {
    Value key = get(item);
    if (!key.hashable())
      return run.fail(fmt::format("unique: a {} cannot be compared by its hash", key.typeName()));
    if (!run.charge(key.weight()))
      return {};
    if (!seen.find(key)) {
      seen.set(key, None());
      out.push_back(item);
    }
  }
  return Value::generator(std::move(out));
}

template <bool largest> Value extreme(Run &run, Arguments &arguments) {
  Bound bound(run, largest ? "max" : "min", {"value", "case_sensitive", "attribute"}, 1, arguments);
  if (!bound)
    return {};
  auto items = run.iterate(bound[0]);
  if (items.empty())
    return Value::undefined(fmt::format("the {} of nothing", largest ? "max" : "min"));
  Getter get(run, optional(bound, 2), !bound.flag(1, false));
  Value best = items[0], key = get(best);
  for (size_t i = 1; i < items.size() && !run.failed(); ++i) {
    Value other = get(items[i]);
    if (largest ? run.less(key, other) : run.less(other, key))
      best = items[i], key = other;
  }
  return best;
}

Value sum(Run &run, Arguments &arguments) {
  Bound bound(run, "sum", {"iterable", "attribute", "start"}, 1, arguments);
  if (!bound)
    return {};
  Getter get(run, optional(bound, 1));
  Value total = bound.value(2, int64_t(0));
  if (total.isText())
    return run.fail("sum: the start is a str; use the filter join");
  for (const Value &item : run.iterate(bound[0]))
    if (total = run.arithmetic("+", total, get(item)); run.failed())
      return {};
  return total;
}

Value map(Run &run, Arguments &arguments) {
  Values out;
  if (!arguments.values[0].truthy()) // also where it cannot be walked
    return Value::generator({});
  if (arguments.values.size() == 1 && !arguments.named.empty() && arguments.named[0].first == "attribute") {
    Bound bound(run, "map", {"value", "attribute", "default"}, 2, arguments);
    if (!bound)
      return {};
    Getter get(run, optional(bound, 1), false, optional(bound, 2));
    for (const Value &item : run.iterate(arguments.values[0]))
      out.push_back(get(item));
    return Value::generator(std::move(out));
  }
  if (arguments.values.size() < 2 || !arguments.values[1].isText())
    return run.fail("map: expected the name of a filter, or attribute=");
  std::string name(arguments.values[1].view());
  for (const Value &item : run.iterate(arguments.values[0])) {
    Arguments inner{{item}, arguments.named};
    inner.values.insert(inner.values.end(), arguments.values.begin() + 2, arguments.values.end());
    out.push_back(run.filter(name, inner));
    if (!run.charge())
      return {};
  }
  return Value::generator(std::move(out));
}

/// select, reject and their kind: items whose value, or an attribute of it, passes a test.
template <bool wanted, bool byAttribute> Value select(Run &run, Arguments &arguments) {
  size_t next = 1;
  std::optional<Value> attribute;
  if (byAttribute) {
    if (arguments.values.size() < 2)
      return run.fail("selectattr: expected the name of an attribute");
    attribute = arguments.values[next++];
  }
  Getter get(run, attribute);
  std::optional<std::string> test;
  if (next < arguments.values.size()) {
    if (!arguments.values[next].isText())
      return run.fail("select: expected the name of a test");
    test = std::string(arguments.values[next++].view());
  }
  Values out;
  if (!arguments.values[0].truthy())
    return Value::generator({});
  for (const Value &item : run.iterate(arguments.values[0])) {
    Value value = get(item);
    bool passes = value.truthy();
    if (test) {
      Arguments inner{{value}, arguments.named};
      inner.values.insert(inner.values.end(), arguments.values.begin() + static_cast<ptrdiff_t>(next),
                          arguments.values.end());
      passes = run.test(*test, inner);
    }
    if (!run.charge())
      return {};
    if (passes == wanted)
      out.push_back(item);
  }
  return Value::generator(std::move(out));
}

Value batch(Run &run, Arguments &arguments) {
  Bound bound(run, "batch", {"value", "linecount", "fill_with"}, 2, arguments);
  if (!bound)
    return {};
  int64_t count = bound.integer(1, 1);
  if (!bound || count < 1)
    return run.fail("batch: expected a positive number of items");
  Values out, row;
  for (const Value &item : run.iterate(bound[0])) {
    if (static_cast<int64_t>(row.size()) == count)
      out.push_back(Value::list(std::exchange(row, {})));
    row.push_back(item);
  }
  if (!row.empty()) {
    if (bound.has(2) && !bound[2].isNone() && run.charge(static_cast<uint64_t>(count)))
      row.resize(static_cast<size_t>(count), bound[2]);
    out.push_back(Value::list(std::move(row)));
  }
  return Value::generator(std::move(out));
}

Value attr(Run &run, Arguments &arguments) {
  Bound bound(run, "attr", {"obj", "name"}, 2, arguments);
  if (!bound)
    return {};
  Text name = run.str(bound[1]);
  if (bound[0].isUndefined())
    return run.fail(bound[0].whyUndefined());
  if (bound[0].isDict()) { // attributes only: a dict's items are none
    auto method = findMethod(bound[0], name.view());
    return method ? *method : Value::undefined(fmt::format("a dict has no attribute {}", quote(name.view())));
  }
  return run.attribute(bound[0], name.view());
}

constexpr std::pair<std::string_view, Filter> kFilters[] = {
    {"attr", attr},
    {"batch", batch},
    {"count", length},
    {"d", defaultTo},
    {"default", defaultTo},
    {"dictsort", dictSort},
    {"first", first},
    {"items", itemsOf},
    {"join", join},
    {"last", last},
    {"length", length},
    {"list", list},
    {"map", map},
    {"max", extreme<true>},
    {"min", extreme<false>},
    {"reject", select<false, false>},
    {"rejectattr", select<false, true>},
    {"reverse", reverse},
    {"select", select<true, false>},
    {"selectattr", select<true, true>},
    {"sort", sort},
    {"sum", sum},
    {"unique", unique},
};

} // namespace

Filter findSequenceFilter(std::string_view name) {
  for (const auto &[known, filter] : kFilters)
    if (known == name)
      return filter;
  return nullptr;
}

Filter findFilter(std::string_view name) {
  Filter filter = findTextFilter(name);
  return filter ? filter : findSequenceFilter(name);
}

} // namespace lathe::chat
