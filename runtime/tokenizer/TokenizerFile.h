//===- TokenizerFile.h - what tokenizer.json says, read in one pass -------===//
#pragma once

#include "runtime/tokenizer/Vocabulary.h"

#include <nlohmann/json.hpp>

namespace lathe {

/// The texts of `model.merges` in rank order. The vocabulary that they refer to may stand behind them in the file.
class MergeList {
public:
  static constexpr size_t limit = size_t(1) << 21;

  size_t size() const { return ends.size(); }
  std::string_view left(size_t rank) const { return part(begin(rank), ends[rank].left); }
  std::string_view right(size_t rank) const { return part(ends[rank].left, ends[rank].right); }
  void add(std::string_view left, std::string_view right);

private:
  struct Ends {
    uint32_t left, right;
  };
  std::string text;
  std::vector<Ends> ends;

  size_t begin(size_t rank) const { return rank ? ends[rank - 1].right : 0; }
  std::string_view part(size_t from, size_t to) const { return std::string_view(text).substr(from, to - from); }
};

/// The two long tables go straight into their own form; everything else, which is short, becomes `rest`.
struct TokenizerFile {
  static constexpr size_t byteLimit = size_t(64) << 20;

  Vocabulary vocabulary; ///< model.vocab
  MergeList merges;      ///< model.merges
  bool hasVocabulary = false, hasMerges = false;
  bool vocabularyIsList = false; ///< of [token, score], as Unigram models have it; ids count from 0
  std::vector<double> scores;    ///< of that list
  nlohmann::json rest;           ///< read by JsonNode

  static Result<TokenizerFile> parse(std::string_view json);
};

} // namespace lathe
