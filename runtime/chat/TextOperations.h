//===- TextOperations.h - what Python does to a str, on a Text ------------===//
//
// Whatever is cut out of a text keeps which of its bytes are input. Positions and counts are of bytes here; the methods
// and filters that call this charge the run for it.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/chat/Value.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lathe::chat {

/// All occurrences, or the first `count` where that is not negative.
Text replaceText(const Text &text, std::string_view from, const Text &to, int64_t count);
/// What `str.strip(characters)` leaves; with no characters, whitespace goes.
Text stripText(const Text &text, const std::string *characters, bool left, bool right);

/// Words between runs of whitespace; what follows the last split stays whole. `limit` splits at the most, -1: all.
std::vector<Value> splitSpace(const Text &text, int64_t limit, bool fromRight);
/// Parts between separators, which are not empty.
std::vector<Value> splitAt(const Text &text, std::string_view separator, int64_t limit, bool fromRight);
/// As str.splitlines: at every line break that Unicode has.
std::vector<Value> linesOf(const Text &text, bool keepEnds);

/// str.capitalize().
std::string capitalCase(std::string_view text);
/// str.title(): each letter behind a character without case begins a word.
std::string wordTitleCase(std::string_view text);
/// str.swapcase().
std::string swappedCase(std::string_view text);

} // namespace lathe::chat
