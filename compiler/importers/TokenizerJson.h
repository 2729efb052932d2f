//===- TokenizerJson.h - what every tokenizer is translated to ------------===//
#pragma once

#include "compiler/importers/Importers.h"

#include <nlohmann/json.hpp>

namespace lathe {

/// The parts of a tokenizer.json as Hugging Face's `tokenizers` has it.
struct TokenizerParts {
  nlohmann::json addedTokens = nlohmann::json::array();
  nlohmann::json normalizer, preTokenizer, postProcessor, decoder; ///< null: none
  std::string model;                                               ///< JSON text, as it is long
  ImportedFacts facts;
};
std::string printTokenizer(const TokenizerParts &parts);

/// Bytes of the vocabulary's and of the merges' text, each.
constexpr size_t kMaxTokenizerPart = size_t{64} << 20;

std::string printJson(const nlohmann::json &value);
void appendJsonString(std::string &text, std::string_view value);
nlohmann::json addedTokenJson(int64_t id, std::string_view content, bool special);
nlohmann::json byteLevelJson(bool addPrefixSpace, bool trimOffsets, bool useRegex);
nlohmann::json sequenceJson(const char *members, std::vector<nlohmann::json> steps);
nlohmann::json replaceJson(const char *kind, std::string_view pattern, std::string_view content);

struct SpecialToken {
  int64_t id;
  std::string_view text;
};
/// A post-processor that puts a token in front of a text and one behind it.
nlohmann::json templateJson(std::optional<SpecialToken> before, std::optional<SpecialToken> behind);

/// NFC and the split of Qwen2's tokenizer.json, which vocabulary files and GGUF only name.
extern const std::string_view kQwen2Pattern;
nlohmann::json splitThenBytesJson(std::string_view pattern);

} // namespace lathe
