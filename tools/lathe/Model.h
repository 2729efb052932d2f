//===- Model.h - what the commands that run a model share -----------------===//
#pragma once

#include "runtime/Engine.h"
#include "runtime/Scheduler.h"
#include "runtime/Tokenizer.h"
#include "runtime/support/Json.h"

#include <CLI/App.hpp>
#include <functional>
#include <future>
#include <string>

namespace lathe {

/// OUT.lathe, -t, --cpu, --device, -c, --mmap.
struct ModelFlags {
  std::string artifact, cpu, device;
  HostCheck hostCheck;
  int64_t threads = 0, context = 0;
  bool map = false, looseHostCheck = false;

  void add(CLI::App &command);
  /// Engine options that follow from the flags alone.
  EngineOptions engine() const;
};

/// --temp, --top-k and their like. What no flag says, the model's makers do.
class SamplingFlags {
public:
  void add(CLI::App &command);
  /// Options of the flags that were given, the model's defaults for the others; says on stderr which of these hold.
  Result<SamplerOptions> resolve(const Manifest &manifest) const;

private:
  SamplerOptions options;
  std::vector<std::string> biases;
  /// How a flag that was given gets into options: by its name in SamplingDefaults, "" where that has none.
  struct Given {
    CLI::Option *option;
    const char *name;
    std::function<void(SamplerOptions &)> copy;
  };
  std::vector<Given> flags;
};

/// What the model's makers recommend; greedy where they say nothing.
SamplerOptions defaultSampling(const SamplingDefaults &defaults);

/// "ID+0.5", "ID-100", "ID-inf". Mistakes are ExitCode::usage.
Result<LogitBias> parseLogitBias(const std::string &text);

/// The keys of a line of `batch` that say how to sample; what they do not say stays as it is in `options`.
/// `document` is what `reader` reads.
void readSampling(JsonReader &reader, const Json &document, SamplerOptions &options);

/// Number of a sample among the requests of one seed: the first has the request's own.
inline uint64_t sampleNumber(uint64_t request, int64_t sample) {
  return request + (static_cast<uint64_t>(sample) << 32);
}

/// An artifact's tokenizer, parsed beside other work. Null when the model has none.
class LazyTokenizer {
public:
  explicit LazyTokenizer(std::shared_ptr<const Artifact> artifact);
  Result<std::shared_ptr<const Tokenizer>> get();
  /// As `get`, but a model without a tokenizer is an error that says what `flag` needs it for.
  Result<std::shared_ptr<const Tokenizer>> require(std::string_view flag);

private:
  std::shared_ptr<const Artifact> artifact;
  std::future<Result<std::shared_ptr<const Tokenizer>>> parsing;
  std::optional<Result<std::shared_ptr<const Tokenizer>>> parsed;
};

/// "1,2,3", "[1, 2, 3]", or with '@' in front the name of a file that has either. Mistakes are ExitCode::usage, in a
/// file ExitCode::badInput.
Result<std::vector<int32_t>> parseIds(const std::string &text);
Result<std::vector<int32_t>> readIds(const std::string &path);
/// A file's text; "-" is standard input.
Result<std::string> readText(const std::string &path);

/// Opens the artifact and, as `options` say, loads it; errors begin with the artifact's path.
Result<std::unique_ptr<Engine>> loadEngine(std::shared_ptr<const Artifact> artifact, const ModelFlags &flags,
                                           const EngineOptions &options);

/// Whether linears of the model multiply bytes: some weight is stored in codes, whatever was asked for (`keep` of a
/// file of floats has none).
bool multipliesBytes(const Manifest &manifest);

/// A completion and its text; none where the model has no tokenizer.
struct Sample {
  const Completion &completion;
  std::optional<std::string> text;
};
/// The fields of `generate --json` and of a line of `batch`: prompt_ids, ids, text, finish_reason, timings, and
/// logprobs if asked (with the tokens' text where there is a tokenizer). These are of the first sample; where there are
/// more, `samples` has ids, text, finish_reason and logprobs of each. At least one sample.
nlohmann::ordered_json completionJson(const std::vector<int32_t> &prompt, std::span<const Sample> samples,
                                      const Tokenizer *tokenizer);

} // namespace lathe
