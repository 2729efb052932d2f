//===- PostProcessor.h - the special tokens around a text -----------------===//
#pragma once

#include "runtime/tokenizer/JsonNode.h"
#include "runtime/tokenizer/Vocabulary.h"

namespace lathe {

/// What null, ByteLevel (which moves offsets only), TemplateProcessing, BertProcessing, RobertaProcessing and sequences
/// of them amount to for one text.
struct PostProcessor {
  std::vector<int32_t> prefix, suffix;

  /// Ids must be in `vocabulary`.
  static Result<PostProcessor> parse(const JsonNode &node, const Vocabulary &vocabulary);

private:
  Result<void> add(const JsonNode &node, const Vocabulary &vocabulary);
  Result<void> addPair(const JsonNode &node, const Vocabulary &vocabulary);
  Result<void> addTemplate(const JsonNode &node, const Vocabulary &vocabulary);
};

} // namespace lathe
