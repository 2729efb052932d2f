//===- BytePairModel.cpp - merges: words to ids ---------------------------===//
#include "runtime/tokenizer/Model.h"
#include "runtime/tokenizer/Trie.h"
#include "runtime/tokenizer/Utf8.h"

#include <algorithm>

namespace lathe {

namespace {

class BytePairModel final : public Model {
public:
  explicit BytePairModel(const Vocabulary &vocabulary) : vocabulary(vocabulary), tokenCount(vocabulary.count()) {}

  Result<void> readOptions(const JsonNode &node);
  Result<void> readMerges(const MergeList &merges, const SentencePieceRules *rules);
  void readCharacters(const SentencePieceRules *rules);

  void encode(std::string_view word, std::vector<int32_t> &ids) const override;
  size_t cut(std::string_view word) const override;

private:
  const Vocabulary &vocabulary;
  size_t tokenCount; ///< of the model itself, before added tokens join the vocabulary
  std::array<int32_t, 512> lowCharacterIds{};
  FlatMap characterIds;                          ///< (0, character) to id, of characters from 512 on
  FlatMap rankOfPair;                            ///< (left id, right id) to rank
  std::vector<int32_t> mergedIds;                ///< by rank
  FlatMap crossed;                               ///< (last character of a left, first of a right part)
  std::string prefix, suffix;                    ///< of the characters behind the first, of the last one
  std::optional<std::array<int32_t, 256>> bytes; ///< with byte_fallback
  int32_t unknown = noToken; ///< stands for a character that is no token; without it such a one is dropped
  bool fuseUnknown = false;
  bool ignoreMerges = false;
  Trie userDefined;
  bool hasUserDefined = false;

