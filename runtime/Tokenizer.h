//===- Tokenizer.h - text to ids and back ---------------------------------===//
//
// The artifact carries `tokenizer.json` in the form of Hugging Face's `tokenizers`
// (plus a "lathe" object: bos/eos ids, whether to add BOS, the chat template). An importer translates GGUF
// metadata to that form (compiler/importers/), so the runtime knows one format.
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

struct EncodeOptions {
  bool addSpecial = true;   ///< BOS/EOS as the model's post-processor says
  bool parseSpecial = true; ///< special tokens written out in the text become their ids
};

/// A tokenizer. Immutable after parse, so safe to share between threads.
class Tokenizer {
public:
  /// Never trusts the text: bad JSON, unknown component types and broken merges are errors that say where. Byte-level
  /// BPE only; `truncation` and `padding` are ignored. At most 64 MiB, ids below 2^21, added tokens of 256 bytes.
  static Result<std::shared_ptr<const Tokenizer>> parse(std::string_view json);
  virtual ~Tokenizer() = default;

  /// Any bytes may be given; malformed UTF-8 is encoded as `tokenizers` encodes it after lossy decoding.
  /// A pre-tokenizer pattern that backtracks without end stops splitting: the rest of the text is one word.
  virtual std::vector<int32_t> encode(std::string_view text, const EncodeOptions &options = {}) const = 0;
  /// The bytes of one token, possibly a part of a UTF-8 character; empty for special tokens when skipSpecial.
  virtual std::string piece(int32_t id, bool skipSpecial = true) const = 0;
  virtual int32_t size() const = 0; ///< ids are below this
  virtual std::optional<int32_t> id(std::string_view token) const = 0;

  /// Well-formed UTF-8 always: what the bytes of the pieces leave malformed becomes U+FFFD.
  std::string decode(std::span<const int32_t> ids, bool skipSpecial = true) const;
};

/// Turns tokens into text that can be shown at once: holds back the bytes of an unfinished UTF-8
/// character and, while `stops` are given, a tail that may become a stop string.
class TextStream {
public:
  TextStream(std::shared_ptr<const Tokenizer> tokenizer, std::vector<std::string> stops = {});
  /// The text that became safe to show. Sets stopped() when a stop string was completed; what precedes it is returned,
  /// the stop string and what follows are dropped.
  std::string push(int32_t id);
  /// What was held back; incomplete UTF-8 becomes U+FFFD.
  std::string finish();
  bool stopped() const { return stopHit; }

private:
  std::shared_ptr<const Tokenizer> tokenizer;
  std::vector<std::string> stops;
  std::string pending;
  bool stopHit = false;
};

} // namespace lathe
