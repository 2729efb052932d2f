#include "runtime/Engine.h"

#include "runtime/Arena.h"
#include "runtime/CodeObject.h"
#include "runtime/CpuFeatures.h"
#include "runtime/CudaExecutor.h"
#include "runtime/KernelRing.h"
#include "runtime/LaunchTable.h"
#include "runtime/MatrixLibrary.h"
#include "runtime/MemoryLayout.h"
#include "runtime/MemoryProbe.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstring>
#include <sys/mman.h>

namespace lathe {
namespace {

constexpr uint64_t kLogitBytes = 64 << 20, kHugeFrom = 64 << 20, kAlign = 64, kMapAlign = 4096;
constexpr int64_t kReadChunk = 2 << 20;
constexpr int64_t kMostRows = 1 << 19;
/// A GPU's blocks are many: cuda-host splits attention for so many.
constexpr int64_t kHostTakers = 16;
/// What a kernel's launches are repeated to when it is measured alone on a GPU: a graph's start then counts for little.
constexpr size_t kMeasuredLaunches = 64;
/// Bytes of small numbers, in f32 and in bf16.
constexpr unsigned char kSmall = 0x3c;

/// Where everything of a plan lies in the host's memory.
struct Memory {
  Arena activations, pool, weights;
  const std::byte *mapped = nullptr; ///< where the artifact has what `weights` holds; null: weights stay there
};

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
  std::shared_ptr<const Artifact> artifact;
  Plan plan;
  std::string tier;
  int64_t context = 0, maxRows = 0, maxLogitRows = 0, mostItems = 0, mostRecords = 0;
  std::unique_ptr<CodeObject> code;
  std::unique_ptr<KvStore> kv;
  MemoryLayout layout;
  Memory memory;
  StepArrays arrays;
  const MatrixLibrary *library = nullptr;
  int64_t launchCount = 0;
  uint64_t weightBytes = 0;
  Arena ringCopies;
  std::unique_ptr<LaunchTable> table; ///< cpu
  std::unique_ptr<HostLaunches> host; ///< cuda-host
  std::unique_ptr<CudaExecutor> cuda; ///< cuda; all memory but the steps' arrays is the GPU's then
  Result<void> copied;                ///< what became of page copies on the GPU
  std::unique_ptr<CpuPool> workers;   ///< goes first of all: a late worker may still look into the table
  std::vector<PageCopy> copies;

