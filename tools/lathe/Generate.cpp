#include "tools/lathe/Commands.h"
#include "tools/lathe/Model.h"
#include "tools/lathe/Output.h"

#include <algorithm>

namespace lathe {
namespace {

struct Generate {
  ModelFlags model;
  SamplingFlags sampling;
  std::string prompt, file, ids;
  int64_t count = 128;
  std::vector<std::string> stops;
  bool ignoreEos = false, json = false;
  CLI::Option *promptOption = nullptr, *idsOption = nullptr;

  Result<void> run();
  Result<std::vector<int32_t>> promptIds(LazyTokenizer &tokenizer);
  Result<void> finish(const std::vector<int32_t> &prompt, const Completion &completion,
                      const std::optional<std::string> &text);
};

/// New tokens on their way to standard output: as text, or as ids where the model has no tokenizer.
struct Stream {
  const Generate &flags;
  LazyTokenizer &lazy;
  std::optional<TextStream> text = {};
  std::string shown = {};
  bool begun = false;
  int64_t tokens = 0;
  Result<void> state = {}; ///< the first thing that went wrong

  /// Parsing a large tokenizer takes as long as a prompt does, so nobody waits for it before the first token.
  Result<void> begin() {
    if (std::exchange(begun, true))
      return state;
    auto tokenizer = flags.stops.empty() ? lazy.get() : lazy.require("--stop");
    if (!tokenizer)
      state = propagate(tokenizer);
    else if (*tokenizer)
      text.emplace(*tokenizer, flags.stops);
    return state;
  }

  void show(std::string_view piece) {
    shown += piece;
    if (!flags.json && state)
      state = writeOutput(piece);
  }

  /// Whether the text ends here.
  bool push(int32_t id) {
    if (begin())
      show(text ? text->push(id) : fmt::format("{}{}", tokens++ ? "," : "", id));
    return !state || (text && text->stopped());
  }

  Result<void> end() {
    if (begin() && text && !text->stopped())
      show(text->finish());
    return state;
  }
};

Result<std::vector<int32_t>> Generate::promptIds(LazyTokenizer &tokenizer) {
  if (idsOption->count())
    return parseIds(ids);
  bool inFile = promptOption->count() == 0;
  std::string text = prompt;
  if (inFile) {
    auto read = readText(file);
    if (!read)
      return propagate(read);
    text = std::move(*read);
  }
  auto known = tokenizer.require(inFile ? "-f" : "-p");
  if (!known)
    return propagate(known);
  return (*known)->encode(text);
}

Result<void> Generate::finish(const std::vector<int32_t> &prompt, const Completion &completion,
                              const std::optional<std::string> &text) {
  nlohmann::ordered_json result = completionJson(prompt, completion, text);
  if (json)
    return writeOutput(jsonLine(result));
  const auto &timings = result["timings"];
  if (auto done = writeOutput("\n"); !done)
    return done;
  fmt::print(stderr, "prompt {} tokens, {:.1f} t/s; generated {} tokens, {:.1f} t/s; {}\n", prompt.size(),
             timings["prompt_per_second"].get<double>(), completion.ids.size(),
             timings["predicted_per_second"].get<double>(), completion.finishReason);
  return {};
}

Result<void> Generate::run() {
  if (auto fits = sampling.check(); !fits)
    return fits;
  if (idsOption->count() &&
      !ids.starts_with('@')) // before anything is opened: a slip of the keyboard is no matter of the artifact
    if (auto parsed = parseIds(ids); !parsed)
      return propagate(parsed);
  auto artifact = Artifact::open(model.artifact);
  if (!artifact)
    return propagate(artifact);
  LazyTokenizer lazy(*artifact);
  auto prompt = promptIds(lazy);
  if (!prompt)
    return propagate(prompt);
  const Manifest &manifest = (*artifact)->manifest();
  EngineOptions options = model.engine();
  int64_t length = static_cast<int64_t>(prompt->size());
  options.kvTokens = std::clamp<int64_t>(length + std::min(count, manifest.context), 1,
                                         model.context ? model.context : manifest.context);
  auto engine = loadEngine(*artifact, model, options);
  if (!engine)
    return propagate(engine);

  Request request;
  request.prompt = *prompt;
  request.maxTokens = count;
  request.sampling = sampling.options;
  if (!ignoreEos)
    request.endTokens = manifest.eosTokenIds;
  Stream stream{*this, lazy};
  if (!stops.empty())
    if (auto begun = stream.begin(); !begun)
      return begun;
  request.onToken = [&](int32_t id) { return stream.push(id); };
  Scheduler scheduler(**engine);
  auto number = scheduler.submit(std::move(request));
  if (!number)
    return propagate(number);
  if (auto done = scheduler.finish(); !done)
    return done;
  if (auto done = stream.end(); !done)
    return done;
  return finish(*prompt, scheduler.completion(*number), stream.text ? std::optional(stream.shown) : std::nullopt);
}

} // namespace

void addGenerate(CLI::App &app, Action &action) {
  auto flags = std::make_shared<Generate>();
  CLI::App *command = app.add_subcommand("generate", "Continue a prompt; the text goes to standard output as it comes");
  flags->model.add(*command);
  CLI::Option_group *source = command->add_option_group("prompt", "Exactly one of these");
  flags->promptOption = source->add_option("-p,--prompt", flags->prompt, "Prompt text");
  source->add_option("-f,--file", flags->file, "File that has the prompt text; - is standard input");
  flags->idsOption = source->add_option("--ids", flags->ids, "Prompt as token ids: 1,2,3 or @FILE");
  source->require_option(1);
  command->add_option("-n", flags->count, "New tokens at most")->check(CLI::NonNegativeNumber)->capture_default_str();
  flags->sampling.add(*command);
  command->add_option("--stop", flags->stops, "End before this string; may be given several times")
      ->allow_extra_args(false);
  command->add_flag("--ignore-eos", flags->ignoreEos, "Go on past end-of-sequence tokens");
  command->add_flag("--json", flags->json, "Print one JSON object: prompt_ids, ids, text, finish_reason, timings");
  command->callback([flags, &action] { action = [flags] { return flags->run(); }; });
}

} // namespace lathe
