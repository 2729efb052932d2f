//===- Importers.h - the ways into a ModelConfig --------------------------===//
//
// An importer translates names and nothing else. compiler/Weights.h has the one entry,
// importModel, which decides what an input is and calls these.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Weights.h"
#include "compiler/importers/GgufFile.h"
#include "runtime/support/Error.h"

#include <memory>
#include <string>
#include <string_view>

namespace lathe {

/// config.json of Hugging Face transformers, and generation_config.json beside it when there is one.
Result<ModelConfig> importHuggingFaceConfig(const std::string &path);
/// What generation_config.json says of the ends of a text and of sampling goes into `config`.
Result<void> importGenerationConfig(const std::string &path, ModelConfig &config);
/// The tokenizer of a folder: its tokenizer.json with the object "lathe" added, else tokenizer.model or spiece.model
/// (sentencepiece), vocab.json and merges.txt (byte-level BPE), or vocab.txt (WordPiece); empty when there is none.
Result<std::string> importHuggingFaceTokenizer(const std::string &folder, const ModelConfig &config);
/// A safetensors file, or a folder with model.safetensors or model.safetensors.index.json; null when a folder has
/// neither.
Result<std::shared_ptr<const WeightSource>> openSafetensors(const std::string &path);

Result<ModelConfig> importGgufConfig(const GgufFile &file);
/// The tokenizer of the metadata as a tokenizer.json: gpt2, llama, t5 and bert; empty for other kinds.
Result<std::string> importGgufTokenizer(const GgufFile &file, const ModelConfig &config);
std::shared_ptr<const WeightSource> openGgufWeights(std::shared_ptr<const GgufFile> file);

/// The configuration of OSC-Transformers (github.com/di-osc/osc-transformers), in the syntax of confection 0.1.
Result<ModelConfig> importOscConfig(std::string_view text, const std::string &path);

/// What the object "lathe" of a tokenizer.json says.
struct ImportedFacts {
  std::optional<int64_t> bosTokenId;
  std::vector<int64_t> eosTokenIds;
  bool addBos = false;
  std::string chatTemplate; ///< empty: none
  /// Asks for what the library sentencepiece does otherwise than `tokenizers` (runtime/tokenizer/Model.h).
  struct SentencePiece {
    std::vector<int64_t> userDefinedIds, unmatchedIds;
    bool singlePrecision = true;
  };
  std::optional<SentencePiece> sentencePiece = {};
};
/// "lathe":{…}, without a comma.
std::string printTokenizerFacts(const ImportedFacts &facts);

} // namespace lathe
