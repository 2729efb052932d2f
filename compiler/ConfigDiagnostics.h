//===- ConfigDiagnostics.h - the words errors about configs are made of ---===//
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace lathe {

/// `text` in double quotes, printable, cut after 60 bytes: safe in a one-line message whatever the input holds.
std::string inQuotes(std::string_view text);
/// "a, b, c".
std::string listed(std::span<const std::string_view> names);
/// The name within a few edits of `name`, or "" when none is near.
std::string_view nearestName(std::string_view name, std::span<const std::string_view> names);
/// What to do about a wrong name: "; did you mean 'x'? known: x, y" (the question only when one is near).
std::string suggestion(std::string_view name, std::span<const std::string_view> names);
/// A copy that is UTF-8 without control characters: other bytes become '?'. For names shown to people.
std::string printable(std::string_view text);
/// Whether every byte belongs to a well-formed UTF-8 character.
bool isUtf8(std::string_view text);

} // namespace lathe
