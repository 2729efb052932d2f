//===- JsonNode.h - a component of tokenizer.json, and where it stands ----===//
#pragma once

#include "runtime/support/Error.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lathe {

/// A value of TokenizerFile::rest and where it stands, as in `pre_tokenizer.pretokenizers[1]`. Getters fail with that
/// place.
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
