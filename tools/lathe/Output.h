//===- Output.h - standard output as data ---------------------------------===//
#pragma once

#include "runtime/support/Error.h"
#include "runtime/support/Json.h"

#include <string_view>

namespace lathe {

/// Writes all of it at once, unbuffered, so that a stream shows what there is.
Result<void> writeOutput(std::string_view text);

/// One line of JSON. Bytes that are no UTF-8 become U+FFFD.
std::string jsonLine(const nlohmann::ordered_json &value);

} // namespace lathe
