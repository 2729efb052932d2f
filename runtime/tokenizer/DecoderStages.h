//===- DecoderStages.h - the steps that decoders are made of --------------===//
#pragma once

#include "runtime/tokenizer/Decoder.h"
#include "runtime/tokenizer/Pattern.h"

namespace lathe {

using DecoderStage = std::unique_ptr<Decoder::Stage>;

/// Tokens with a space between.
DecoderStage decodeSpaced();
/// All tokens' bytes as one text; malformed parts become U+FFFD.
DecoderStage decodeByteLevel();
/// Tokens "<0x00>" to "<0xFF>" in a row as UTF-8; each malformed byte becomes a U+FFFD. `tokenizers` gives up the whole
/// row for one malformed byte; the library sentencepiece, whose invention these are, does it as here.
DecoderStage decodeByteFallback();
/// All tokens become one.
DecoderStage decodeFuse();
/// `replacement` becomes a space, or nothing in the first token with `dropsFirst`.
DecoderStage decodeMetaspace(std::string replacement, bool dropsFirst);
/// Tokens without `prefix` have a space in front, but for the first.
DecoderStage decodeWordPiece(std::string prefix, bool cleanup);
/// Takes up to `start` and `stop` times the character `content` from the ends of each token.
DecoderStage decodeStrip(std::string content, size_t start, size_t stop);
DecoderStage decodeReplaceText(std::string text, std::string content);
DecoderStage decodeReplacePattern(Pattern pattern, std::string content);
/// `suffix`, which ends a word, becomes a space, or nothing in the last token.
DecoderStage decodeWordSuffix(std::string suffix);

/// The byte that a token "<0x00>" to "<0xFF>" stands for, -1 for any other.
int byteOfToken(std::string_view token);

} // namespace lathe
