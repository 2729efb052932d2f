//===- Json.h - JSON files read within bounds -----------------------------===//
#pragma once

#include "runtime/support/Error.h"

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace lathe {

/// Parses JSON. Nesting is limited to 64, a string to 4 MiB, and the number of values to 2^20, so that memory stays
/// below 256 MiB plus a few times the text. The member `skipped` of the root object is checked, but is null in the
/// result and not counted (the vocabulary of a tokenizer.json is large). Errors say path:line:column.
Result<nlohmann::json> parseJson(std::string_view text, const std::string &path, std::string_view skipped = {});

/// "path:line:column" of the value at `keys` (names of nested objects, joined by '.') in a text that parseJson accepts;
/// the root's place when there is none.
std::string placeInJson(std::string_view text, const std::string &path, std::string_view keys);

/// "the string "x"", "the number 3", "a list": a value in an error message.
std::string describeJson(const nlohmann::json &value);

} // namespace lathe
