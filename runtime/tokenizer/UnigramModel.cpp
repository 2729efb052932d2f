//===- UnigramModel.cpp - the most probable tokens of a word --------------===//
//
// Viterbi over the tokens that start at each character; a character that is no token itself may be unknown, ten below
// the least score (google/sentencepiece, unigram_model.cc, EncodeOptimized). Neighbours that are unknown are one.
//
//===----------------------------------------------------------------------===//
#include "runtime/tokenizer/Model.h"
#include "runtime/tokenizer/Trie.h"
#include "runtime/tokenizer/Utf8.h"

#include <algorithm>
#include <limits>

namespace lathe {

namespace {

class UnigramModel final : public Model {
public:
  Trie trie;
  std::vector<double> scores; ///< by id
  double unknownScore = 0;
  int32_t unknown = noToken; ///< without it a character that is unknown is dropped
  bool singlePrecision = false;
  bool joinsUnknown = false; ///< unknown characters that together spell a token are that token, as in `tokenizers`
  std::optional<std::array<int32_t, 256>> bytes; ///< with byte_fallback

  void encode(std::string_view word, std::vector<int32_t> &ids) const override {
    singlePrecision ? run<float>(word, ids) : run<double>(word, ids);
  }

private:
  template <typename Score> struct End {
    Score score = 0;
    size_t start = none; ///< where the best token that ends here starts
    int32_t id = 0;
  };
  static constexpr size_t none = ~size_t(0);

  template <typename Score> void run(std::string_view word, std::vector<int32_t> &ids) const {
    std::vector<End<Score>> ends(word.size() + 1);
    auto offer = [&](size_t at, Score candidate, size_t start, int32_t id) {
      End<Score> &end = ends[at];
      if (end.start == none || candidate > end.score)
        end = {candidate, start, id};
    };
    for (size_t start = 0; start < word.size();) {
      size_t next = start;
      nextCharacter(word, next);
      Score before = ends[start].score;
      bool single = false;
      uint32_t node = Trie::root;
      for (size_t at = start; at < word.size();) {
        node = trie.child(node, word[at++]);
        if (node == Trie::none)
          break;
        if (uint32_t id = trie.value(node); id != Trie::none) {
          offer(at, static_cast<Score>(scores[id] + static_cast<double>(before)), start, static_cast<int32_t>(id));
          single |= at == next;
        }
      }
      if (!single)
        offer(next, static_cast<Score>(static_cast<Score>(unknownScore) + before), start, unknown);
      start = next;
    }
    size_t first = ids.size();
    for (size_t at = word.size(); at > 0;) {
      const End<Score> &end = ends[at];
      size_t start = end.start;
      if (end.id != unknown) {
        ids.push_back(end.id);
      } else {
        while (start > 0 && ends[start].id == unknown)
          start = ends[start].start;
        appendUnknown(word.substr(start, at - start), ids);
      }
      at = start;
    }
    std::reverse(ids.begin() + static_cast<ptrdiff_t>(first), ids.end());
  }

  /// Backwards, as the tokens come.
  void appendUnknown(std::string_view text, std::vector<int32_t> &ids) const {
    uint32_t id = 0;
    if (joinsUnknown && trie.longest(text, 0, id) == text.size())
      return ids.push_back(static_cast<int32_t>(id));
    auto byteId = [&](char byte) { return (*bytes)[static_cast<uint8_t>(byte)]; };
    if (bytes && std::ranges::none_of(text, [&](char byte) { return byteId(byte) == noToken; })) {
      for (size_t at = text.size(); at > 0;)
        ids.push_back(byteId(text[--at]));
    } else if (unknown != noToken) {
      ids.push_back(unknown);
    }
  }
};

} // namespace

Result<std::unique_ptr<const Model>> parseUnigramModel(const JsonNode &node, const TokenizerFile &file,
                                                       const Vocabulary &vocabulary, const SentencePieceRules *rules) {
  Result<bool> byteFallback = node.boolean("byte_fallback", false);
  if (!byteFallback)
    return propagate(byteFallback);
  auto model = std::make_unique<UnigramModel>();
  model->singlePrecision = rules && rules->singlePrecision;
  model->joinsUnknown = !rules;
  model->scores = file.scores;
  if (JsonNode unknown = node.member("unk_id"); !unknown.isNull()) {
    Result<uint64_t> id = node.number("unk_id");
    if (!id)
      return propagate(id);
    if (*id >= model->scores.size())
      return unknown.fail("{} is the id of no token of {}", *id, model->scores.size());
    model->unknown = static_cast<int32_t>(*id);
  }
  double least = std::numeric_limits<double>::infinity();
  for (size_t id = 0; id < model->scores.size(); ++id) {
    int32_t token = static_cast<int32_t>(id);
    if (rules && rules->isUnmatched(token))
      continue;
    if (rules)
      model->scores[id] = static_cast<double>(static_cast<float>(model->scores[id]));
    model->trie.add(*vocabulary.token(token), static_cast<uint32_t>(id));
    if (!rules || !rules->isUserDefined(token))
      least = std::min(least, model->scores[id]);
  }
  constexpr double penalty = 10;
  model->unknownScore = model->scores.empty() ? 0 : least - penalty;
  if (*byteFallback)
    model->bytes = byteTokens(vocabulary);
  return model;
}

} // namespace lathe
