//===- TomlFile.h - TOML that nobody has to trust -------------------------===//
#pragma once

#include "runtime/support/Error.h"

#include <string>
#include <string_view>
#include <toml++/toml.h>

namespace lathe {

/// Parses a whole file of at most `most` bytes. Errors name `file` and line:column.
Result<toml::table> parseToml(std::string_view text, const std::string &file, size_t most);
/// "the integer 3", "a table": what an error says was found.
std::string describe(const toml::node &node);

} // namespace lathe
