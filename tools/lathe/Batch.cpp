#include "tools/lathe/Commands.h"
#include "tools/lathe/Model.h"
#include "tools/lathe/Output.h"

#include "runtime/support/AtomicFile.h"
#include "runtime/support/MappedFile.h"

#include <algorithm>

namespace lathe {
namespace {

/// One line of the input.
struct Line {
  std::vector<int32_t> prompt;
  Request request;
  std::vector<std::string> stops;
  std::string text;
  std::optional<TextStream> stream;
};

struct Batch {
  ModelFlags model;
  std::string input, output;

  Result<void> run();
  Result<std::vector<Line>> readLines(const Manifest &manifest, LazyTokenizer &tokenizer);
  Result<Line> readLine(std::string_view text, const std::string &where, uint64_t index, const Manifest &manifest,
                        LazyTokenizer &lazy);
};

std::vector<std::string> readStops(JsonReader &reader, const Json &document) {
  if (document.contains("stop") && document["stop"].is_string())
    return {reader.string("stop")};
  return reader.has("stop") ? reader.strings("stop") : std::vector<std::string>();
}

Result<Line> Batch::readLine(std::string_view text, const std::string &where, uint64_t index, const Manifest &manifest,
                             LazyTokenizer &lazy) {
  auto document = parseJson(text, where);
  if (!document)
    return propagate(document);
  std::optional<Error> error;
  JsonReader reader(*document, where, error);
  reader.only({"prompt", "ids", "messages", "n", "temp", "top_k", "top_p", "min_p", "repeat_penalty", "seed", "stop",
               "ignore_eos", "logprobs"});
  if (reader.has("messages"))
    reader.refuse("messages", "chat templates are not applied here; give prompt or ids");
  if (!error && reader.has("prompt") == reader.has("ids"))
    reader.refuse("expected one of prompt and ids");
  Line line;
  Request &request = line.request;
  auto integer = [&](const char *key, int64_t otherwise, int64_t low, int64_t high) {
    return reader.has(key) ? reader.integer(key, low, high) : otherwise;
  };
  auto number = [&](const char *key, double otherwise, double low, double high) {
    return reader.has(key) ? reader.number(key, low, high) : otherwise;
  };
  request.maxTokens = integer("n", 128, 0, INT32_MAX);
  SamplerOptions &sampling = request.sampling;
  sampling.temperature = number("temp", 0, 0, 1e6);
  sampling.topK = integer("top_k", 0, 0, INT32_MAX);
  sampling.topP = number("top_p", 1, 0, 1);
  sampling.minP = number("min_p", 0, 0, 1);
  sampling.repetitionPenalty = number("repeat_penalty", 1, 1e-6, 1e6);
  // A line with a seed gets what `generate` with that seed gives; lines without one differ from each other.
  sampling.seed = static_cast<uint64_t>(integer("seed", 0, 0, INT64_MAX));
  sampling.request = reader.has("seed") ? 0 : index;
  line.stops = readStops(reader, *document);
  if (!(reader.has("ignore_eos") && reader.boolean("ignore_eos")))
    request.endTokens = manifest.eosTokenIds;
  if (reader.has("logprobs"))
    request.logprobs = (*document)["logprobs"].is_boolean() ? (reader.boolean("logprobs") ? 0 : -1)
                                                            : reader.integer("logprobs", 0, 1000);
  std::string prompt = reader.has("prompt") ? reader.string("prompt") : "";
  if (reader.has("ids"))
    for (int64_t id : reader.integers("ids", 0, INT32_MAX))
      line.prompt.push_back(static_cast<int32_t>(id));
  if (error)
    return std::unexpected(*error);
  auto tokenizer = reader.has("prompt")  ? lazy.require(where + ": prompt")
                   : !line.stops.empty() ? lazy.require(where + ": stop")
                                         : lazy.get();
  if (!tokenizer)
    return propagate(tokenizer);
  if (reader.has("prompt"))
    line.prompt = (*tokenizer)->encode(prompt);
  if (*tokenizer)
    line.stream.emplace(*tokenizer, line.stops);
  request.prompt = line.prompt;
  return line;
}

Result<std::vector<Line>> Batch::readLines(const Manifest &manifest, LazyTokenizer &tokenizer) {
  auto file = MappedFile::open(input);
  if (!file)
    return propagate(file);
  std::vector<Line> lines;
  std::string_view rest = (*file)->text();
  for (size_t number = 1; !rest.empty(); ++number) {
    std::string_view text = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), text.size() + 1));
    if (text.find_first_not_of(" \t\r") == text.npos)
      continue;
    auto line = readLine(text, fmt::format("{}:{}", input, number), lines.size(), manifest, tokenizer);
    if (!line)
      return propagate(line);
    lines.push_back(std::move(*line));
  }
  return lines;
}

Result<void> Batch::run() {
  auto artifact = Artifact::open(model.artifact);
  if (!artifact)
    return propagate(artifact);
  LazyTokenizer tokenizer(*artifact);
  const Manifest &manifest = (*artifact)->manifest();
  auto lines = readLines(manifest, tokenizer);
  if (!lines)
    return propagate(lines);
  auto file = AtomicFile::create(output);
  if (!file)
    return propagate(file);

  EngineOptions options = model.engine();
  int64_t context = model.context ? std::min(model.context, manifest.context) : manifest.context;
  for (const Line &line : *lines)
    options.kvTokens += std::min(context, static_cast<int64_t>(line.prompt.size()) + line.request.maxTokens);
  options.kvSequences = std::max<int64_t>(1, static_cast<int64_t>(lines->size()));
  options.kvMayShrink = true;
  auto engine = loadEngine(*artifact, model, options);
  if (!engine)
    return propagate(engine);
  Scheduler scheduler(**engine);
  std::vector<size_t> numbers;
  for (size_t i = 0; i < lines->size(); ++i) {
    Line &line = (*lines)[i];
    if (line.stream)
      line.request.onToken = [&line](int32_t id) {
        line.text += line.stream->push(id);
        return line.stream->stopped();
      };
    auto number = scheduler.submit(std::move(line.request));
    if (!number)
      return std::unexpected(
          Error{number.error().code, fmt::format("{}: request {}: {}", input, i + 1, number.error().message)});
    numbers.push_back(*number);
  }
  if (auto done = scheduler.finish(); !done)
    return done;
  for (size_t i = 0; i < lines->size(); ++i) {
    Line &line = (*lines)[i];
    if (line.stream && !line.stream->stopped())
      line.text += line.stream->finish();
    auto json = completionJson(line.prompt, scheduler.completion(numbers[i]),
                               line.stream ? std::optional(line.text) : std::nullopt);
    if (auto done = (*file)->write(jsonLine(json)); !done)
      return done;
  }
  return (*file)->commit();
}

} // namespace

void addBatch(CLI::App &app, Action &action) {
  auto flags = std::make_shared<Batch>();
  CLI::App *command = app.add_subcommand("batch", "Run many requests as one ragged batch");
  flags->model.add(*command);
  command
      ->add_option("input", flags->input,
                   "Requests, one JSON object a line: prompt or ids; n, temp, top_k, top_p, min_p, repeat_penalty, "
                   "seed, stop, ignore_eos, logprobs")
      ->required();
  command
      ->add_option("-o,--output", flags->output, "Answers, in the order of the requests; replaced when all are there")
      ->required();
  command->callback([flags, &action] { action = [flags] { return flags->run(); }; });
}

} // namespace lathe
