#include "tools/lathe/BatchJournal.h"
#include "tools/lathe/ChatModel.h"
#include "tools/lathe/Commands.h"
#include "tools/lathe/Output.h"

#include "runtime/chat/ValueJson.h"
#include "runtime/support/AtomicFile.h"
#include "runtime/support/MappedFile.h"

#include <algorithm>
#include <chrono>
#include <deque>

namespace lathe {
namespace {

/// The text of one sample as it grows.
struct SampleText {
  std::optional<TextStream> stream;
  std::string text = {};
};

/// One line of the input. Its samples' streams cannot be copied, so neither can it.
struct Line {
  Line() = default;
  Line(Line &&) = default;
  Line &operator=(Line &&) = default;

  uint64_t hash = 0; ///< of its text
  std::vector<int32_t> prompt;
  Request request;
  std::vector<std::string> stops;
  std::deque<SampleText> samples;
  std::vector<size_t> numbers; ///< of the samples' requests
  size_t running = 0;          ///< samples that have not finished
  std::string answer;          ///< the line of output, when there is one
};

struct Batch {
  ModelFlags model;
  std::string input, output, templateFile;
  bool resume = false;
  std::optional<ChatPrompt> chat; ///< once a line has messages
  std::vector<int64_t> chatEnds;  ///< what ends an answer to messages

