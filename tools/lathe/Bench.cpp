#include "tools/lathe/BenchKernel.h"
#include "tools/lathe/BenchProfile.h"
#include "tools/lathe/BenchReport.h"
#include "tools/lathe/Commands.h"
#include "tools/lathe/Model.h"
#include "tools/lathe/Output.h"
#include "tools/support/Progress.h"

#include "runtime/PeakProbe.h"

#include <algorithm>
#include <chrono>
#include <cmath>

namespace lathe {
namespace {

struct Bench {
  ModelFlags model;
  std::vector<int64_t> prompts{512}, generated{128}, depths{0}, batches{1};
  int64_t repetitions = 5;
  std::string format = "md";
  bool json = false, profile = false;

  Result<void> run();
  std::vector<BenchRow> settings() const;
};

/// Runs settings on an engine. Tokens are drawn from a counter, as llama-bench draws them: no sampling is measured.
class Measurement {
public:
  /// The measured steps, not those that fill the context, go into the trace.
  Measurement(Engine &engine, const BenchRow &row, StepTrace *trace = nullptr)
      : engine(engine), row(row), trace(trace) {}

  /// Seconds of one repetition, from a fresh KV store.
  Result<double> repeat() {
    for (int64_t i = 0; i < row.batch; ++i)
      sequences.push_back(engine.kv().open());
    Result<double> seconds = measure();
    for (KvStore::Sequence sequence : sequences)
      engine.kv().close(sequence);
    sequences.clear();
    return seconds;
  }

private:
  Result<double> measure() {
    if (auto filled = prefill(row.depth, false); !filled)
      return propagate(filled);
    if (auto idle = engine.wait(); !idle)
      return propagate(idle);
    engine.setTrace(trace);
    auto begin = std::chrono::steady_clock::now();
    if (row.prompt)
      if (auto done = prefill(row.prompt, true); !done)
        return propagate(done);
    for (int64_t i = 0; i < row.generated; ++i)
      if (auto done = decode(); !done)
        return propagate(done);
    if (auto ended = engine.wait(); !ended)
      return propagate(ended);
    double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    engine.setTrace(nullptr);
    return seconds;
  }

  /// `count` more tokens for every sequence, in steps as full as they get; the last of each wants its logits.
  Result<void> prefill(int64_t count, bool logits) {
    draw(count);
    std::vector<SequenceRows> step;
    int64_t room = engine.maxRows();
    for (KvStore::Sequence sequence : sequences)
      for (int64_t done = 0; done < count;) {
        int64_t rows = std::min(room, count - done);
        // One sequence never appears twice in a step: a part that does not fill the step ends the sequence.
        step.push_back({sequence, std::span(tokens).subspan(done, rows), logits && done + rows == count ? 1 : 0});
        done += rows;
        room -= rows;
        if (room == 0 || done < count)
          if (auto ran = flush(step, room); !ran)
            return ran;
      }
    return flush(step, room);
  }

  Result<void> decode() {
    draw(1);
    std::vector<SequenceRows> step;
    int64_t room = 0;
    for (KvStore::Sequence sequence : sequences)
      step.push_back({sequence, tokens, 1, engine.draws() ? std::optional(drawOf({}, 0)) : std::nullopt});
    return flush(step, room);
  }

  Result<void> flush(std::vector<SequenceRows> &step, int64_t &room) {
    room = engine.maxRows();
    if (step.empty())
      return {};
    for (const SequenceRows &rows : step)
      if (!engine.reserve(rows.sequence, static_cast<int64_t>(rows.tokens.size())))
        return fail(ExitCode::internal, "bench: the KV pool is too small");
    auto done = engine.advance(step);
    step.clear();
    return done;
  }

  void draw(int64_t count) {
    tokens.resize(count);
    for (int32_t &token : tokens)
      token = static_cast<int32_t>(counterUniform(0, 0, drawn++) * double(engine.plan().vocab));
  }

