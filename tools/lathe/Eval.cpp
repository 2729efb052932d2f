#include "tools/lathe/Commands.h"
#include "tools/lathe/EvalScore.h"
#include "tools/lathe/Model.h"
#include "tools/lathe/Output.h"

#include "runtime/support/AtomicFile.h"

#include <algorithm>
#include <optional>

namespace lathe {
namespace {

struct Eval {
  ModelFlags model;
  std::string ids, file, text, logits, against;
  int64_t chunk = 0, stride = 0;
  bool json = false;
  CLI::Option *idsOption = nullptr, *fileOption = nullptr, *perplexityOption = nullptr;

  Result<void> run();
  Result<std::vector<int32_t>> readTokens(std::shared_ptr<const Artifact> artifact);
  bool scores() const { return perplexityOption->count() || !against.empty(); }
  void check() const;
};

/// The head of a safetensors file with one float32 matrix; its data follow.
std::string safetensorsHeader(int64_t rows, int64_t columns) {
  std::string json = fmt::format(R"({{"logits":{{"dtype":"F32","shape":[{},{}],"data_offsets":[0,{}]}}}})", rows,
                                 columns, rows * columns * 4);
  json.resize((json.size() + 7) / 8 * 8, ' ');
  std::string out;
  for (int i = 0; i < 8; ++i)
    out.push_back(static_cast<char>(json.size() >> (8 * i)));
  return out + json;
}

/// One model that reads a text window by window.
class Reader {
public:
  static Result<Reader> load(const ModelFlags &flags, std::shared_ptr<const Artifact> artifact, EngineOptions options) {
    options.kvTokens = std::min(options.kvTokens, artifact->manifest().context);
    auto engine = loadEngine(std::move(artifact), flags, options);
    if (!engine)
      return propagate(engine);
    return Reader(std::move(*engine));
  }

  CpuPool &pool() { return loaded->pool(); }
  int64_t context() const { return loaded->context(); }
  int64_t vocab() const { return loaded->plan().vocab; }
  /// Rows that one step may have.
  int64_t rows() const { return std::min(loaded->maxRows(), loaded->maxLogitRows()); }
  void begin() { sequence = loaded->kv().open(); }
  void end() { loaded->kv().close(sequence); }
  /// Logits of the last `wanted` of the tokens.
  Result<StepLogits> step(std::span<const int32_t> tokens, int64_t wanted) {
    if (!loaded->reserve(sequence, static_cast<int64_t>(tokens.size())))
      return fail(ExitCode::internal, "the KV pool has no page for {} more tokens", tokens.size());
    SequenceRows rows{sequence, tokens, wanted};
    return loaded->step({&rows, 1});
  }

private:
  explicit Reader(std::unique_ptr<Engine> engine) : loaded(std::move(engine)) {}
  std::unique_ptr<Engine> loaded;
  KvStore::Sequence sequence = 0;
};

/// What is made of the logits: written to a file, scored, both.
class Evaluation {
public:
  Evaluation(std::span<const int32_t> tokens, Reader &reader, Reader *reference)
      : tokens(tokens), reader(reader), reference(reference) {}

  AtomicFile *output = nullptr;
  EvalSummary *summary = nullptr;

  Result<void> run(const Window &window) {
    for (Reader *each : {&reader, reference})
      if (each)
        each->begin();
    Result<void> done = steps(window);
    for (Reader *each : {&reader, reference})
      if (each)
        each->end();
    return done;
  }

private:
  Result<void> steps(const Window &window) {
    int64_t rows = reference ? std::min(reader.rows(), reference->rows()) : reader.rows();
    for (int64_t begin = window.begin; begin < window.end;) {
      // A step ends where the scored part begins, so that its logits are all or none of it wanted.
      int64_t end = std::min({window.end, begin + rows, begin < window.scored ? window.scored : window.end});
      std::span<const int32_t> part = tokens.subspan(begin, end - begin);
      int64_t wanted = begin < window.scored ? 0 : end - begin;
      auto logits = reader.step(part, wanted);
      if (!logits)
        return propagate(logits);
      StepLogits theirs;
      if (reference) {
        auto stepped = reference->step(part, wanted);
        if (!stepped)
          return propagate(stepped);
        theirs = *stepped;
      }
      if (wanted)
        if (auto done = use(begin, *logits, theirs); !done)
          return done;
      begin = end;
    }
    return {};
  }

