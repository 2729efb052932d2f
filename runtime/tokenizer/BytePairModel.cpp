#include "runtime/tokenizer/BytePairModel.h"

#include "runtime/tokenizer/Utf8.h"

#include <algorithm>

namespace lathe {

namespace {

Result<void> refuseVariants(const JsonNode &node) {
  if (const nlohmann::json &dropout = node.member("dropout").json(); !dropout.is_null() && dropout != 0)
    return node.member("dropout").fail("expected null, found {}; random merges are not supported", dropout.dump());
  for (const char *key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    Result<std::string> affix = node.string(key, "");
    if (!affix)
      return propagate(affix);
    if (!affix->empty())
      return node.member(key).fail("expected null or \"\", found {}; only byte-level BPE is supported", quote(*affix));
  }
  Result<bool> byteFallback = node.boolean("byte_fallback", false);
  if (!byteFallback)
    return propagate(byteFallback);
  if (*byteFallback)
    return node.member("byte_fallback").fail("expected false; only byte-level BPE is supported");
  return {};
}

} // namespace

Result<BytePairModel> BytePairModel::parse(const JsonNode &node, const TokenizerFile &file) {
  if (Result<void> object = node.expectObject(); !object)
    return propagate(object);
  Result<std::string> type = node.string("type", "BPE"); // files of before 2020 have none
  if (!type)
    return propagate(type);
  if (*type != "BPE")
    return node.member("type").fail("model {} is not supported; supported: BPE", quote(*type));
  if (file.vocabularyIsList)
    return node.member("vocab").fail("expected an object of token: id, found an array");
  if (!file.hasVocabulary || !file.hasMerges)
    return node.member(file.hasVocabulary ? "merges" : "vocab")
        .fail("missing, or no {}", file.hasVocabulary ? "array of merges" : "object of token: id");
  if (Result<void> refused = refuseVariants(node); !refused)
    return propagate(refused);

  BytePairModel model;
  const Vocabulary &vocabulary = file.vocabulary;
  model.tokenCount = vocabulary.count();
  Result<std::string> unknown = node.string("unk_token", "");
  Result<bool> fuseUnknown = node.boolean("fuse_unk", false);
  Result<bool> ignoreMerges = node.boolean("ignore_merges", false);
  if (!unknown || !fuseUnknown || !ignoreMerges)
    return unknown ? propagate(fuseUnknown ? ignoreMerges : fuseUnknown) : propagate(unknown);
  model.unknown = vocabulary.id(*unknown).value_or(noToken);
  model.fuseUnknown = *fuseUnknown;
  model.ignoreMerges = *ignoreMerges;

  for (int byte = 0; byte < 256; ++byte) {
    std::string token;
    appendUtf8(token, characterOfByte(static_cast<uint8_t>(byte)));
    model.byteIds[byte] = vocabulary.id(token).value_or(noToken);
  }
  model.rankOfPair.reserve(file.merges.size());
  model.mergedIds.reserve(file.merges.size());
  std::string merged;
  for (size_t rank = 0; rank < file.merges.size(); ++rank) {
    std::string_view left = file.merges.left(rank), right = file.merges.right(rank);
    merged.assign(left);
    merged += right;
    std::optional<int32_t> ids[] = {vocabulary.id(left), vocabulary.id(right), vocabulary.id(merged)};
    std::string_view texts[] = {left, right, merged};
    for (int part = 0; part < 3; ++part)
      if (!ids[part])
        return lathe::fail(ExitCode::badInput, "tokenizer.json: model.merges[{}]: {} is not in model.vocab", rank,
                           quote(texts[part]));
    // Of a pair that appears twice the later rank holds, as in `tokenizers`.
    model.rankOfPair[FlatMap::key(static_cast<uint32_t>(*ids[0]), static_cast<uint32_t>(*ids[1]))] =
        static_cast<uint32_t>(rank);
    model.mergedIds.push_back(*ids[2]);
  }
  return model;
}

void BytePairModel::encode(std::string_view word, const Vocabulary &vocabulary, std::vector<int32_t> &ids) const {
  if (ignoreMerges)
    if (std::optional<int32_t> id = vocabulary.id(tokenOfBytes(word), tokenCount))
      return ids.push_back(*id);
  // Positions are 32 bits wide; nothing that long is text.
  for (; !word.empty(); word.remove_prefix(std::min<size_t>(word.size(), size_t(1) << 30))) {
    std::string_view part = word.substr(0, size_t(1) << 30);
    size_t first = ids.size();
    bool previousUnknown = false;
    for (size_t position = 0; position < part.size();) {
      // tokenizers looks at characters of the byte alphabet, so that an unknown byte counts for itself.
      int32_t id = byteIds[static_cast<uint8_t>(part[position++])];
      bool isUnknown = id == noToken;
      if (!isUnknown)
        ids.push_back(id);
      else if (unknown != noToken && !(fuseUnknown && previousUnknown))
        ids.push_back(unknown);
      previousUnknown = isUnknown;
    }
    merge(ids, first);
  }
}

void BytePairModel::merge(std::vector<int32_t> &ids, size_t first) const {
  uint32_t count = static_cast<uint32_t>(ids.size() - first);
  if (count < 2)
    return;
  constexpr uint32_t end = ~uint32_t(0);
  struct Symbol {
    int32_t id;
    uint32_t previous, next;
  };
  std::vector<Symbol> symbols(count);
  // (rank, position): the lowest rank goes first, of equal ones the leftmost.
  std::vector<uint64_t> queue;
  auto rankAt = [&](uint32_t position) {
    const Symbol &symbol = symbols[position];
    return symbol.next == end ? FlatMap::missing
                              : rankOfPair.get(FlatMap::key(static_cast<uint32_t>(symbol.id),
                                                            static_cast<uint32_t>(symbols[symbol.next].id)));
  };
  for (uint32_t position = 0; position < count; ++position)
    symbols[position] = {ids[first + position], position ? position - 1 : end,
                         position + 1 < count ? position + 1 : end};
  for (uint32_t position = 0; position + 1 < count; ++position)
    if (uint32_t rank = rankAt(position); rank != FlatMap::missing)
      queue.push_back(FlatMap::key(rank, position));
  std::ranges::make_heap(queue, std::greater{});

  constexpr int32_t gone = -1;
  while (!queue.empty()) {
    std::ranges::pop_heap(queue, std::greater{});
    uint32_t rank = static_cast<uint32_t>(queue.back() >> 32), position = static_cast<uint32_t>(queue.back());
    queue.pop_back();
    Symbol &symbol = symbols[position];
    if (symbol.id == gone)
      continue;
    // An entry may be older than its symbols. Like `tokenizers`, it holds as long as the pair merges to the same token.
    uint32_t rankNow = rankAt(position);
    if (rankNow == FlatMap::missing || mergedIds[rankNow] != mergedIds[rank])
      continue;
    Symbol &absorbed = symbols[symbol.next];
    symbol.id = mergedIds[rank];
    symbol.next = absorbed.next;
    absorbed.id = gone;
    if (symbol.next != end)
      symbols[symbol.next].previous = position;
    for (uint32_t changed : {symbol.previous, position})
      if (changed != end)
        if (uint32_t newRank = rankAt(changed); newRank != FlatMap::missing) {
          queue.push_back(FlatMap::key(newRank, changed));
          std::ranges::push_heap(queue, std::greater{});
        }
  }

  ids.resize(first);
  for (uint32_t position = 0; position != end; position = symbols[position].next)
    ids.push_back(symbols[position].id);
}

} // namespace lathe
