//===- BytePairModel.h - merges: words to ids -----------------------------===//
#pragma once

#include "runtime/tokenizer/FlatMap.h"
#include "runtime/tokenizer/TokenizerFile.h"

#include <array>

namespace lathe {

/// `model` of type BPE over bytes. Refers to no vocabulary after parse, except with ignore_merges.
class BytePairModel {
public:
  static Result<BytePairModel> parse(const JsonNode &node, const TokenizerFile &file);

  /// Appends the ids of a word in O(n log n). `vocabulary` is the one of parse; with ignore_merges a word that is a
  /// token as a whole becomes it.
  void encode(std::string_view word, const Vocabulary &vocabulary, std::vector<int32_t> &ids) const;

private:
  static constexpr int32_t noToken = -1;
  std::array<int32_t, 256> byteIds{};
  FlatMap rankOfPair;             ///< (left id, right id) to rank
  std::vector<int32_t> mergedIds; ///< by rank
  int32_t unknown = noToken;      ///< stands for a byte that is no token; without it such a byte is dropped
  bool fuseUnknown = false;
  bool ignoreMerges = false;
  size_t tokenCount = 0; ///< of the model itself, before added tokens joined the vocabulary

  void merge(std::vector<int32_t> &ids, size_t first) const;
};

} // namespace lathe
