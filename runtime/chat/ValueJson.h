//===- ValueJson.h - JSON to values and back ------------------------------===//
#pragma once

#include "runtime/chat/Value.h"
#include "runtime/support/Error.h"

#include <string_view>

namespace lathe::chat {

/// JSON as Python's json.loads gives it: keys in their order, 1 an int and 1.0 a float. All of its text is input. Bad
/// UTF-8 becomes U+FFFD; syntax errors, numbers beyond 64 bits and nesting beyond 64 levels are errors that name
/// `file`.
Result<Value> parseValue(std::string_view text, std::string_view file);

} // namespace lathe::chat