  void readWeights(const EngineOptions &options);
  Result<void> layOutMemory(const EngineOptions &options);
  Result<void> allocate();
  Result<std::string> chooseDevice(const EngineOptions &options);
  Result<void> loadCode(const EngineOptions &options);
  Result<void> resolve(const EngineOptions &options);
  Result<void> resolveHost(const EngineOptions &options, const std::vector<void *> &addresses);
  Result<void> resolveCuda(const EngineOptions &options);
  void fill();
  Result<void *> address(const Buffer &buffer) const;
  Result<void> check(std::span<const SequenceRows> batch) const;
  Result<LatheStep> start(std::span<const SequenceRows> batch);
};

Engine::Engine(std::unique_ptr<Impl> impl) : impl(std::move(impl)) {}
Engine::~Engine() = default;
const Plan &Engine::plan() const { return impl->plan; }
const std::string &Engine::tier() const { return impl->tier; }
int64_t Engine::threads() const { return impl->workers->workers(); }
int64_t Engine::context() const { return impl->context; }
int64_t Engine::maxRows() const { return impl->maxRows; }
int64_t Engine::maxLogitRows() const { return impl->maxLogitRows; }
int64_t Engine::launches() const { return impl->launchCount; }
uint64_t Engine::weightBytes() const { return impl->weightBytes; }
uint64_t Engine::kvBytes() const { return impl->layout.poolBytes; }
KvStore &Engine::kv() { return *impl->kv; }
CpuPool &Engine::pool() { return *impl->workers; }

/// Copies the weights into huge pages: decode reads them once a token, and from the page cache's small pages that took
/// a fifth longer (tools/bench/README.md). Where memory is short they stay where they are.
void Engine::Impl::readWeights(const EngineOptions &options) {
  auto file = artifact->member("weights.bin");
  if (options.mapWeights || !file || file->size() > availableMemory() / 2)
    return;
  auto arena = Arena::create(file->size(), "weights", file->size() >= kHugeFrom);
  if (!arena)
    return;
  memory.weights = std::move(*arena);
  std::byte *to = memory.weights.data();
  memory.mapped = file->data();
  int64_t chunks = (static_cast<int64_t>(file->size()) + kReadChunk - 1) / kReadChunk;
  std::atomic<int64_t> next = 0;
  workers->run([&](int64_t) {
    for (int64_t chunk; (chunk = next.fetch_add(1)) < chunks;) {
      std::span<const std::byte> part = file->subspan(chunk * kReadChunk);
      part = part.first(std::min<size_t>(part.size(), kReadChunk));
      std::memcpy(to + chunk * kReadChunk, part.data(), part.size());
      // The mapping's pages are not needed twice; the file stays in the page cache.
      auto begin = reinterpret_cast<uintptr_t>(part.data()) / kMapAlign * kMapAlign;
      madvise(reinterpret_cast<void *>(begin), part.data() + part.size() - reinterpret_cast<std::byte *>(begin),
              MADV_DONTNEED);
    }
  });
}

/// Decides where everything lies, and how many pages the KV pool has.
Result<void> Engine::Impl::layOutMemory(const EngineOptions &options) {
  int64_t takers = cuda                                    ? cuda->device().multiprocessors
                   : artifact->manifest().target == "cuda" ? kHostTakers
                                                           : workers->workers();
  int64_t records = AttentionItems::recordsFor(plan, context, takers);
  arrays = StepArrays(AttentionItems(plan, takers, records));
  mostItems = AttentionItems::mostItems(plan, maxRows, takers);
  mostRecords = records;
  auto made = MemoryLayout::make(plan, maxRows, maxLogitRows, records);
  if (!made)
    return propagate(made);
  layout = std::move(*made);
  int64_t tokens = options.kvTokens ? options.kvTokens : context;
  // Rounded down for all together, and one partly empty page for each sequence.
  int64_t pages = tokens / plan.pageTokens + options.kvSequences;
  if (options.kvSequences == 1)
    pages = (tokens + plan.pageTokens - 1) / plan.pageTokens;
  if (options.kvMayShrink) {
    uint64_t available = availableMemory() / 2;
    if (cuda) {
      auto free = cuda->freeBytes();
      if (!free)
        return propagate(free);
      // Graphs, staging memory and the driver take a little besides.
      available = *free - std::min(*free, layout.activationBytes + *free / 10);
    }
    int64_t least = (context + plan.pageTokens - 1) / plan.pageTokens;
    __int128 fitting = available / (__int128(plan.pageBytes()) * plan.layers);
    pages = static_cast<int64_t>(std::min<__int128>(pages, std::max<__int128>(least, fitting)));
  }
  return layout.addPool(plan, pages);
}

Result<void> Engine::Impl::allocate() {
  auto activations = Arena::create(
      layout.activationBytes, fmt::format("activations and logits of {} and {} rows", maxRows, maxLogitRows), false);
  if (!activations)
    return propagate(activations);
  memory.activations = std::move(*activations);
  auto pool = Arena::create(layout.poolBytes,
                            fmt::format("a KV pool of {} positions ({} layers, {} heads, {}; lower -c)",
                                        layout.pages * plan.pageTokens, plan.layers, plan.kvHeads, plan.kvElement),
                            layout.poolBytes >= kHugeFrom);
  if (!pool)
    return propagate(pool);
  memory.pool = std::move(*pool);
  return {};
}

Result<void *> Engine::Impl::address(const Buffer &buffer) const {
  if (buffer.kind != Buffer::Kind::weight) {
    MemoryLayout::Place place = layout.place(buffer);
    return (place.inPool ? memory.pool : memory.activations).data() + place.offset;
  }
  auto weight = artifact->weight(buffer.tensor);
  if (!weight)
    return propagate(weight);
  if (reinterpret_cast<uintptr_t>(weight->data()) % kAlign)
    return fail(ExitCode::badInput, "weight {}: expected an address aligned to {} bytes; compile the model again",
                buffer.tensor, kAlign);
  if (memory.mapped)
    return memory.weights.data() + (weight->data() - memory.mapped);
  return const_cast<std::byte *>(weight->data()); // mapped read-only; kernels only read weights
}

/// Puts small numbers everywhere: untouched memory is one page of zeros, which a cache would hold.
void Engine::Impl::fill() {
  for (const Arena *arena : {&memory.activations, &memory.pool})
    std::memset(arena->data(), kSmall, arena->bytes());
}

Result<void> Engine::Impl::resolveHost(const EngineOptions &options, const std::vector<void *> &addresses) {
  if (!options.kernel.empty())
    return fail(ExitCode::usage, "--kernel {}: expected the device cpu: cuda-host is for checking, not for timing",
                options.kernel);
  std::vector<BufferExtent> extents;
  for (size_t i = 0; i < addresses.size(); ++i) {
    const Buffer &buffer = plan.buffers[i];
    bool weight = buffer.kind == Buffer::Kind::weight;
    extents.push_back({addresses[i], weight ? artifact->weight(buffer.tensor)->size() : layout.place(buffer).bytes});
  }
  launchCount = static_cast<int64_t>(plan.launches.size());
  std::memset(memory.pool.data(), 0xff, memory.pool.bytes()); // what was never appended must not look like a number
  auto made = HostLaunches::create(plan, *code, tier.substr(tier.find(':') + 1), std::move(extents), options.hostCheck);
  if (!made)
    return propagate(made);
  host = std::move(*made);
  return {};
}

/// Puts the launches of one kernel in the place of all, one behind the other, again and again.
static void keepLaunches(Plan &plan, const std::vector<size_t> &kept) {
  std::vector<Launch> launches;
  for (size_t launch : kept)
    launches.push_back(plan.launches[launch]);
  plan.launches = launches;
  while (plan.launches.size() < kMeasuredLaunches)
    plan.launches.insert(plan.launches.end(), launches.begin(), launches.end());
  chainLaunches(plan);
}

Result<void> Engine::Impl::resolveCuda(const EngineOptions &options) {
  CudaUnits most{maxRows, maxLogitRows, mostItems, mostRecords};
  if (auto right = cuda->verify(plan, most); !right)
    return right;
  if (!options.kernel.empty()) {
    auto kept = launchesOf(plan, options.kernel);
    if (!kept)
      return propagate(kept);
    keepLaunches(plan, *kept);
  }
  for (const Launch &launch : plan.launches)
    weightBytes += static_cast<uint64_t>(plan.kernels[launch.kernel].tiles * plan.kernels[launch.kernel].bytesPerTile);
  launchCount = static_cast<int64_t>(plan.launches.size());
  if (auto ready = cuda->prepare(plan, layout, most, (context + plan.pageTokens - 1) / plan.pageTokens); !ready)
    return ready;
  return options.kernel.empty() ? Result<void>() : cuda->fill(kSmall);
}

Result<void> Engine::Impl::resolve(const EngineOptions &options) {
  if (cuda)
    return resolveCuda(options);
  std::vector<void *> addresses;
  for (const Buffer &buffer : plan.buffers) {
    auto found = address(buffer);
    if (!found)
      return propagate(found);
    addresses.push_back(*found);
  }
  for (const Launch &launch : plan.launches)
    weightBytes += static_cast<uint64_t>(plan.kernels[launch.kernel].tiles * plan.kernels[launch.kernel].bytesPerTile);
  if (artifact->manifest().target == "cuda")
    return resolveHost(options, addresses);
  std::vector<KernelFn> functions;
  int64_t scratch = 0;
  for (const Kernel &kernel : plan.kernels) {
    auto function = code->kernel(kernel.symbol);
    if (!function)
      return propagate(function);
    auto variant = kernel.variants.find(tier);
    if (variant == kernel.variants.end())
      return fail(ExitCode::badInput, "plan.json: kernel {} has no variant for {}", kernel.symbol, tier);
    if (const auto &use = variant->second.library) {
      auto checked = MatrixLibrary::loadFor(*use, variant->second.unitBlock);
      if (!checked)
        return fail(checked.error().code, "kernel {}: {}", kernel.symbol, checked.error().message);
      library = *checked;
    }
    functions.push_back(*function);
    scratch = std::max(scratch, variant->second.scratchBytes);
  }
  std::vector<ResolvedLaunch> launches;
  for (const Launch &launch : plan.launches) {
    const Kernel &kernel = plan.kernels[launch.kernel];
    ResolvedLaunch resolved{
        functions[launch.kernel], {}, kernel.unit, kernel.tiles, kernel.variants.at(tier).unitBlock, launch.barrier};
    for (int64_t argument : launch.args) {
      const Buffer &buffer = plan.buffers[argument];
      // The largest of the weights that are split by tiles; an embedding's table is not.
      if (buffer.kind == Buffer::Kind::weight)
        if (auto bytes = artifact->weight(buffer.tensor);
            bytes && static_cast<int64_t>(bytes->size()) <= kernel.tiles * kernel.bytesPerTile)
          if (auto tile = static_cast<int64_t>(bytes->size()) / kernel.tiles; tile > resolved.tileBytes)
            resolved.streamed = static_cast<int64_t>(resolved.buffers.size()), resolved.tileBytes = tile;
      resolved.buffers.push_back(addresses[argument]);
    }
    launches.push_back(std::move(resolved));
  }
  if (!options.kernel.empty()) {
    auto ring = KernelRing::make(plan, *artifact, options.kernel, launches, options.ringBytes);
    if (!ring)
      return propagate(ring);
    launches = std::move(ring->launches), ringCopies = std::move(ring->copies), weightBytes = ring->bytes;
    fill();
  }
  launchCount = static_cast<int64_t>(launches.size());
  auto made = LaunchTable::create(std::move(launches), workers->workers(), scratch);
  if (!made)
    return propagate(made);
  table = std::move(*made);
  return {};
}

/// The device that was asked for; else the GPU where the artifact has code for one and a driver answers.
Result<std::string> Engine::Impl::chooseDevice(const EngineOptions &options) {
  const Manifest &manifest = artifact->manifest();
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

Result<void> Engine::Impl::loadCode(const EngineOptions &options) {
  const Manifest &manifest = artifact->manifest();
  auto chosenDevice = chooseDevice(options);
  if (!chosenDevice)
    return propagate(chosenDevice);
  std::string device = *chosenDevice, kind = device.substr(0, device.find(':'));
  std::string member;
  if (device == "cpu" && manifest.target == "cpu") {
    auto chosen = chooseTier(manifest.tiers, options.tier);
    if (!chosen)
      return propagate(chosen);
    tier = *chosen;
    member = fmt::format("kernels/{}.so", tier);
  } else {
    auto found = std::ranges::find_if(manifest.tiers, [&](const std::string &t) { return t.starts_with(kind + ":"); });
    if (found == manifest.tiers.end())
      return fail(ExitCode::mismatch, "--device {}: the artifact was compiled for {}; compile it with --target {}",
                  device, manifest.target == "cpu" ? "cpu" : fmt::format("{}", fmt::join(manifest.tiers, ", ")),
                  kind == "cpu" ? "cpu" : kind + ":sm_80");
    if (!options.tier.empty())
      return fail(ExitCode::usage, "--cpu {}: only the device cpu has tiers", options.tier);
    if (kind == "cuda") {
      auto ordinal = ordinalOf(device);
      if (!ordinal)
        return propagate(ordinal);
      auto opened = CudaExecutor::open(artifact, *ordinal);
      if (!opened)
        return propagate(opened);
      cuda = std::move(*opened);
      tier = "cuda:" + cuda->architecture();
      return {};
    }
    tier = *found;
    member = fmt::format("kernels/{}.so", tier);
    std::ranges::replace(member, ':', '-');
  }
  auto image = artifact->member(member);
  if (!image)
    return fail(ExitCode::badInput, "the artifact has no {}, which its manifest promises", member);
  auto loaded = CodeObject::load(*image, member);
  if (!loaded)
    return propagate(loaded);
  code = std::move(*loaded);
  return {};
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
  if (auto loaded = impl->loadCode(options); !loaded)
    return propagate(loaded);

  if (options.context < 0 || options.context > impl->plan.context)
    return fail(ExitCode::badInput, "-c {}: the artifact was compiled for a context of {}; compile it with -c {}",
                options.context, impl->plan.context, options.context);
  impl->context = options.context ? options.context : impl->plan.context;
  impl->maxRows = std::clamp<int64_t>(options.maxRows, 1, kMostRows);
  int64_t fitting = std::max<int64_t>(8, static_cast<int64_t>(kLogitBytes) / (impl->plan.logitStride * 4));
  impl->maxLogitRows = std::clamp<int64_t>(options.maxLogitRows ? options.maxLogitRows : fitting, 1, impl->maxRows);
  auto workers = CpuPool::create(options.threads ? options.threads : workerCount());
  if (!workers)
    return propagate(workers);
  impl->workers = std::move(*workers);
  if (!impl->cuda)
    impl->readWeights(options);
  if (auto done = impl->layOutMemory(options); !done)
    return propagate(done);
  if (auto done = impl->cuda ? Result<void>() : impl->allocate(); !done)
    return propagate(done);
  if (auto done = impl->resolve(options); !done)
    return propagate(done);
  impl->kv = std::make_unique<KvStore>(impl->layout.pages, impl->plan.pageTokens, options.reusePrefixes);
  return std::unique_ptr<Engine>(new Engine(std::move(impl)));
}

bool Engine::reserve(KvStore::Sequence sequence, int64_t count) {
  impl->copies.clear();
  if (!impl->kv->reserve(sequence, count, impl->copies))
    return false;
  if (impl->cuda) {
    if (auto done = impl->cuda->copyPages(impl->copies); !done)
      impl->copied = done; // the next step says so
    return true;
  }
  int64_t keyBytes = impl->plan.keyPageBytes(), valueBytes = impl->plan.valuePageBytes();
  for (const PageCopy &copy : impl->copies)
    for (int64_t layer = 0; layer < impl->plan.layers; ++layer) {
      std::byte *pool = impl->memory.pool.data();
      std::byte *keys = pool + impl->layout.keys(layer), *values = pool + impl->layout.values(layer);
      std::memcpy(keys + copy.to * keyBytes, keys + copy.from * keyBytes, keyBytes);
      std::memcpy(values + copy.to * valueBytes, values + copy.from * valueBytes, valueBytes);
    }
  return true;
}

Result<void> Engine::Impl::check(std::span<const SequenceRows> batch) const {
  int64_t rows = 0, logits = 0;
  for (const SequenceRows &part : batch) {
    int64_t count = static_cast<int64_t>(part.tokens.size()), end = kv->length(part.sequence) + count;
    for (int32_t token : part.tokens)
      if (token < 0 || token >= plan.vocab)
        return fail(ExitCode::badInput, "token id {}: expected 0 to {}, the vocabulary's last", token, plan.vocab - 1);
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

void Engine::setTrace(StepTrace *trace) {
  if (!impl->table)
    return;
  impl->workers->run([](int64_t) {}); // no worker is in the table any more
  impl->table->setTrace(trace);
}

/// Checks, runs the launches, and appends the tokens.
Result<LatheStep> Engine::Impl::start(std::span<const SequenceRows> batch) {
  if (auto fits = check(batch); !fits)
    return propagate(fits);
  if (!copied)
    return propagate(copied);
  LatheStep step = arrays.layOut(*kv, batch);
  step.library = library;
  if (step.rows > 0 && (host || cuda)) {
    if (auto ran = host ? host->run(step) : cuda->run(step); !ran)
      return propagate(ran);
  } else if (step.rows > 0) {
    table->run(*workers, step);
  }
  if (library && library->failed())
    return fail(ExitCode::resource, "oneDNN could not multiply (status {}): is there too little memory?",
                library->failed());
  for (const SequenceRows &part : batch)
    kv->append(part.sequence, part.tokens);
  return step;
}

Result<StepLogits> Engine::step(std::span<const SequenceRows> batch) {
  auto step = impl->start(batch);
  if (!step)
    return propagate(step);
  auto *logits = reinterpret_cast<const float *>(impl->memory.activations.data());
  if (impl->cuda) {
    auto copied = impl->cuda->logits(step->logitRows);
    if (!copied)
      return propagate(copied);
    logits = *copied;
  }
  return StepLogits{logits, step->logitRows, impl->plan.logitStride, impl->plan.vocab};
}

Result<void> Engine::advance(std::span<const SequenceRows> batch) {
  auto step = impl->start(batch);
  return step ? Result<void>() : propagate(step);
}

Result<void> Engine::wait() { return impl->cuda ? impl->cuda->wait() : Result<void>(); }

Result<double> Engine::readBandwidth() {
  return impl->cuda ? impl->cuda->probeBandwidth() : Result<double>(probeReadBandwidth(*impl->workers));
}

} // namespace lathe
