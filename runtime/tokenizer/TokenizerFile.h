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
  nlohmann::json rest;

  static Result<TokenizerFile> parse(std::string_view json);
};

/// A value of `rest` and where it stands, as in `pre_tokenizer.pretokenizers[1]`. Getters fail with that place.
class JsonNode {
public:
  JsonNode(const nlohmann::json &value, std::string path) : value(&value), place(std::move(path)) {}

  const std::string &path() const { return place; }
  bool isNull() const { return value->is_null(); }
  bool has(const std::string &key) const { return value->is_object() && value->contains(key); }
  const nlohmann::json &json() const { return *value; }

  /// A member; null where the key is absent.
  JsonNode member(const std::string &key) const;
  Result<void> expectObject() const;
  Result<std::vector<JsonNode>> elements() const;
  /// A member's string, `fallback` where it is absent or null.
  Result<std::string> string(const std::string &key, std::string fallback) const;
  Result<bool> boolean(const std::string &key, bool fallback) const;
  Result<uint64_t> number(const std::string &key) const;
  /// The node itself as an id below the limit.
  Result<int32_t> id() const;
  /// The member `type`, which every component has.
  Result<std::string> type(std::string_view supported) const;
  /// The node itself, or where it is a Sequence the nodes of its `members` and of the Sequences among these, in order.
  Result<std::vector<JsonNode>> components(const std::string &members, std::string_view supported) const;

  template <typename... Args> std::unexpected<Error> fail(fmt::format_string<Args...> format, Args &&...args) const {
    return failAt(fmt::format(format, std::forward<Args>(args)...));
  }

private:
  const nlohmann::json *value;
  std::string place;

  Result<void> addComponents(std::vector<JsonNode> &all, const std::string &members, std::string_view supported,
                             int depth) const;
  std::unexpected<Error> failAt(const std::string &message) const;
};

} // namespace lathe
