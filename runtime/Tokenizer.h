//===- Tokenizer.h - text to ids and back ---------------------------------===//
//
// The artifact carries `tokenizer.json` in the form of Hugging Face's `tokenizers`, plus a "lathe" object: bos/eos ids,
// whether to add BOS, the chat template, and what the library sentencepiece does otherwise. Importers translate
// sentencepiece models, vocabulary files and GGUF metadata to that form (compiler/importers/), so the runtime knows
// one.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/support/Error.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lathe {

/// Bytes of a text.
struct TextRange {
  size_t begin = 0, end = 0;
};

struct EncodeOptions {
  bool addSpecial = true;                ///< BOS/EOS as the model's post-processor says
  bool parseSpecial = true;              ///< special tokens written out in the text become their ids
  std::span<const TextRange> plain = {}; ///< except where they touch these ranges, which stand in order
};

/// What the artifact's tokenizer says beside the vocabulary.
struct TokenizerFacts {
  std::optional<int32_t> bosTokenId;
  std::vector<int32_t> eosTokenIds;
  std::string chatTemplate; ///< Jinja; empty: none
};

/// The text of tokens that come one by one. What a token becomes may depend on those before it: the first word has no
/// space in front, bytes make characters together.
class DecodeStream {
public:
  virtual ~DecodeStream() = default;
  /// The text that is certain from now on, well-formed UTF-8. An id of no token adds nothing.
  virtual std::string push(int32_t id) = 0;
  /// What was held back; what the tokens' bytes leave malformed becomes U+FFFD. The stream is at its end.
  virtual std::string finish() = 0;
};

/// A tokenizer. Immutable after parse, so safe to share between threads.
class Tokenizer : public std::enable_shared_from_this<Tokenizer> {
public:
  /// Never trusts the text: bad JSON, unknown component types and broken merges are errors that say where.
  /// `truncation` and `padding` are ignored. At most 64 MiB, ids below 2^21, added tokens of 256 bytes.
  static Result<std::shared_ptr<const Tokenizer>> parse(std::string_view json);
  virtual ~Tokenizer() = default;

  /// Any bytes may be given; malformed UTF-8 is encoded as `tokenizers` encodes it after lossy decoding.
  /// A pattern that backtracks without end stops matching: the rest of the text is one word.
  virtual std::vector<int32_t> encode(std::string_view text, const EncodeOptions &options = {}) const = 0;
  /// What one token is within a text, behind others: its bytes where they may be a part of a UTF-8 character; empty for
  /// special tokens when skipSpecial. Texts are made by `decode` and `startDecoding`, as pieces do not just add up.
  virtual std::string piece(int32_t id, bool skipSpecial = true) const = 0;
  virtual std::unique_ptr<DecodeStream> startDecoding(bool skipSpecial = true) const = 0;
  virtual int32_t size() const = 0; ///< ids are below this
  virtual std::optional<int32_t> id(std::string_view token) const = 0;
  const TokenizerFacts &facts() const { return facts_; }

  /// What a stream gives for all of `ids`. Well-formed UTF-8 always.
  std::string decode(std::span<const int32_t> ids, bool skipSpecial = true) const;

protected:
  TokenizerFacts facts_;
};

/// Turns tokens into text that can be shown at once: holds back what the next token may change, as the bytes of an
/// unfinished UTF-8 character, and, while `stops` are given, a tail that may become a stop string.
class TextStream {
public:
  TextStream(std::shared_ptr<const Tokenizer> tokenizer, std::vector<std::string> stops = {});
  /// The text that became safe to show. Sets stopped() when a stop string was completed; what precedes it is returned,
  /// the stop string and what follows are dropped.
  std::string push(int32_t id);
  /// What was held back, up to a stop string that is complete in it; incomplete UTF-8 becomes U+FFFD.
  std::string finish();
  bool stopped() const { return stopHit; }

private:
  std::unique_ptr<DecodeStream> decoder;
  std::vector<std::string> stops;
  std::string pending;
  bool stopHit = false;

  std::string show(std::string text);
};

} // namespace lathe
