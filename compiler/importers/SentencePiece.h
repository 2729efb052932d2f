//===- SentencePiece.h - models of the library sentencepiece --------------===//
//
// A model file is one protocol buffer (google/sentencepiece, src/sentencepiece_model.proto); GGUF carries the same
// facts as metadata. Both become a tokenizer.json whose ids are those of the library.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/importers/TokenizerJson.h"

namespace lathe {

/// The numbers are those of the protocol buffer and of tokenizer.ggml.token_type.
enum class PieceType { normal = 1, unknown = 2, control = 3, userDefined = 4, unused = 5, byte = 6 };

struct SentencePiece {
  std::string_view text;
  float score = 0;
  PieceType type = PieceType::normal;
};

struct SentencePieceModel {
  enum class Algorithm { unigram = 1, bytePair = 2, word = 3, character = 4 };
  Algorithm algorithm = Algorithm::unigram;
  std::vector<SentencePiece> pieces; ///< by id; views of the file
  std::string_view charsMap;         ///< precompiled_charsmap; empty: none
  bool addDummyPrefix = true, removeExtraWhitespaces = true, escapeWhitespaces = true;
  bool byteFallback = false;
  bool whitespaceAsSuffix = false;
  std::optional<int64_t> bosId, eosId;
  /// User-defined pieces cut the text before anything else is done, as llama.cpp has it; else they are pieces.
  bool cutsAtUserDefined = false;
};

/// Views of `bytes`. `path` is for messages, which name the byte.
Result<SentencePieceModel> parseSentencePiece(std::string_view bytes, const std::string &path);

/// All but post-processor and facts that are not sentencepiece's own. `place` begins messages.
Result<TokenizerParts> translateSentencePiece(const SentencePieceModel &model, const std::string &place);

} // namespace lathe
