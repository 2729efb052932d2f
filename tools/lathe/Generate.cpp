#include "tools/lathe/Commands.h"
#include "tools/lathe/Model.h"
#include "tools/lathe/Output.h"

#include <algorithm>
#include <deque>
#include <utility>

namespace lathe {
namespace {

struct Stream;

struct Generate {
  ModelFlags model;
  SamplingFlags sampling;
  std::string prompt, file, ids;
  int64_t count = 128, samples = 1, logprobs = -1;
  std::vector<std::string> stops;
  bool ignoreEos = false, json = false;
  CLI::Option *promptOption = nullptr, *idsOption = nullptr;

  Result<void> run();
  Result<std::vector<int32_t>> promptIds(LazyTokenizer &tokenizer);
  Result<void> finish(const std::vector<int32_t> &prompt, std::span<const Sample> answers,
                      const std::deque<Stream> &streams, const Tokenizer *tokenizer);
};

/// New tokens of a sample on their way to standard output: as text, or as ids where the model has no tokenizer.
struct Stream {
  const Generate &flags;
  LazyTokenizer &lazy;
  bool shows = true; ///< what comes is written at once
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
    if (shows && state)
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

Result<void> Generate::finish(const std::vector<int32_t> &prompt, std::span<const Sample> answers,
                              const std::deque<Stream> &streams, const Tokenizer *tokenizer) {
  nlohmann::ordered_json result = completionJson(prompt, answers, tokenizer);
  if (json)
    return writeOutput(jsonLine(result));
  if (auto done = writeOutput("\n"); !done)
    return done;
  // The first sample was written as it came, the others follow it.
  int64_t generated = 0;
  for (size_t i = 0; i < streams.size(); ++i) {
    generated += static_cast<int64_t>(answers[i].completion.ids.size());
    if (i == 0)
      continue;
    if (auto done = writeOutput(fmt::format("--- sample {} of {}\n{}\n", i + 1, streams.size(), streams[i].shown));
        !done)
      return done;
  }
  const auto &timings = result["timings"];
  fmt::print(stderr, "prompt {} tokens, {:.1f} t/s; generated {} tokens, {:.1f} t/s; {}\n", prompt.size(),
             timings["prompt_per_second"].get<double>(), generated, timings["predicted_per_second"].get<double>(),
             answers.front().completion.finishReason);
  return {};
}

Result<void> Generate::run() {
  if (idsOption->count() &&
      !ids.starts_with('@')) // before anything is opened: a slip of the keyboard is no matter of the artifact
    if (auto parsed = parseIds(ids); !parsed)
      return propagate(parsed);
  auto artifact = Artifact::open(model.artifact);
  if (!artifact)
    return propagate(artifact);
  const Manifest &manifest = (*artifact)->manifest();
  auto options = sampling.resolve(manifest);
  if (!options)
    return propagate(options);
  LazyTokenizer lazy(*artifact);
  auto prompt = promptIds(lazy);
  if (!prompt)
    return propagate(prompt);
  EngineOptions engineOptions = model.engine();
  int64_t length = static_cast<int64_t>(prompt->size()), context = model.context ? model.context : manifest.context;
  // The prompt's pages are shared; each sample has a copy of the last one, and one that it leaves partly empty.
  int64_t longest = std::clamp<int64_t>(length + std::min(count, manifest.context), 1, context);
  engineOptions.kvTokens = longest + (samples - 1) * std::max<int64_t>(0, longest - length);
  engineOptions.kvSequences = samples > 1 ? 2 * samples : 1;
  engineOptions.kvMayShrink = samples > 1;
  auto engine = loadEngine(*artifact, model, engineOptions);
  if (!engine)
    return propagate(engine);

  std::deque<Stream> streams;
  Scheduler scheduler(**engine);
  std::vector<size_t> numbers;
  for (int64_t i = 0; i < samples; ++i) {
    Stream &stream = streams.emplace_back(Stream{*this, lazy, i == 0 && !json});
    if (!stops.empty())
      if (auto begun = stream.begin(); !begun)
        return begun;
    Request request;
    request.prompt = *prompt;
    request.maxTokens = count;
    request.sampling = *options;
    request.sampling.request = sampleNumber(0, i);
    request.logprobs = logprobs;
    if (!ignoreEos)
      request.endTokens = manifest.eosTokenIds;
    request.onToken = [&stream](int32_t id) { return stream.push(id); };
    auto number =
        i == 0 ? scheduler.submit(std::move(request)) : scheduler.submitSample(numbers.front(), std::move(request));
    if (!number)
      return propagate(number);
    numbers.push_back(*number);
  }
  if (auto done = scheduler.finish(); !done)
    return done;
  std::vector<Sample> answers;
  for (int64_t i = 0; i < samples; ++i) {
    Stream &stream = streams[i];
    if (auto done = stream.end(); !done)
      return done;
    answers.push_back({scheduler.completion(numbers[i]), stream.text ? std::optional(stream.shown) : std::nullopt});
  }
  auto tokenizer = lazy.get();
  if (!tokenizer)
    return propagate(tokenizer);
  return finish(*prompt, answers, streams, tokenizer->get());
}

} // namespace

void addGenerate(CLI::App &app, Action &action) {
  auto flags = std::make_shared<Generate>();
  CLI::App *command = app.add_subcommand("generate", "Continue a prompt; the text goes to standard output as it comes");
  flags->model.add(*command);
  command->group(subject::run);
  command->footer("Examples:\n  lathe generate smollm2.lathe -p 'The three states of matter are' -n 64\n"
                  "  lathe generate smollm2.lathe -f notes.txt --temp 0.8 --top-p 0.95 --samples 4 --json");
  CLI::Option_group *source = command->add_option_group("prompt", "Prompt: exactly one of these");
  flags->promptOption = source->add_option("-p,--prompt", flags->prompt, "Prompt text");
  source->add_option("-f,--file", flags->file, "File that has the prompt text; - is standard input")->type_name("FILE");
  flags->idsOption = source->add_option("--ids", flags->ids, "Prompt as token ids: 1,2,3 or @FILE")->type_name("IDS");
  source->require_option(1);
  command->add_option("-n,--n-predict", flags->count, "New tokens at most")
      ->transform(sizes())
      ->check(nonNegative())
      ->capture_default_str()
      ->group("Output");
  command->add_option("--stop", flags->stops, "End before this string; may be given several times")
      ->allow_extra_args(false)
      ->group("Output");
  command->add_flag("--ignore-eos", flags->ignoreEos, "Go on past end-of-sequence tokens")->group("Output");
  command->add_option("-N,--samples", flags->samples, "Continuations of the prompt, which is computed once for all")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str()
      ->group("Output");
  CLI::Option *json =
      command->add_flag("--json", flags->json, "Print one JSON object: prompt_ids, ids, text, finish_reason, timings")
          ->group("Output");
  command
      ->add_option(
          "--logprobs", flags->logprobs,
          "With --json: log-probabilities of the new tokens and of the N likeliest, before any sampling option")
      ->check(CLI::Range(0, 1000))
      ->needs(json)
      ->group("Output");
  flags->sampling.add(*command);
  command->callback([flags, &action] { action = [flags] { return flags->run(); }; });
}

} // namespace lathe
