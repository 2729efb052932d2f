//===- GenerationConfig.cpp - generation_config.json ----------------------===//
//
// Read as transformers' generate() reads it (configuration_utils.py, GenerationConfig): its end tokens win over those
// of config.json; the numbers of sampling count where do_sample is true, with a temperature of 1 where none is given;
// the repetition penalty holds for greedy search too. Everything else says nothing about which tokens are drawn.
//
//===----------------------------------------------------------------------===//
#include "compiler/importers/HuggingFaceJson.h"
#include "compiler/importers/Importers.h"

namespace lathe {
namespace {

using nlohmann::json;

class Reader : public HuggingFaceJson {
public:
  explicit Reader(HuggingFaceJson file) : HuggingFaceJson(std::move(file)) {}

  Result<void> read() {
    endTokens();
    sampling();
    return finish();
  }

private:
  void sampling() {
    bool drawn = boolean("do_sample", false, "generation_config.do_sample");
    SamplingDefaults found;
    auto counts = [&](std::string_view key) {
      return !key.starts_with("mirostat") && (drawn || key == "repetition_penalty");
    };
    auto real = [&](const std::string &key, std::optional<double> &value, auto...) {
      const json *member = counts(key) ? find(key, "generation_config." + key) : nullptr;
      if (member && !member->is_number())
        expected(key, "a number", *member);
      else if (member)
        value = member->get<double>();
    };
    auto whole = [&](const std::string &key, std::optional<int64_t> &value, auto...) {
      const json *member = counts(key) ? find(key, "generation_config." + key) : nullptr;
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
};

} // namespace

Result<void> importGenerationConfig(const std::string &path, ModelConfig &config) {
  auto file = HuggingFaceJson::open(path, config);
  if (!file)
    return propagate(file);
  return Reader(std::move(*file)).read();
}

} // namespace lathe
