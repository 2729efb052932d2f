//===- Fixtures.h - tokenizers for tests ----------------------------------===//
#pragma once

#include "runtime/Tokenizer.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace lathe::test {

/// The text of test/data/tokenizer/NAME.json.
std::string fixtureText(const std::string &name);
std::shared_ptr<const Tokenizer> fixture(const std::string &name);

/// A tokenizer of a few tokens: a to e, space, the bytes of ä and 你, "ab", "abc" by two ways, and <s>, </s> special.
nlohmann::json tinyJson();
std::shared_ptr<const Tokenizer> parsed(const nlohmann::json &json);
/// The message of the error that parsing gives; fails the test when there is none.
std::string parseError(const std::string &text);
inline std::string parseError(const nlohmann::json &json) { return parseError(json.dump()); }

} // namespace lathe::test
