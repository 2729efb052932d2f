#include "runtime/support/Json.h"

#include <algorithm>

namespace lathe {
namespace {

constexpr int kMaxDepth = 64;

/// Stands before other events: a limit on depth, and the place of an error kept instead of thrown.
class Guard : public nlohmann::json_sax<Json> {
public:
  explicit Guard(nlohmann::json_sax<Json> &events) : events(events) {}
  bool null() override { return events.null(); }
  bool boolean(bool value) override { return events.boolean(value); }
  bool number_integer(number_integer_t value) override { return events.number_integer(value); }
  bool number_unsigned(number_unsigned_t value) override { return events.number_unsigned(value); }
  bool number_float(number_float_t value, const string_t &text) override { return events.number_float(value, text); }
  bool string(string_t &value) override { return events.string(value); }
  bool binary(binary_t &value) override { return events.binary(value); }
  bool key(string_t &value) override { return events.key(value); }
  bool start_object(size_t count) override { return descend() && events.start_object(count); }
  bool start_array(size_t count) override { return descend() && events.start_array(count); }
  bool end_object() override { return --depth, events.end_object(); }
  bool end_array() override { return --depth, events.end_array(); }
  bool parse_error(size_t position, const std::string &, const nlohmann::detail::exception &) override {
    at = position;
    wrong = true;
    return false;
  }

  size_t at = 0; ///< characters read when the text went wrong
  bool wrong = false, tooDeep = false;

private:
  bool descend() {
    tooDeep = ++depth > kMaxDepth;
    return !tooDeep;
  }
  nlohmann::json_sax<Json> &events;
  int depth = 0;
};

/// The library's own document builder as events.
class Builder : public nlohmann::json_sax<Json> {
public:
  explicit Builder(Json &document) : parser(document, false) {}
  bool null() override { return parser.null(); }
  bool boolean(bool value) override { return parser.boolean(value); }
  bool number_integer(number_integer_t value) override { return parser.number_integer(value); }
  bool number_unsigned(number_unsigned_t value) override { return parser.number_unsigned(value); }
  bool number_float(number_float_t value, const string_t &text) override { return parser.number_float(value, text); }
  bool string(string_t &value) override { return parser.string(value); }
  bool binary(binary_t &value) override { return parser.binary(value); }
  bool key(string_t &value) override { return parser.key(value); }
  bool start_object(size_t count) override { return parser.start_object(count); }
  bool start_array(size_t count) override { return parser.start_array(count); }
  bool end_object() override { return parser.end_object(); }
  bool end_array() override { return parser.end_array(); }
  bool parse_error(size_t, const std::string &, const nlohmann::detail::exception &) override { return false; }

private:
  nlohmann::detail::json_sax_dom_parser<Json> parser;
};

std::string excerpt(const Json &value) {
  std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  return text.size() <= 40 ? text : text.substr(0, 37) + "...";
}

} // namespace

Result<void> parseJsonEvents(std::string_view text, std::string_view file, nlohmann::json_sax<Json> &events) {
  Guard guard(events);
  if (Json::sax_parse(text.begin(), text.end(), &guard) || (!guard.wrong && !guard.tooDeep))
    return {};
  if (guard.tooDeep)
    return fail(ExitCode::badInput, "{}: expected at most {} levels of nesting", file, kMaxDepth);
  std::string_view before = text.substr(0, std::min(text.size(), guard.at ? guard.at - 1 : 0));
  size_t line = 1 + std::count(before.begin(), before.end(), '\n');
  size_t column = before.size() - (before.rfind('\n') == std::string_view::npos ? 0 : before.rfind('\n') + 1) + 1;
  std::string found =
      guard.at > text.size() || text.empty() ? "the end of the text" : excerpt(Json(text.substr(before.size(), 20)));
  return fail(ExitCode::badInput, "{}:{}:{}: expected JSON, found {}", file, line, column, found);
}

Result<Json> parseJson(std::string_view text, std::string_view file) {
  Json document;
  Builder builder(document);
  if (auto done = parseJsonEvents(text, file, builder); !done)
    return propagate(done);
  return document;
}

JsonReader::JsonReader(const Json &value, std::string where, std::optional<Error> &error)
    : value(value), where(std::move(where)), error(error) {
  if (!value.is_object())
    refuse(fmt::format("expected an object, found {}", excerpt(value)));
}

void JsonReader::refuse(const std::string &why) {
  if (!error)
    error = Error{ExitCode::badInput, fmt::format("{}: {}", where, why)};
}

void JsonReader::refuse(const char *key, const std::string &why) {
  if (!error)
    error = Error{ExitCode::badInput, fmt::format("{}: {}: {}", where, key, why)};
}

bool JsonReader::has(const char *key) const { return value.is_object() && value.contains(key); }

const Json *JsonReader::find(const char *key, const char *expected) {
  if (error)
    return nullptr;
  auto found = value.find(key);
  if (found != value.end())
    return &*found;
  refuse(key, fmt::format("missing, expected {}", expected));
  return nullptr;
}

int64_t JsonReader::integer(const char *key, int64_t low, int64_t high) {
  const Json *field = find(key, "an integer");
  if (!field)
    return low;
  bool fits = field->is_number_integer() &&
              !(field->is_number_unsigned() && field->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX));
  int64_t number = fits ? field->get<int64_t>() : 0;
  if (fits && number >= low && number <= high)
    return number;
  refuse(key, fmt::format("expected an integer from {} to {}, found {}", low, high, excerpt(*field)));
  return low;
}