  Result<void> run();
  Result<void> submit(Line &line, Scheduler &scheduler);
  void answer(Line &line, const Scheduler &scheduler, const Tokenizer *tokenizer);
  Result<void> readMessages(std::string_view text, const std::string &where, const Manifest &manifest,
                            LazyTokenizer &lazy, Line &line);
  Result<std::vector<Line>> readLines(const Manifest &manifest, LazyTokenizer &tokenizer);
  Result<Line> readLine(std::string_view text, const std::string &where, uint64_t index, const Manifest &manifest,
                        LazyTokenizer &lazy);
};

std::vector<std::string> readStops(JsonReader &reader, const Json &document) {
  if (document.contains("stop") && document["stop"].is_string())
    return {reader.string("stop")};
  return reader.has("stop") ? reader.strings("stop") : std::vector<std::string>();
}

/// The prompt of a line with messages. Its text is read again: a template sees keys in the order they stand in.
Result<void> Batch::readMessages(std::string_view text, const std::string &where, const Manifest &manifest,
                                 LazyTokenizer &lazy, Line &line) {
  auto document = chat::parseValue(text, where);
  if (!document)
    return propagate(document);
  auto field = [&](std::string_view key) {
    const chat::Value *found = document->dict().find(key);
    return found ? *found : chat::Value(chat::None());
  };
  ChatRequest request;
  request.messages = field("messages");
  request.tools = field("tools");
  request.templateKwargs = field("chat_template_kwargs");
  if (auto good = checkMessages(request.messages, where + ": messages"); !good)
    return good;
  if (!request.tools.isNone() && !request.tools.isList())
    return fail(ExitCode::badInput, "{}: tools: expected a list of tools", where);
  if (!request.templateKwargs.isNone())
    if (auto good = checkTemplateKwargs(request.templateKwargs, where + ": chat_template_kwargs"); !good)
      return good;
  for (auto [key, flag] : {std::pair("add_generation_prompt", &request.addGenerationPrompt),
                           std::pair("parse_special", &request.parseSpecial)})
    if (chat::Value value = field(key); value.isBoolean())
      *flag = value.truthy();
    else if (!value.isNone())
      return fail(ExitCode::badInput, "{}: {}: expected true or false", where, key);
  if (!chat) {
    auto loaded = loadChatPrompt(lazy, templateFile, where + ": messages");
    if (!loaded)
      return propagate(loaded);
    chat = std::move(*loaded);
    chatEnds = chat->endTokens(manifest.eosTokenIds);
  }
  auto prompt = chat->encode(request);
  if (!prompt)
    return fail(prompt.error().code, "{}: {}", where, prompt.error().message);
  line.prompt = std::move(*prompt);
  return {};
}

Result<Line> Batch::readLine(std::string_view text, const std::string &where, uint64_t index, const Manifest &manifest,
                             LazyTokenizer &lazy) {
  auto document = parseJson(text, where);
  if (!document)
    return propagate(document);
  std::optional<Error> error;
  JsonReader reader(*document, where, error);
  reader.only({"prompt",
               "ids",
               "messages",
               "n",
               "temp",
               "top_k",
               "top_p",
               "min_p",
               "typical_p",
               "repeat_penalty",
               "presence_penalty",
               "frequency_penalty",
               "logit_bias",
               "mirostat",
               "mirostat_tau",
               "mirostat_eta",
               "seed",
               "stop",
               "ignore_eos",
               "logprobs",
               "samples",
               "tools",
               "add_generation_prompt",
               "chat_template_kwargs",
               "parse_special"});
  bool hasMessages = reader.has("messages");
  if (!error && reader.has("prompt") + reader.has("ids") + hasMessages != 1)
    reader.refuse("expected one of prompt, ids and messages");
  for (const char *key : {"tools", "add_generation_prompt", "chat_template_kwargs", "parse_special"})
    if (!hasMessages && reader.has(key))
      reader.refuse(key, "goes with messages");
  Line line;
  line.hash = BatchJournal::hash(text);
  Request &request = line.request;
  auto integer = [&](const char *key, int64_t otherwise, int64_t low, int64_t high) {
    return reader.has(key) ? reader.integer(key, low, high) : otherwise;
  };
  request.maxTokens = integer("n", 128, 0, INT32_MAX);
  SamplerOptions &sampling = request.sampling;
  sampling = defaultSampling(manifest.sampling);
  readSampling(reader, *document, sampling);
  // A line with a seed gets what `generate` with that seed gives; lines without one differ from each other.
  sampling.seed = static_cast<uint64_t>(integer("seed", 0, 0, INT64_MAX));
  sampling.request = reader.has("seed") ? 0 : index;
  line.stops = readStops(reader, *document);
  bool ignoreEos = reader.has("ignore_eos") && reader.boolean("ignore_eos");
  if (reader.has("logprobs"))
    request.logprobs = (*document)["logprobs"].is_boolean() ? (reader.boolean("logprobs") ? 0 : -1)
                                                            : reader.integer("logprobs", 0, 1000);
  std::string prompt = reader.has("prompt") ? reader.string("prompt") : "";
  if (reader.has("ids"))
    for (int64_t id : reader.integers("ids", 0, INT32_MAX))
      line.prompt.push_back(static_cast<int32_t>(id));
  int64_t samples = integer("samples", 1, 1, 4096);
  if (error)
    return std::unexpected(*error);
  if (hasMessages)
    if (auto read = readMessages(text, where, manifest, lazy, line); !read)
      return propagate(read);
  if (!ignoreEos)
    request.endTokens = hasMessages ? chatEnds : manifest.eosTokenIds;
  auto tokenizer = reader.has("prompt")  ? lazy.require(where + ": prompt")
                   : !line.stops.empty() ? lazy.require(where + ": stop")
                                         : lazy.get();
  if (!tokenizer)
    return propagate(tokenizer);
  if (reader.has("prompt"))
    line.prompt = (*tokenizer)->encode(prompt);
  for (int64_t i = 0; i < samples; ++i)
    line.samples.push_back({*tokenizer ? std::optional(TextStream(*tokenizer, line.stops)) : std::nullopt});
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

/// Queues a request for each sample of a line.
Result<void> Batch::submit(Line &line, Scheduler &scheduler) {
  line.running = line.samples.size();
  for (size_t i = 0; i < line.samples.size(); ++i) {
    Request request = line.request;
    request.sampling.request = sampleNumber(line.request.sampling.request, static_cast<int64_t>(i));
    SampleText &sample = line.samples[i];
    if (sample.stream)
      request.onToken = [&sample](int32_t id) {
        sample.text += sample.stream->push(id);
        return sample.stream->stopped();
      };
    request.onFinish = [&line] { --line.running; };
    auto number = i == 0 ? scheduler.submit(std::move(request))
                         : scheduler.submitSample(line.numbers.front(), std::move(request));
    if (!number)
      return propagate(number);
    line.numbers.push_back(*number);
  }
  return {};
}

/// Makes the line of output of a line whose samples have all finished.
void Batch::answer(Line &line, const Scheduler &scheduler, const Tokenizer *tokenizer) {
  std::vector<Sample> samples;
  for (size_t i = 0; i < line.samples.size(); ++i) {
    SampleText &sample = line.samples[i];
    if (sample.stream && !sample.stream->stopped())
      sample.text += sample.stream->finish();
    samples.push_back(
        {scheduler.completion(line.numbers[i]), sample.stream ? std::optional(std::move(sample.text)) : std::nullopt});
  }
  line.answer = jsonLine(completionJson(line.prompt, samples, tokenizer));
}

Result<void> Batch::run() {
  auto artifact = Artifact::open(model.artifact);
  if (!artifact)
    return propagate(artifact);
  LazyTokenizer lazy(*artifact);
  const Manifest &manifest = (*artifact)->manifest();
  auto lines = readLines(manifest, lazy);
  if (!lines)
    return propagate(lines);
  auto tokenizer = lazy.get();
  if (!tokenizer)
    return propagate(tokenizer);
  auto file = AtomicFile::create(output);
  if (!file)
    return propagate(file);
  int64_t context = model.context ? std::min(model.context, manifest.context) : manifest.context;
  std::string identity = BatchJournal::identity(**artifact, context), partial = BatchJournal::pathFor(output);
  if (resume) {
    std::vector<uint64_t> hashes;
    for (const Line &line : *lines)
      hashes.push_back(line.hash);
    auto read = BatchJournal::read(partial, identity, hashes);
    if (!read)
      return propagate(read);
    for (auto &[number, text] : *read)
      (*lines)[number].answer = text;
    fmt::print(stderr, "{}: {} of {} lines are answered\n", partial, read->size(), lines->size());
  }

  EngineOptions options = model.engine();
  for (const Line &line : *lines)
    if (line.answer.empty()) {
      int64_t length = static_cast<int64_t>(line.prompt.size()), samples = static_cast<int64_t>(line.samples.size());
      options.kvTokens += samples * std::min(context, length + line.request.maxTokens);
      options.kvSequences += samples;
    }
  options.kvTokens = std::max<int64_t>(1, options.kvTokens);
  options.kvMayShrink = true;
  auto engine = loadEngine(*artifact, model, options);
  if (!engine)
    return propagate(engine);
  Scheduler scheduler(**engine);
  std::vector<size_t> open;
  for (size_t i = 0; i < lines->size(); ++i)
    if ((*lines)[i].answer.empty()) {
      if (auto done = submit((*lines)[i], scheduler); !done)
        return std::unexpected(
            Error{done.error().code, fmt::format("{}: request {}: {}", input, i + 1, done.error().message)});
      open.push_back(i);
    }
  // Nothing is wrong with any line: from here on what finishes is kept.
  std::string kept;
  for (size_t i = 0; i < lines->size(); ++i)
    if (const Line &line = (*lines)[i]; !line.answer.empty())
      kept += BatchJournal::entry(i, line.hash, line.answer);
  auto journal = BatchJournal::create(partial, identity, kept);
  if (!journal)
    return propagate(journal);
  std::string speed = fmt::format("{}: {} requests", input, open.size());
  size_t prompted = 0, generated = 0;
  auto begin = std::chrono::steady_clock::now();
  while (!open.empty()) {
    if (auto done = scheduler.step(); !done)
      return done;
    for (size_t i : open)
      if (Line &line = (*lines)[i]; line.running == 0) {
        answer(line, scheduler, tokenizer->get());
        prompted += line.prompt.size();
        for (size_t number : line.numbers)
          generated += scheduler.completion(number).ids.size();
        if (auto done = (*journal)->add(BatchJournal::entry(i, line.hash, line.answer)); !done)
          return done;
      }
    std::erase_if(open, [&](size_t i) { return !(*lines)[i].answer.empty(); });
  }
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  for (const Line &line : *lines)
    if (auto done = (*file)->write(line.answer); !done)
      return done;
  if (auto done = (*file)->commit(); !done)
    return done;
  (*journal)->remove();
  fmt::print(stderr, "{} of {} tokens, {} new tokens in {:.2f} s, {:.1f} tokens/s\n", speed, prompted, generated,
             seconds, seconds > 0 ? double(generated) / seconds : 0);
  return {};
}

} // namespace

void addBatch(CLI::App &app, Action &action) {
  auto flags = std::make_shared<Batch>();
  CLI::App *command = app.add_subcommand("batch", "Run many requests as one ragged batch");
  command->group(subject::run);
  command->footer("Examples:\n  lathe batch smollm2.lathe questions.jsonl -o answers.jsonl\n"
                  "  lathe batch smollm2.lathe questions.jsonl -o answers.jsonl --resume");
  flags->model.add(*command);
  command
      ->add_option(
          "input", flags->input,
          "Requests, one JSON object a line: prompt, ids or messages; n, temp, top_k, top_p, min_p, typical_p, "
          "repeat_penalty, presence_penalty, frequency_penalty, logit_bias, mirostat, mirostat_tau, "
          "mirostat_eta, seed, stop, ignore_eos, logprobs, samples; with messages, which the chat template renders, "
          "also tools, add_generation_prompt (default true), chat_template_kwargs and parse_special (default "
          "false: special tokens written in messages stay text, so that none can end its turn)")
      ->required();
  command
      ->add_option("-o,--output", flags->output, "Answers, in the order of the requests; replaced when all are there")
      ->type_name("FILE")
      ->required()
      ->group("Output");
  command
      ->add_flag("--resume", flags->resume,
                 "Go on after an interruption: answers that are in OUTPUT.partial are not computed again")
      ->group("Output");
  command
      ->add_option("--template", flags->templateFile,
                   "Chat template (Jinja) for messages, instead of the artifact's own")
      ->type_name("FILE")
      ->group("Conversation");
  command->callback([flags, &action] { action = [flags] { return flags->run(); }; });
}

} // namespace lathe
