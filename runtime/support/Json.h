//===- Json.h - JSON that nobody has to trust -----------------------------===//
#pragma once

#include "runtime/support/Error.h"

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lathe {

using Json = nlohmann::json;

/// Parses a whole document. Syntax errors and nesting beyond 64 levels are errors that name `file` and line:column.
Result<Json> parseJson(std::string_view text, std::string_view file);

/// The same, told as events: for those who keep what a document object does not, such as the order of keys. An event
/// that returns false ends the reading, which then is no error of this function.
Result<void> parseJsonEvents(std::string_view text, std::string_view file, nlohmann::json_sax<Json> &events);

/// Reads the fields of one JSON object with checks. The first thing wrong is kept in `error` together with where it was
/// ("plan.json: kernels[3].tiles"); reading then goes on with neutral values, so that a caller looks at `error` once.
class JsonReader {
public:
  JsonReader(const Json &value, std::string where, std::optional<Error> &error);

  bool has(const char *key) const;
  int64_t integer(const char *key, int64_t low, int64_t high);
  double number(const char *key, double low, double high);
  bool boolean(const char *key);
  std::string string(const char *key);
  std::vector<int64_t> integers(const char *key, int64_t low, int64_t high);
  std::vector<std::string> strings(const char *key);
  /// Calls `read` with a reader of every element of an array of objects.
  void objects(const char *key, const std::function<void(JsonReader &)> &read);
  /// Calls `read` with the name and a reader of every member of an object of objects.
  void members(const char *key, const std::function<void(const std::string &, JsonReader &)> &read);
  /// Refuses keys that are not in the list.
  void only(std::initializer_list<std::string_view> keys);
  /// Notes an error at this object, or at one of its keys.
  void refuse(const std::string &why);
  void refuse(const char *key, const std::string &why);
  bool failed() const { return error.has_value(); }

private:
  const Json *find(const char *key, const char *expected);
  const Json &value;
  std::string where;
  std::optional<Error> &error;
};

} // namespace lathe