  Result<void> use(int64_t begin, const StepLogits &logits, const StepLogits &theirs) {
    for (int64_t row = 0; output && row < logits.rows; ++row) {
      std::span<const std::byte> bytes = std::as_bytes(logits.row(row));
      if (auto done = output->write({reinterpret_cast<const char *>(bytes.data()), bytes.size()}); !done)
        return done;
    }
    if (!summary)
      return {};
    // Rows are shared out, sums are not: figures do not depend on the number of threads.
    std::vector<RowScore> scores(logits.rows);
    CpuPool &pool = reader.pool();
    auto next = [&](int64_t row) {
      int64_t at = begin + row + 1;
      return at < static_cast<int64_t>(tokens.size()) ? tokens[at] : -1;
    };
    pool.run([&](int64_t worker) {
      for (int64_t row = worker; row < logits.rows; row += pool.workers())
        scores[row] =
            reference ? scoreRow(logits.row(row), theirs.row(row), next(row)) : scoreRow(logits.row(row), next(row));
    });
    for (int64_t row = 0; row < logits.rows; ++row)
      summary->add(scores[row], next(row) >= 0);
    return {};
  }

  std::span<const int32_t> tokens;
  Reader &reader;
  Reader *reference;
};

Result<std::vector<int32_t>> Eval::readTokens(std::shared_ptr<const Artifact> artifact) {
  if (idsOption->count())
    return parseIds(ids);
  if (fileOption->count())
    return readIds(file);
  auto tokenizer = LazyTokenizer(std::move(artifact)).require("--ppl");
  if (!tokenizer)
    return propagate(tokenizer);
  auto content = readText(text);
  if (!content)
    return propagate(content);
  // What looks like a special token in a text is text.
  return (*tokenizer)->encode(*content, {.addSpecial = true, .parseSpecial = false});
}

Result<void> Eval::run() {
  auto artifact = Artifact::open(model.artifact);
  if (!artifact)
    return propagate(artifact);
  auto tokens = readTokens(*artifact);
  if (!tokens)
    return propagate(tokens);
  int64_t count = static_cast<int64_t>(tokens->size());
  if (count < (perplexityOption->count() ? 2 : 1))
    return fail(ExitCode::badInput, "{}: {} tokens, expected at least {}",
                !text.empty()         ? text
                : fileOption->count() ? file
                                      : "--ids",
                count, perplexityOption->count() ? 2 : 1);

  EngineOptions options = model.engine();
  options.kvTokens = count;
  options.reusePrefixes = false;
  if (chunk)
    options.maxRows = options.maxLogitRows = std::min(chunk, count);
  auto reader = Reader::load(model, *artifact, options);
  if (!reader)
    return propagate(reader);
  int64_t context = reader->context();

  std::optional<Reader> reference;
  if (!against.empty()) {
    auto other = Artifact::open(against);
    if (!other)
      return propagate(other);
    ModelFlags flags = model;
    flags.artifact = against;
    auto loaded = Reader::load(flags, *other, options);
    if (!loaded)
      return propagate(loaded);
    if (loaded->vocab() != reader->vocab())
      return fail(ExitCode::badInput, "--against {}: expected a vocabulary of {} tokens as {} has, found {}", against,
                  reader->vocab(), model.artifact, loaded->vocab());
    reference.emplace(std::move(*loaded));
    context = std::min(context, reference->context());
  }
  if (!logits.empty() && count > context)
    return fail(ExitCode::badInput, "{} tokens, the context has {}; give fewer or raise -c", count, context);
  if (stride > context)
    return fail(ExitCode::badInput, "--stride: expected at most {}, the context; found {}", context, stride);

  EvalSummary summary;
  summary.window = context;
  summary.stride = stride ? stride : (context + 1) / 2;
  summary.against = against;
  Evaluation evaluation(*tokens, *reader, reference ? &*reference : nullptr);
  std::unique_ptr<AtomicFile> output;
  if (!logits.empty()) {
    auto created = AtomicFile::create(logits);
    if (!created)
      return propagate(created);
    output = std::move(*created);
    if (auto done = output->write(safetensorsHeader(count, reader->vocab())); !done)
      return done;
  }
  evaluation.output = output.get();
  evaluation.summary = scores() ? &summary : nullptr;
  for (const Window &window : planWindows(count, context, summary.stride))
    if (auto done = evaluation.run(window); !done)
      return done;
  if (output)
    if (auto done = output->commit(); !done)
      return done;
  if (!scores())
    return {};
  return writeOutput(json ? jsonLine(summary.json()) : summary.text());
}

void Eval::check() const {
  bool fromText = !text.empty();
  if (idsOption->count() + fileOption->count() + fromText != 1)
    throw CLI::ValidationError("tokens", "expected exactly one of --ids, --file and --ppl TEXT");
  if (logits.empty() && !scores())
    throw CLI::ValidationError("eval", "expected at least one of --logits, --ppl and --against");
  if ((json || stride) && !scores())
    throw CLI::ValidationError(json ? "--json" : "--stride", "goes with --ppl or --against only");
}

} // namespace

void addEval(CLI::App &app, Action &action) {
  auto flags = std::make_shared<Eval>();
  CLI::App *command =
      app.add_subcommand("eval", "Logits after every token, the perplexity of a text, distance from another artifact");
  command->group(subject::measure);
  command->footer("Examples:\n  lathe eval smollm2.lathe --ppl wiki.txt -c 2k --stride 1k\n"
                  "  lathe eval smollm2-int4.lathe --ppl wiki.txt --against smollm2.lathe --json");
  flags->model.add(*command);
  flags->idsOption = command->add_option("--ids", flags->ids, "Token ids: 1,2,3 or @FILE")->type_name("IDS");
  flags->fileOption = command
                          ->add_option("-f,--file", flags->file,
                                       "File of token ids: comma-separated or a JSON list; - is standard input")
                          ->type_name("FILE");
  command->add_option("--logits", flags->logits, "Output: safetensors with float32 logits [tokens, vocab]")
      ->type_name("FILE");
  flags->perplexityOption = command
                                ->add_option("--ppl", flags->text,
                                             "Perplexity of a text file (- is standard input), or of the ids where "
                                             "none is named")
                                ->type_name("[TEXT]")
                                ->expected(0, 1);
  command
      ->add_option("--against", flags->against,
                   "Artifact to compare with: KL divergence from it, tokens that both like best, its perplexity")
      ->type_name("FILE");
  command
      ->add_option("--stride", flags->stride,
                   "Texts longer than the context run in windows of it, one every so many tokens (default: half of it)")
      ->transform(sizes())
      ->check(positive());
  command
      ->add_option("--chunk", flags->chunk,
                   "Tokens of one step (default: as many as their logits take 64 MiB, at most 512)")
      ->transform(sizes())
      ->check(CLI::Range(1, 1 << 20));
  command->add_flag("--json", flags->json, "Print one JSON object");
  for (const char *flag : {"--ids", "--file", "--ppl"})
    command->get_option(flag)->group("Text: exactly one of these");
  for (const char *flag : {"--logits", "--against", "--stride", "--chunk", "--json"})
    command->get_option(flag)->group("Output");
  command->callback([flags, &action] {
    flags->check();
    action = [flags] { return flags->run(); };
  });
}

} // namespace lathe
