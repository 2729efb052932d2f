#include "runtime/Engine.h"

#include "runtime/CheckedExecutor.h"
#include "runtime/CpuExecutor.h"
#include "runtime/CpuFeatures.h"
#include "runtime/CudaExecutor.h"

#include <algorithm>
#include <charconv>
#include <deque>
#include <functional>

namespace lathe {
namespace {

constexpr int64_t kLogitBytes = 64 << 20, kMostRows = 1 << 19;

/// "cuda", "cuda:1": which GPU.
Result<int> ordinalOf(std::string_view device) {
  int ordinal = 0;
  if (size_t colon = device.find(':'); colon != device.npos) {
    std::string_view digits = device.substr(colon + 1);
    auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), ordinal);
    if (error != std::errc() || end != digits.data() + digits.size() || ordinal < 0)
      return fail(ExitCode::usage, "--device {}: expected cuda:N with the number of a GPU", device);
  }
  return ordinal;
}

} // namespace

struct Engine::Impl {
  /// A step that was started and not collected.
  struct Flight {
    std::vector<bool> drawn;                                ///< of each logit row: whether the device draws its token
    std::vector<std::pair<KvStore::Sequence, int64_t>> fed; ///< sequences and the logit rows whose tokens they take
  };

  std::shared_ptr<const Artifact> artifact;
  Plan plan;
  int64_t context = 0, maxRows = 0, maxLogitRows = 0;
  std::unique_ptr<KvStore> kv;
  MemoryLayout layout;
  StepArrays arrays;
  StepLoad load;
  std::unique_ptr<Executor> executor;
  std::unique_ptr<CpuPool> workers; ///< goes first of all: a late worker may still look into the executor
  std::vector<PageCopy> copies;
  Result<void> copied; ///< what became of them
  std::deque<Flight> flights;

  Result<std::unique_ptr<Executor>> openExecutor(const EngineOptions &options);
  Result<void> prepare(const EngineOptions &options);
  Result<void> check(std::span<const SequenceRows> batch) const;
  Result<void> checkDrawn(const SequenceRows &part) const;
  Result<LatheStep> launch(std::span<const SequenceRows> batch);
};

Engine::Engine(std::unique_ptr<Impl> impl) : impl(std::move(impl)) {}
Engine::~Engine() = default;
const Plan &Engine::plan() const { return impl->plan; }
const std::string &Engine::tier() const { return impl->executor->tier(); }
int64_t Engine::threads() const { return impl->workers->workers(); }
int64_t Engine::context() const { return impl->context; }
int64_t Engine::maxRows() const { return impl->maxRows; }
int64_t Engine::maxLogitRows() const { return impl->maxLogitRows; }
int64_t Engine::launches() const { return impl->load.launches; }
uint64_t Engine::weightBytes() const { return impl->load.weightBytes; }
uint64_t Engine::kvBytes() const { return impl->layout.poolBytes; }
KvStore &Engine::kv() { return *impl->kv; }
CpuPool &Engine::pool() { return *impl->workers; }

/// Decides where everything lies and how many pages the KV pool has, and has the executor make it so.
Result<void> Engine::Impl::prepare(const EngineOptions &options) {
  int64_t takers = executor->takers(), records = AttentionItems::recordsFor(plan, context, takers);
  arrays = StepArrays(AttentionItems(plan, takers, records));
  auto made = MemoryLayout::make(plan, maxRows, maxLogitRows, records);
  if (!made)
    return propagate(made);
  layout = std::move(*made);
  auto pagesFor = [&](int64_t tokens) { return (tokens + plan.pageTokens - 1) / plan.pageTokens; };
  int64_t tokens = options.kvTokens ? options.kvTokens : context, least = pagesFor(context);
  // Rounded down for all together, and one partly empty page for each sequence.
  int64_t pages = tokens / plan.pageTokens + options.kvSequences;
  if (options.kvSequences == 1)
    pages = pagesFor(tokens);
  if (options.kvMayShrink) {
    auto spare = executor->spareBytes(layout);
    if (!spare)
      return propagate(spare);
    __int128 fitting = *spare / (__int128(plan.pageBytes()) * plan.layers);
    pages = static_cast<int64_t>(std::min<__int128>(pages, std::max<__int128>(least, fitting)));
  }
  if (auto added = layout.addPool(plan, pages); !added)
    return added;
  StepRoom room{{maxRows, maxLogitRows, AttentionItems::mostItems(plan, maxRows, takers), records}, least};
  auto prepared = executor->prepare(plan, layout, room, options);
  if (!prepared)
    return propagate(prepared);
  load = *prepared;
  kv = std::make_unique<KvStore>(layout.pages, plan.pageTokens, options.reusePrefixes);
  return {};
}