  Engine &engine;
  const BenchRow &row;
  StepTrace *trace;
  std::vector<KvStore::Sequence> sequences;
  std::vector<int32_t> tokens;
  uint64_t drawn = 0;
};

/// Bytes that a token reads: weights once a step, and the keys and values of the positions before it (prefill: once a
/// block of attention rows). What caches hold back is not known here.
double bytesPerToken(const Plan &plan, const BenchRow &row, int64_t maxRows) {
  double body = 0, head = 0;
  for (const Launch &launch : plan.launches) {
    const Kernel &kernel = plan.kernels[launch.kernel];
    (kernel.unit == Unit::logitRows ? head : body) += double(kernel.tiles) * double(kernel.bytesPerTile);
  }
  double position = double(plan.pageBytes()) / double(plan.pageTokens) * double(plan.layers);
  double count = double(row.prompt + row.generated), seen = double(row.depth) + (count + 1) / 2;
  if (row.generated)
    return (body + head) / double(row.batch) + position * seen;
  double steps = std::ceil(row.tokens() / double(maxRows));
  return (body * steps + head) / row.tokens() + position * seen / double(plan.attentionRows);
}

/// Operations a token takes in the linears; in prefill the head runs for the last token of a sequence alone. Attention
/// is float arithmetic and not counted.
double opsPerToken(const Plan &plan, const BenchRow &row) {
  double body = 0, head = 0;
  for (const Launch &launch : plan.launches) {
    const Kernel &kernel = plan.kernels[launch.kernel];
    if (kernel.unit != Unit::items)
      (kernel.unit == Unit::logitRows ? head : body) += double(kernel.flopsPerUnit);
  }
  return row.generated ? body + head : body + head * double(row.batch) / row.tokens();
}

/// Every combination that the flags name: prompts, then generation, for each depth and batch.
std::vector<BenchRow> Bench::settings() const {
  std::vector<BenchRow> rows;
  for (int64_t depth : depths)
    for (int64_t batch : batches) {
      auto add = [&](int64_t prompt, int64_t count) {
        BenchRow row;
        row.depth = depth, row.batch = batch, row.prompt = prompt, row.generated = count;
        if (prompt + count > 0)
          rows.push_back(row);
      };
      for (int64_t prompt : prompts)
        add(prompt, 0);
      for (int64_t count : generated)
        add(0, count);
    }
  return rows;
}

Result<void> Bench::run() {
  auto artifact = Artifact::open(model.artifact);
  if (!artifact)
    return propagate(artifact);
  const Manifest &manifest = (*artifact)->manifest();
  std::vector<BenchRow> rows = settings();
  EngineOptions options = model.engine();
  options.reusePrefixes = false;
  options.kvTokens = 1;
  int64_t context = model.context ? model.context : manifest.context;
  for (const BenchRow &row : rows) {
    int64_t length = row.depth + row.prompt + row.generated;
    if (length > context)
      return fail(ExitCode::badInput, "{}: {} takes {} tokens, the context has {}; lower -p, -n or -d", model.artifact,
                  row.test(), length, context);
    options.kvTokens = std::max(options.kvTokens, length * row.batch);
    options.kvSequences = std::max(options.kvSequences, row.batch);
    options.maxRows = std::max(options.maxRows, row.batch);
  }
  options.maxLogitRows = options.kvSequences;
  auto engine = loadEngine(*artifact, model, options);
  if (!engine)
    return propagate(engine);
  auto probe = (*engine)->readBandwidth();
  if (!probe)
    return propagate(probe);
  bool integers = manifest.target == "cpu" && multipliesBytes(manifest);
  double peak = integers ? probeInt8Peak((*engine)->pool(), (*engine)->tier()) : 0;
  uint64_t modelBytes = 0;
  for (const PackedWeight &weight : manifest.weights)
    modelBytes += weight.bytes;

  BenchReport report(json || format == "json" ? BenchFormat::json
                     : format == "jsonl"      ? BenchFormat::jsonl
                     : format == "csv"        ? BenchFormat::csv
                                              : BenchFormat::markdown);
  std::string profiles;
  Progress progress;
  int64_t done = 0, steps = repetitions * static_cast<int64_t>(rows.size());
  if (auto done = writeOutput(report.begin()); !done)
    return done;
  for (BenchRow &row : rows) {
    row.model = manifest.model, row.quant = manifest.quant, row.tier = (*engine)->tier(),
    row.threads = (*engine)->threads();
    row.modelBytes = modelBytes, row.parameters = manifest.parameters, row.probeBytesPerSecond = *probe;
    row.bytesPerToken = bytesPerToken((*engine)->plan(), row, (*engine)->maxRows());
    row.int8OpsPerSecond = peak, row.int8OpsPerToken = integers ? opsPerToken((*engine)->plan(), row) : 0;
    // One unmeasured repetition (of one token in generation) brings weights and code into memory, as llama-bench does.
    BenchRow warm = row;
    warm.generated = std::min<int64_t>(row.generated, 1);
    if (auto seconds = Measurement(**engine, warm).repeat(); !seconds)
      return propagate(seconds);
    StepTrace trace(static_cast<int64_t>((*engine)->plan().launches.size()), (*engine)->threads());
    double total = 0;
    for (int64_t i = 0; i < repetitions; ++i) {
      progress(fmt::format("{} of {}", row.test(), model.artifact), done++, steps);
      auto seconds = Measurement(**engine, row, &trace).repeat();
      if (!seconds)
        return propagate(seconds);
      row.seconds.push_back(*seconds);
      total += *seconds;
    }
    BenchProfile spent((*engine)->plan(), trace, total);
    row.barriers = spent.barriers, row.meanBarriers = spent.meanBarriers;
    if (profile)
      profiles += spent.table(row.batch > 1 ? fmt::format("{}, batch {}", row.test(), row.batch) : row.test());
    progress.clear();
    if (auto done = writeOutput(report.row(row)); !done)
      return done;
  }
  return writeOutput(report.end() + profiles);
}

} // namespace

void addBench(CLI::App &app, Action &action) {
  auto flags = std::make_shared<Bench>();
  CLI::App *command = app.add_subcommand("bench", "Measure prompt processing (pp) and text generation (tg)");
  command->group(subject::measure);
  command->footer("Examples:\n  lathe bench smollm2.lathe -p 512 -n 128 -d 0,4k\n"
                  "  lathe bench smollm2.lathe --kernel norm_gate_up_gated -m 1,8,512");
  flags->model.add(*command);
  auto list = [&](const char *name, std::vector<int64_t> &values, const char *help, CLI::Validator check) {
    return command->add_option(name, values, help)
        ->delimiter(',')
        ->allow_extra_args(false)
        ->transform(sizes())
        ->check(check)
        ->capture_default_str();
  };
  list("-p,--n-prompt", flags->prompts, "Prompt lengths; 0: none", CLI::Range(0, 1 << 24));
  list("-n,--n-gen", flags->generated, "Tokens to generate; 0: none", CLI::Range(0, 1 << 24));
  list("-d,--n-depth", flags->depths, "Tokens that stand in the context before", CLI::Range(0, 1 << 24));
  list("-b,--n-batch", flags->batches, "Sequences that run together", CLI::Range(1, 1 << 16));
  command->add_option("-r,--repetitions", flags->repetitions, "Repetitions, each from a fresh KV store")
      ->check(CLI::Range(1, 1 << 24))
      ->capture_default_str();
  command->add_option("-o,--output", flags->format, "Format: md, json, jsonl, csv")
      ->check(CLI::IsMember({"md", "json", "jsonl", "csv"}))
      ->capture_default_str();
  command->add_flag("--json", flags->json, "As -o json");
  CLI::Option *profile =
      command->add_flag("--profile", flags->profile, "Also a table of the time in each kernel (format md)");
  auto kernel = std::make_shared<KernelBenchFlags>();
  CLI::Option *name =
      command->add_option("--kernel", kernel->kernel, "Measure this kernel alone, on cold weights (format md, json)")
          ->excludes(profile);
  for (const char *other : {"-p", "-n", "-b"})
    name->excludes(command->get_option(other));
  list("-m,--rows", kernel->rows, "With --kernel: rows of a launch (default: 1,2,4,8,16,512)", CLI::Range(1, 1 << 16))
      ->needs(name);
  for (const char *flag : {"--n-prompt", "--n-gen", "--n-depth", "--n-batch", "--repetitions", "--kernel", "--rows"})
    command->get_option(flag)->group("What is measured");
  for (const char *flag : {"--output", "--json", "--profile"})
    command->get_option(flag)->group("Output");
  command->callback([flags, kernel, &action] {
    if (flags->profile && (flags->json || flags->format != "md"))
      throw CLI::ValidationError("--profile", "goes with -o md only");
    if (!kernel->kernel.empty()) {
      if (flags->depths.size() != 1 || (flags->format != "md" && flags->format != "json"))
        throw CLI::ValidationError("--kernel", "goes with one -d, and with -o md or json only");
      kernel->depth = flags->depths.front(), kernel->repetitions = flags->repetitions;
      kernel->json = flags->json || flags->format == "json";
      action = [flags, kernel] { return benchKernel(flags->model, *kernel); };
      return;
    }
    action = [flags] { return flags->run(); };
  });
}

} // namespace lathe
