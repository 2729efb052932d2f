//===- VocabularyFiles.h - tokenizers of folders without tokenizer.json ---===//
#pragma once

#include "compiler/importers/Importers.h"

#include <filesystem>
#include <nlohmann/json.hpp>

namespace lathe {

/// The members of an optional JSON file; an empty object when there is none.
Result<nlohmann::json> readSideFile(const std::filesystem::path &path);
/// A token is written as a string or as an object with its "content"; empty where it is neither.
std::string tokenText(const nlohmann::json &side, const char *key);

/// What stands beside a vocabulary.
struct TokenizerSide {
  const nlohmann::json &config;      ///< tokenizer_config.json
  const nlohmann::json &specialsMap; ///< special_tokens_map.json
  std::string chatTemplate;
};

/// A tokenizer.json of tokenizer.model or spiece.model, of vocab.json and merges.txt, or of vocab.txt, as the tokenizer
/// class that tokenizer_config.json names would have it; empty when there are none of them.
Result<std::string> importVocabularyFiles(const std::filesystem::path &folder, TokenizerSide side,
                                          const ModelConfig &config);

} // namespace lathe
