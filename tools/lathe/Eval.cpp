#include "tools/lathe/Commands.h"
#include "tools/lathe/Model.h"

#include "runtime/support/AtomicFile.h"

#include <algorithm>

namespace lathe {
namespace {

struct Eval {
  ModelFlags model;
  std::string ids, file, logits;
  int64_t chunk = 0;
  CLI::Option *idsOption = nullptr;

  Result<void> run();
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

Result<void> Eval::run() {
  auto tokens = idsOption->count() ? parseIds(ids) : readIds(file);
  if (!tokens)
    return propagate(tokens);
  auto artifact = Artifact::open(model.artifact);
  if (!artifact)
    return propagate(artifact);
  int64_t count = static_cast<int64_t>(tokens->size());
  EngineOptions options = model.engine();
  options.kvTokens = std::min(count, (*artifact)->manifest().context);
  options.reusePrefixes = false;
  if (chunk)
    options.maxRows = options.maxLogitRows = std::min(chunk, count);
  auto engine = loadEngine(*artifact, model, options);
  if (!engine)
    return propagate(engine);
  if (count > (*engine)->context())
    return fail(ExitCode::badInput, "{} tokens, the context has {}; give fewer or raise -c", count,
                (*engine)->context());
  auto output = AtomicFile::create(logits);
  if (!output)
    return propagate(output);
  if (auto done = (*output)->write(safetensorsHeader(count, (*engine)->plan().vocab)); !done)
    return done;
  KvStore::Sequence sequence = (*engine)->kv().open();
  int64_t rows = std::min((*engine)->maxRows(), (*engine)->maxLogitRows());
  for (int64_t begin = 0; begin < count; begin += rows) {
    std::span<const int32_t> part = std::span(*tokens).subspan(begin, std::min(rows, count - begin));
    if (!(*engine)->reserve(sequence, static_cast<int64_t>(part.size())))
      return fail(ExitCode::internal, "the KV pool has no page for token {}", begin);
    SequenceRows step{sequence, part, static_cast<int64_t>(part.size())};
    auto result = (*engine)->step({&step, 1});
    if (!result)
      return propagate(result);
    for (int64_t row = 0; row < result->rows; ++row) {
      std::span<const std::byte> bytes = std::as_bytes(result->row(row));
      if (auto done = (*output)->write({reinterpret_cast<const char *>(bytes.data()), bytes.size()}); !done)
        return done;
    }
  }
  return (*output)->commit();
}

} // namespace

void addEval(CLI::App &app, Action &action) {
  auto flags = std::make_shared<Eval>();
  CLI::App *command = app.add_subcommand("eval", "Write the logits after every token of a sequence");
  flags->model.add(*command);
  CLI::Option_group *source = command->add_option_group("tokens", "Exactly one of these");
  flags->idsOption = source->add_option("--ids", flags->ids, "Token ids: 1,2,3 or @FILE");
  source->add_option("-f,--file", flags->file,
                     "File of token ids: comma-separated or a JSON list; - is standard input");
  source->require_option(1);
  command->add_option("--logits", flags->logits, "Output: safetensors with float32 logits [tokens, vocab]")->required();
  command
      ->add_option("--chunk", flags->chunk,
                   "Tokens of one step (default: as many as their logits take 64 MiB, at most 512)")
      ->check(CLI::Range(1, 1 << 20));
  command->callback([flags, &action] { action = [flags] { return flags->run(); }; });
}

} // namespace lathe
