//===- GenerationConfig.cpp - generation_config.json ----------------------===//
//
// Read as transformers' generate() reads it (configuration_utils.py, GenerationConfig): its end tokens win over those
// of config.json; the numbers of sampling count where do_sample is true, with a temperature of 1 where none is given;
// the repetition penalty holds for greedy search too. Everything else says nothing about which tokens are drawn.
//
//===----------------------------------------------------------------------===//
#include "compiler/ConfigDiagnostics.h"
#include "compiler/importers/Importers.h"
#include "compiler/importers/Json.h"

namespace lathe {
namespace {

using nlohmann::json;

class Reader {
public:
  Reader(std::string_view text, const std::string &path, const json &root) : text(text), path(path), root(root) {}

  Result<void> read(ModelConfig &config) {
    if (!root.is_object())
      return fail(ExitCode::badInput, "{}: expected a JSON object, found {}", placeInJson(text, path, ""),
                  describeJson(root));
    endTokens(config);
    sampling(config);
    if (error)
      return fail(ExitCode::badInput, "{}", *error);
    return {};
  }

private:
  void expected(const std::string &key, std::string_view what, const json &found) {
    if (!error)
      error =
          fmt::format("{}: {}: expected {}, found {}", placeInJson(text, path, key), key, what, describeJson(found));
  }
  /// Null when the key is absent or its value is null; its place is that of the key `canonical`.
  const json *find(const std::string &key, const std::string &canonical, ModelConfig &config) {
    auto member = root.find(key);
    if (member == root.end() || member->is_null())
      return nullptr;
    config.where[canonical] = placeInJson(text, baseName(path), key);
    return &*member;
  }

  void endTokens(ModelConfig &config) {
    const json *ends = find("eos_token_id", "eos_token_id", config);
    if (!ends)
      return;
    config.eosTokenIds.clear();
    for (const json &item : ends->is_array() ? *ends : json::array({*ends})) {
      if (!item.is_number_integer())
        return expected("eos_token_id", "an integer or a list of integers", item);
      config.eosTokenIds.push_back(item.get<int64_t>());
    }
  }

  void sampling(ModelConfig &config) {
    const json *samples = find("do_sample", "generation_config.do_sample", config);
    if (samples && !samples->is_boolean())
      expected("do_sample", "true or false", *samples);
    bool drawn = samples && *samples == json(true);
    SamplingDefaults found;
    auto counts = [&](std::string_view key) {
      return !key.starts_with("mirostat") && (drawn || key == "repetition_penalty");
    };
    auto real = [&](const std::string &key, std::optional<double> &value, auto...) {
      const json *member = counts(key) ? find(key, "generation_config." + key, config) : nullptr;
      if (member && !member->is_number())
        expected(key, "a number", *member);
      else if (member)
        value = member->get<double>();
    };
    auto whole = [&](const std::string &key, std::optional<int64_t> &value, auto...) {
      const json *member = counts(key) ? find(key, "generation_config." + key, config) : nullptr;
      if (member && !member->is_number_integer())
        expected(key, "an integer", *member);
      else if (member)
        value = std::max<int64_t>(0, member->get<int64_t>()); // -1 is another way to say all
    };
    eachSamplingDefault(found, real, whole);
    if (drawn && !found.temperature)
      found.temperature = 1;
    if (found != SamplingDefaults())
      found.source = baseName(path);
    config.sampling = found;
  }

  std::string_view text;
  const std::string &path;
  const json &root;
  std::optional<std::string> error;
};

} // namespace

Result<std::shared_ptr<const MappedFile>> openHuggingFaceJson(const std::string &path) {
  constexpr size_t most = size_t{1} << 20;
  auto file = MappedFile::open(path);
  if (file && (*file)->bytes().size() > most)
    return fail(ExitCode::badInput, "{}: expected at most {} bytes, found {}", path, most, (*file)->bytes().size());
  return file;
}

Result<void> importGenerationConfig(const std::string &path, ModelConfig &config) {
  auto file = openHuggingFaceJson(path);
  if (!file)
    return propagate(file);
  auto root = parseJson((*file)->text(), path);
  if (!root)
    return propagate(root);
  return Reader((*file)->text(), path, *root).read(config);
}

} // namespace lathe
