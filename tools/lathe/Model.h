//===- Model.h - what the commands that run a model share -----------------===//
#pragma once

#include "runtime/Engine.h"
#include "runtime/Scheduler.h"
#include "runtime/Tokenizer.h"
#include "runtime/support/Json.h"

#include <CLI/App.hpp>
#include <future>
#include <string>

namespace lathe {

/// OUT.lathe, -t, --cpu, --device, -c, --mmap.
struct ModelFlags {
  std::string artifact, cpu, device;
  HostCheck hostCheck;
  int64_t threads = 0, context = 0;
  bool map = false;

  void add(CLI::App &command);
  /// Engine options that follow from the flags alone.
  EngineOptions engine() const;
};

/// --temp, --top-k, --top-p, --min-p, --repeat-penalty, --seed.
struct SamplingFlags {
  SamplerOptions options;

  void add(CLI::App &command);
  Result<void> check() const;
};

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

/// The fields of `generate --json` and of a line of `batch`: prompt_ids, ids, text, finish_reason, timings, and
/// logprobs if asked.
nlohmann::ordered_json completionJson(const std::vector<int32_t> &prompt, const Completion &completion,
                                      const std::optional<std::string> &text);

} // namespace lathe
