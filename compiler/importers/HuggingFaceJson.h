//===- HuggingFaceJson.h - a JSON file of a model's folder, key by key ----===//
#pragma once

#include "compiler/Config.h"
#include "compiler/importers/Json.h"
#include "runtime/support/MappedFile.h"

#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace lathe {

/// config.json or generation_config.json, whose keys go into a ModelConfig. A reader derives from it, asks for its
/// keys, and says at the end what was wrong with the first of them. Names of nested objects are joined by '.'; a null
/// is as good as no key. What is found says in ModelConfig::where that its value is from here.
class HuggingFaceJson {
public:
  /// Opens a file: more than 1 MiB and a root that is no object are errors. `config` outlives the reader.
  static Result<HuggingFaceJson> open(const std::string &path, ModelConfig &config);

protected:
  /// "path:line:column" of a key's value; of "" that of the whole.
  std::string place(std::string_view key) const { return placeInJson(file->text(), path, key); }
  /// The first complaint is the one that counts.
  void complain(std::string complaint) {
    if (!error)
      error = std::move(complaint);
  }
  void report(const std::string &key, const std::string &what) {
    complain(fmt::format("{}: {}: {}", place(key), key, what));
  }
  void expected(const std::string &key, std::string_view what, const nlohmann::json &value) {
    report(key, fmt::format("expected {}, found {}", what, describeJson(value)));
  }
  /// The complaint, if there was one.
  Result<void> finish() const;

  /// Null when the key is absent or its value is null.
  const nlohmann::json *peek(const std::string &key) const;
  /// The same; its place becomes that of the key `canonical` of the TOML (the same key by default).
  const nlohmann::json *find(const std::string &key, const std::string &canonical = {});
  /// False for what is no integer, or none of 64 bits.
  static bool asInteger(const nlohmann::json &value, int64_t &result);

  // These leave `result` as it is where the key is absent.
  void integer(const std::string &key, int64_t &result, bool required = true, const std::string &canonical = {});
  /// Whether there was one.
  bool number(const std::string &key, double &result, const std::string &canonical = {});
  bool boolean(const std::string &key, bool fallback, const std::string &canonical = {});
  std::string string(const std::string &key, std::string fallback, const std::string &canonical = {});
  /// eos_token_id: one id or a list; the config's own stay where the key is absent.
  void endTokens();

  std::string path;
  nlohmann::json root;
  ModelConfig &config;
  std::optional<std::string> error;

private:
  HuggingFaceJson(std::shared_ptr<const MappedFile> file, const std::string &path, nlohmann::json root,
                  ModelConfig &config)
      : path(path), root(std::move(root)), config(config), file(std::move(file)) {}

  std::shared_ptr<const MappedFile> file;
};

} // namespace lathe