/// The device that was asked for; else the GPU where the artifact has code for one and a driver answers.
static Result<std::string> chooseDevice(const Manifest &manifest, const EngineOptions &options) {
  if (!options.device.empty() && options.device != "auto")
    return options.device;
  if (manifest.target != "cuda")
    return "cpu";
  auto has = [&](std::string_view prefix) {
    return std::ranges::any_of(manifest.tiers, [&](const std::string &tier) { return tier.starts_with(prefix); });
  };
  if (!has("cuda:"))
    return "cuda-host";
  if (auto driver = CudaDriver::load(); !driver && !has("cuda-host:"))
    return propagate(driver);
  else
    return driver ? "cuda" : "cuda-host";
}

Result<std::unique_ptr<Executor>> Engine::Impl::openExecutor(const EngineOptions &options) {
  const Manifest &manifest = artifact->manifest();
  auto device = chooseDevice(manifest, options);
  if (!device)
    return propagate(device);
  std::string kind = device->substr(0, device->find(':'));
  if (*device == "cpu" && manifest.target == "cpu")
    return CpuExecutor::open(artifact, *workers, options);
  auto found = std::ranges::find_if(manifest.tiers, [&](const std::string &t) { return t.starts_with(kind + ":"); });
  if (found == manifest.tiers.end())
    return fail(ExitCode::mismatch, "--device {}: the artifact was compiled for {}; compile it with --target {}",
                *device, manifest.target == "cpu" ? "cpu" : fmt::format("{}", fmt::join(manifest.tiers, ", ")),
                kind == "cpu" ? "cpu" : kind + ":sm_80");
  if (!options.tier.empty())
    return fail(ExitCode::usage, "--cpu {}: only the device cpu has tiers", options.tier);
  if (kind != "cuda")
    return CheckedExecutor::open(artifact, *workers, *found, options);
  auto ordinal = ordinalOf(*device);
  if (!ordinal)
    return propagate(ordinal);
  return CudaExecutor::open(artifact, *ordinal);
}

Result<std::unique_ptr<Engine>> Engine::load(std::shared_ptr<const Artifact> artifact, const EngineOptions &options) {
  auto impl = std::make_unique<Impl>();
  impl->artifact = artifact;
  auto planText = artifact->member("plan.json");
  if (!planText)
    return fail(ExitCode::badInput,
                "the artifact has no plan.json; it was compiled with --stop-after, or by another tool");
  auto plan = parsePlan({reinterpret_cast<const char *>(planText->data()), planText->size()});
  if (!plan)
    return propagate(plan);
  impl->plan = std::move(*plan);
  if (options.context < 0 || options.context > impl->plan.context)
    return fail(ExitCode::badInput, "-c {}: the artifact was compiled for a context of {}; compile it with -c {}",
                options.context, impl->plan.context, options.context);
  impl->context = options.context ? options.context : impl->plan.context;
  impl->maxRows = std::clamp<int64_t>(options.maxRows, 1, kMostRows);
  int64_t fitting = std::max<int64_t>(8, kLogitBytes / (impl->plan.logitStride * 4));
  impl->maxLogitRows = std::clamp<int64_t>(options.maxLogitRows ? options.maxLogitRows : fitting, 1, impl->maxRows);
  auto workers = CpuPool::create(options.threads ? options.threads : workerCount());
  if (!workers)
    return propagate(workers);
  impl->workers = std::move(*workers);
  auto executor = impl->openExecutor(options);
  if (!executor)
    return propagate(executor);
  impl->executor = std::move(*executor);
  if (auto done = impl->prepare(options); !done)
    return propagate(done);
  return std::unique_ptr<Engine>(new Engine(std::move(impl)));
}

bool Engine::reserve(KvStore::Sequence sequence, int64_t count) {
  impl->copies.clear();
  if (!impl->kv->reserve(sequence, count, impl->copies))
    return false;
  if (auto done = impl->executor->copyPages(impl->copies); !done)
    impl->copied = done; // the next step says so
  return true;
}

/// A token that the step before draws must be alone, and one of those.
Result<void> Engine::Impl::checkDrawn(const SequenceRows &part) const {
  int64_t row = -1 - int64_t(part.tokens.front());
  if (part.tokens.size() != 1 || flights.size() != 1 || row >= static_cast<int64_t>(flights.back().drawn.size()) ||
      !flights.back().drawn[static_cast<size_t>(row)])
    return fail(ExitCode::internal, "a step takes the token of logit row {}, which no step before it draws", row);
  return {};
}

