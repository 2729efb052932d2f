//===- OscSyntax.h - the .cfg syntax of confection 0.1 --------------------===//
//
// INI-like sections whose dotted names nest; `=` or `:` between key and value; an indented line goes on with the value
// above; `#` and `;` start a comment line; `${section:key}` stands for another value, `$$` for a dollar; a value is
// JSON, or else a string.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/support/Error.h"

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lathe {

struct OscValue {
  std::string text; ///< as written, until resolve
  nlohmann::json value;
  size_t line = 0, keyColumn = 0, valueColumn = 0;
};

struct OscSection {
  std::string name;
  size_t line = 0;
  std::map<std::string, OscValue> values;
};

class OscFile {
public:
  /// Sections, keys and values with every reference resolved. Errors name file:line:column, section and key.
  static Result<OscFile> parse(std::string_view text, const std::string &path);

  const std::string &path() const { return file; }
  const std::vector<OscSection> &sections() const { return all; }
  const OscSection *section(std::string_view name) const;

private:
  Result<void> readLines(std::string_view text);
  Result<void> readSection(std::string_view line, size_t number);
  Result<OscValue *> readValue(std::string_view line, size_t number);
  Result<std::string> resolve(const OscSection &section, const std::string &key, const OscValue &value, int depth);
  Result<void> resolveAll();

  std::string file;
  std::vector<OscSection> all;
  size_t references = 0; ///< followed so far
};

/// A value as the type a component wants, converted as pydantic does: "True", True and true are booleans, "28" is 28.
std::optional<int64_t> oscInteger(const nlohmann::json &value);
std::optional<double> oscNumber(const nlohmann::json &value);
std::optional<bool> oscBoolean(const nlohmann::json &value);

} // namespace lathe