  int32_t characterId(char32_t c) const {
    if (c < lowCharacterIds.size())
      return lowCharacterIds[c];
    uint32_t id = characterIds.get(FlatMap::key(0, c));
    return id == FlatMap::missing ? noToken : static_cast<int32_t>(id);
  }
  void appendCharacters(std::string_view word, std::vector<int32_t> &ids) const;
  void merge(std::vector<int32_t> &ids, size_t first) const;
};

Result<void> BytePairModel::readOptions(const JsonNode &node) {
  if (const nlohmann::json &dropout = node.member("dropout").json(); !dropout.is_null() && dropout != 0)
    return node.member("dropout").fail("expected null, found {}; random merges are not supported", dropout.dump());
  for (auto [key, affix] : {std::pair("continuing_subword_prefix", &prefix), {"end_of_word_suffix", &suffix}}) {
    Result<std::string> text = node.string(key, "");
    if (!text)
      return propagate(text);
    *affix = std::move(*text);
  }
  bool byteFallback = false;
  for (auto [key, flag] :
       {std::pair("fuse_unk", &fuseUnknown), {"ignore_merges", &ignoreMerges}, {"byte_fallback", &byteFallback}}) {
    Result<bool> value = node.boolean(key, false);
    if (!value)
      return propagate(value);
    *flag = *value;
  }
  Result<std::string> token = node.string("unk_token", "");
  if (!token)
    return propagate(token);
  unknown = vocabulary.id(*token).value_or(noToken);
  if (byteFallback)
    bytes = byteTokens(vocabulary);
  return {};
}

char32_t lastCharacter(std::string_view text) {
  size_t start = text.empty() ? 0 : text.size() - 1;
  while (start > 0 && (static_cast<uint8_t>(text[start]) & 0xC0) == 0x80)
    --start;
  return text.empty() ? 0 : nextCharacter(text, start);
}

Result<void> BytePairModel::readMerges(const MergeList &merges, const SentencePieceRules *rules) {
  rankOfPair.reserve(merges.size());
  mergedIds.reserve(merges.size());
  std::string merged;
  std::vector<uint32_t> rankOfMerged(rules ? static_cast<size_t>(vocabulary.size()) : 0, FlatMap::missing);
  for (size_t index = 0; index < merges.size(); ++index) {
    std::string_view left = merges.left(index), right = merges.right(index);
    if (!right.starts_with(prefix))
      return lathe::fail(ExitCode::badInput, "tokenizer.json: model.merges[{}]: {} has no continuing_subword_prefix {}",
                         index, quote(right), quote(prefix));
    merged.assign(left);
    merged += right.substr(prefix.size());
    std::optional<int32_t> ids[] = {vocabulary.id(left), vocabulary.id(right), vocabulary.id(merged)};
    std::string_view texts[] = {left, right, merged};
    for (int part = 0; part < 3; ++part)
      if (!ids[part])
        return lathe::fail(ExitCode::badInput, "tokenizer.json: model.merges[{}]: {} is not in model.vocab", index,
                           quote(texts[part]));
    uint32_t rank = static_cast<uint32_t>(index);
    if (rules) {
      uint32_t &first = rankOfMerged[static_cast<size_t>(*ids[2])];
      rank = first = std::min(first, rank);
    }
    // Of a pair that appears twice the later rank holds, as in `tokenizers`.
    rankOfPair[FlatMap::key(static_cast<uint32_t>(*ids[0]), static_cast<uint32_t>(*ids[1]))] = rank;
    mergedIds.push_back(*ids[2]);
    size_t start = 0;
    crossed[FlatMap::key(lastCharacter(left), right.empty() ? 0 : nextCharacter(right, start))] = 1;
  }
  return {};
}

void BytePairModel::readCharacters(const SentencePieceRules *rules) {
  lowCharacterIds.fill(noToken);
  for (int32_t id = 0; id < vocabulary.size(); ++id) {
    std::optional<std::string_view> token = vocabulary.token(id);
    if (!token || token->empty() || (rules && rules->isUnmatched(id)))
      continue;
    if (rules && rules->isUserDefined(id)) {
      userDefined.add(*token, static_cast<uint32_t>(id));
      hasUserDefined = true;
    }
    size_t end = 0;
    char32_t c = nextCharacter(*token, end);
    if (end != token->size())
      continue;
    if (c < lowCharacterIds.size())
      lowCharacterIds[c] = id;
    else
      characterIds[FlatMap::key(0, c)] = static_cast<uint32_t>(id);
  }
}

size_t BytePairModel::cut(std::string_view word) const {
  if (ignoreMerges || hasUserDefined || !prefix.empty() || !suffix.empty())
    return word.size();
  size_t position = 0;
  char32_t previous = nextCharacter(word, position);
  bool previousKnown = characterId(previous) != noToken;
  while (position < word.size()) {
    size_t end = position;
    char32_t next = nextCharacter(word, end);
    bool known = characterId(next) != noToken;
    // Where no merge joins two characters, nothing on one side bears on the other.
    if (known && previousKnown && crossed.get(FlatMap::key(previous, next)) == FlatMap::missing)
      return position;
    previous = next;
    previousKnown = known;
    position = end;
  }
  return word.size();
}

void BytePairModel::encode(std::string_view word, std::vector<int32_t> &ids) const {
  if (ignoreMerges)
    if (std::optional<int32_t> id = vocabulary.id(word, tokenCount))
      return ids.push_back(*id);
  size_t first = ids.size();
  appendCharacters(word, ids);
  merge(ids, first);
}

void BytePairModel::appendCharacters(std::string_view word, std::vector<int32_t> &ids) const {
  int32_t pending = noToken; // an unknown token, which `tokenizers` puts behind the bytes that follow it
  std::string spelling;
  for (size_t position = 0; position < word.size();) {
    uint32_t token = 0;
    if (size_t length = hasUserDefined ? userDefined.longest(word, position, token) : 0) {
      if (pending != noToken)
        ids.push_back(std::exchange(pending, noToken));
      ids.push_back(static_cast<int32_t>(token));
      position += length;
      continue;
    }
    size_t start = position;
    char32_t c = nextCharacter(word, position);
    std::string_view text = word.substr(start, position - start);
    int32_t id = noToken;
    if ((start > 0 && !prefix.empty()) || (position == word.size() && !suffix.empty())) {
      spelling.assign(start > 0 ? prefix : "");
      spelling += text;
      spelling += position == word.size() ? suffix : "";
      id = vocabulary.id(text = spelling, tokenCount).value_or(noToken);
    } else {
      id = characterId(c);
    }
    if (id != noToken) {
      if (pending != noToken)
        ids.push_back(std::exchange(pending, noToken));
      ids.push_back(id);
      continue;
    }
    auto byteId = [&](char byte) { return (*bytes)[static_cast<uint8_t>(byte)]; };
    if (bytes && std::ranges::none_of(text, [&](char byte) { return byteId(byte) == noToken; })) {
      for (char byte : text)
        ids.push_back(byteId(byte));
    } else if (unknown != noToken) {
      if (pending != noToken && !fuseUnknown)
        ids.push_back(pending);
      pending = unknown;
    }
  }
  if (pending != noToken)
    ids.push_back(pending);
}

void BytePairModel::merge(std::vector<int32_t> &ids, size_t first) const {
  // Positions are 32 bits wide; no text is that long.
  uint32_t count = static_cast<uint32_t>(std::min<size_t>(ids.size() - first, ~uint32_t(0)));
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

} // namespace

Result<std::unique_ptr<const Model>> parseBytePairModel(const JsonNode &node, const TokenizerFile &file,
                                                        const Vocabulary &vocabulary, const SentencePieceRules *rules) {
  if (!file.hasMerges)
    return node.member("merges").fail("missing, or no array of merges");
  auto model = std::make_unique<BytePairModel>(vocabulary);
  if (Result<void> read = model->readOptions(node); !read)
    return propagate(read);
  if (Result<void> read = model->readMerges(file.merges, rules); !read)
    return propagate(read);
  model->readCharacters(rules);
  return model;
}

} // namespace lathe
