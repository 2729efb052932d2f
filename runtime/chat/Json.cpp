#include "runtime/chat/Run.h"

#include "runtime/tokenizer/Utf8.h"

#include <algorithm>
#include <cmath>

namespace lathe::chat {
namespace {

/// json.dumps, whose defaults transformers changes in one thing: text stays as it is instead of becoming ASCII.
struct JsonWriter {
  Run &run;
  const std::string *indent;
  std::string_view itemSeparator, keySeparator;
  bool sortKeys, ascii;
  Text out = {};

  void newline(int level) {
    if (!indent)
      return;
    out.append("\n");
    if (run.charge(1 + indent->size() * static_cast<size_t>(level) / 16))
      for (int i = 0; i < level; ++i)
        out.append(*indent);
  }

  void string(std::string_view text) {
    std::string &bytes = out.bytes;
    bytes += '"';
    for (size_t position = 0; position < text.size();) {
      size_t begin = position;
      char32_t c = nextCharacter(text, position);
      constexpr std::string_view from = "\"\\\b\f\n\r\t", to = "\"\\bfnrt";
      if (size_t found = c < 0x80 ? from.find(static_cast<char>(c)) : from.npos; found != from.npos)
        (bytes += '\\') += to[found];
      else if (c < 0x20 || (ascii && c > 0x7E && c < 0x10000))
        bytes += fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
      else if (ascii && c >= 0x10000)
        bytes += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + ((static_cast<uint32_t>(c) - 0x10000) >> 10),
                             0xDC00 + (static_cast<uint32_t>(c) & 0x3FF));
      else
        bytes += text.substr(begin, position - begin);
    }
    bytes += '"';
  }

  std::string scalar(const Value &value) {
    if (value.isNone())
      return "null";
    if (value.isBoolean())
      return value.truthy() ? "true" : "false";
    if (value.isInteger())
      return fmt::format("{}", value.integer());
    double real = value.number();
    return std::isnan(real) ? "NaN" : std::isinf(real) ? (real > 0 ? "Infinity" : "-Infinity") : realText(real);
  }

  bool isScalar(const Value &value) const { return value.isNone() || value.isNumber(); }

  void write(const Value &value, int level) {
    if (run.failed())
      return;
    if (value.isText())
      string(value.view());
    else if (isScalar(value))
      out.append(scalar(value));
    else if (value.isList() || value.isTuple())
      writeList(value.sequence().items, level);
    else if (value.isDict())
      writeDict(value.dict(), level);
    else
      run.fail(
          fmt::format("tojson: a {} is no JSON", value.isUndefined() ? "value that is undefined" : value.typeName()));
  }

  void writeList(const std::vector<Value> &items, int level) {
    out.append("[");
    for (size_t i = 0; i < items.size(); ++i) {
      out.append(i ? itemSeparator : "");
      newline(level + 1);
      write(items[i], level + 1);
    }
    if (!items.empty())
      newline(level);
    out.append("]");
  }

  void writeDict(const Dict &dict, int level) {
    std::vector<const std::pair<Value, Value> *> entries;
    for (const auto &entry : dict.entries)
      entries.push_back(&entry);
    if (sortKeys)
      std::ranges::stable_sort(entries, [&](auto *a, auto *b) { return run.less(a->first, b->first); });
    out.append("{");
    for (size_t i = 0; i < entries.size(); ++i) {
      const auto &[key, item] = *entries[i];
      out.append(i ? itemSeparator : "");
      newline(level + 1);
      if (!key.isText() && !isScalar(key))
        run.fail(fmt::format("tojson: a {} is no key of a JSON object", key.typeName()));
      else
        string(key.isText() ? std::string(key.view()) : scalar(key));
      out.append(keySeparator);
      write(item, level + 1);
    }
    if (!entries.empty())
      newline(level);
    out.append("}");
  }
};

} // namespace

Text Run::json(const Value &value, const std::string *indent, std::string_view itemSeparator,
               std::string_view keySeparator, bool sortKeys, bool ascii) {
  if (!charge(value.weight()))
    return {};
  JsonWriter writer{*this, indent, itemSeparator, keySeparator, sortKeys, ascii};
  writer.write(value, 0);
  charge(writer.out.size() / 16);
  return Text::made(std::move(writer.out.bytes), value.hasInput());
}

} // namespace lathe::chat