Result<void> Engine::Impl::check(std::span<const SequenceRows> batch) const {
  int64_t rows = 0, logits = 0;
  for (const SequenceRows &part : batch) {
    int64_t count = static_cast<int64_t>(part.tokens.size()), end = kv->length(part.sequence) + count;
    for (int32_t token : part.tokens)
      if (token < 0 && executor->draws()) {
        if (auto right = checkDrawn(part); !right)
          return right;
      } else if (token < 0 || token >= plan.vocab)
        return fail(ExitCode::badInput, "token id {}: expected 0 to {}, the vocabulary's last", token, plan.vocab - 1);
    if (part.draw && !executor->draws())
      return fail(ExitCode::internal, "a step wants tokens drawn by {}, which draws none", executor->tier());
    if (end > context)
      return fail(ExitCode::badInput, "a sequence of {} tokens: the context has {}", end, context);
    if (count == 0 || part.logitRows < 0 || part.logitRows > count || end > kv->capacity(part.sequence))
      return fail(ExitCode::internal, "a step of {} rows and {} logit rows of a sequence with room for {} of {}", count,
                  part.logitRows, kv->capacity(part.sequence), end);
    rows += count;
    logits += part.logitRows;
  }
  if (rows > maxRows || logits > maxLogitRows)
    return fail(ExitCode::internal, "a step of {} rows and {} logit rows: at most {} and {}", rows, logits, maxRows,
                maxLogitRows);
  return {};
}

void Engine::setTrace(StepTrace *trace) { impl->executor->setTrace(trace); }

/// Checks, runs the launches, and appends the tokens that are known.
Result<LatheStep> Engine::Impl::launch(std::span<const SequenceRows> batch) {
  if (auto fits = check(batch); !fits)
    return propagate(fits);
  if (!copied)
    return propagate(copied);
  LatheStep step = arrays.layOut(*kv, batch);
  if (step.rows > 0)
    if (auto ran = executor->run(step); !ran)
      return propagate(ran);
  for (const SequenceRows &part : batch)
    if (part.tokens.front() >= 0)
      kv->append(part.sequence, part.tokens);
  return step;
}

Result<void> Engine::start(std::span<const SequenceRows> batch) {
  std::deque<Impl::Flight> &flights = impl->flights;
  if (flights.size() == 2 || (flights.size() == 1 && !std::ranges::all_of(flights.front().drawn, std::identity())))
    return fail(ExitCode::internal,
                "a step is started while another whose logits are wanted, or two, were not collected");
  auto step = impl->launch(batch);
  if (!step)
    return propagate(step);
  Impl::Flight flight;
  for (int64_t row = 0; row < step->logitRows; ++row)
    flight.drawn.push_back(isDrawn(*step, row));
  for (const SequenceRows &part : batch)
    if (part.tokens.front() < 0)
      flight.fed.push_back({part.sequence, -1 - int64_t(part.tokens.front())});
  if (auto fetched = impl->executor->fetch(*step); !fetched)
    return fetched;
  flights.push_back(std::move(flight));
  return {};
}

Result<StepLogits> Engine::collect() {
  if (impl->flights.empty())
    return fail(ExitCode::internal, "no step was started");
  Impl::Flight flight = std::move(impl->flights.front());
  impl->flights.pop_front();
  auto results = impl->executor->collect();
  if (!results)
    return propagate(results);
  bool draws = std::ranges::any_of(flight.drawn, std::identity());
  // What the step that is under way was fed is known now.
  for (const Impl::Flight &next : impl->flights)
    for (auto [sequence, row] : next.fed)
      impl->kv->append(sequence, {&results->tokens[row], 1});
  return StepLogits{results->logits, static_cast<int64_t>(flight.drawn.size()), impl->plan.logitStride,
                    impl->plan.vocab, draws ? results->tokens : nullptr};
}

Result<StepLogits> Engine::step(std::span<const SequenceRows> batch) {
  if (auto started = start(batch); !started)
    return propagate(started);
  return collect();
}

Result<void> Engine::advance(std::span<const SequenceRows> batch) {
  auto step = impl->launch(batch);
  return step ? Result<void>() : propagate(step);
}

bool Engine::draws() const { return impl->executor->draws(); }
Result<void> Engine::wait() { return impl->executor->wait(); }
Result<double> Engine::readBandwidth() { return impl->executor->readBandwidth(); }

} // namespace lathe