double JsonReader::number(const char *key, double low, double high) {
  const Json *field = find(key, "a number");
  if (!field)
    return low;
  if (field->is_number() && field->get<double>() >= low && field->get<double>() <= high)
    return field->get<double>();
  refuse(key, fmt::format("expected a number from {} to {}, found {}", low, high, excerpt(*field)));
  return low;
}

bool JsonReader::boolean(const char *key) {
  const Json *field = find(key, "true or false");
  if (field && !field->is_boolean())
    refuse(key, fmt::format("expected true or false, found {}", excerpt(*field)));
  return field && field->is_boolean() && field->get<bool>();
}

std::string JsonReader::string(const char *key) {
  const Json *field = find(key, "a string");
  if (field && field->is_string())
    return field->get<std::string>();
  if (field)
    refuse(key, fmt::format("expected a string, found {}", excerpt(*field)));
  return {};
}

std::vector<int64_t> JsonReader::integers(const char *key, int64_t low, int64_t high) {
  std::vector<int64_t> numbers;
  const Json *field = find(key, "a list of integers");
  if (field && !field->is_array())
    refuse(key, fmt::format("expected a list of integers, found {}", excerpt(*field)));
  for (size_t i = 0; field && field->is_array() && i < field->size() && !error; ++i) {
    const Json &element = (*field)[i];
    bool fits = element.is_number_integer() && !(element.is_number_unsigned() && element.get<uint64_t>() > INT64_MAX);
    if (!fits || element.get<int64_t>() < low || element.get<int64_t>() > high)
      refuse(fmt::format("{}[{}]", key, i).c_str(),
             fmt::format("expected an integer from {} to {}, found {}", low, high, excerpt(element)));
    else
      numbers.push_back(element.get<int64_t>());
  }
  return numbers;
}

std::vector<std::string> JsonReader::strings(const char *key) {
  std::vector<std::string> texts;
  const Json *field = find(key, "a list of strings");
  if (field && !field->is_array())
    refuse(key, fmt::format("expected a list of strings, found {}", excerpt(*field)));
  for (size_t i = 0; field && field->is_array() && i < field->size() && !error; ++i) {
    if ((*field)[i].is_string())
      texts.push_back((*field)[i].get<std::string>());
    else
      refuse(fmt::format("{}[{}]", key, i).c_str(), fmt::format("expected a string, found {}", excerpt((*field)[i])));
  }
  return texts;
}

void JsonReader::objects(const char *key, const std::function<void(JsonReader &)> &read) {
  const Json *field = find(key, "a list of objects");
  if (field && !field->is_array())
    refuse(key, fmt::format("expected a list of objects, found {}", excerpt(*field)));
  for (size_t i = 0; field && field->is_array() && i < field->size() && !error; ++i) {
    JsonReader element((*field)[i], fmt::format("{}: {}[{}]", where, key, i), error);
    if (!error)
      read(element);
  }
}

void JsonReader::members(const char *key, const std::function<void(const std::string &, JsonReader &)> &read) {
  const Json *field = find(key, "an object");
  if (field && !field->is_object())
    refuse(key, fmt::format("expected an object, found {}", excerpt(*field)));
  if (!field || !field->is_object())
    return;
  for (const auto &[name, element] : field->items()) {
    JsonReader reader(element, fmt::format("{}: {}.{}", where, key, name), error);
    if (error)
      return;
    read(name, reader);
  }
}

void JsonReader::only(std::initializer_list<std::string_view> keys) {
  if (error)
    return;
  for (const auto &[name, element] : value.items())
    if (std::find(keys.begin(), keys.end(), name) == keys.end())
      return refuse(fmt::format("unknown key {}, expected one of {}", excerpt(Json(name)), fmt::join(keys, ", ")));
}

} // namespace lathe
