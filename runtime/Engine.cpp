#include "runtime/Engine.h"

#include "runtime/Arena.h"
#include "runtime/AttentionItems.h"
#include "runtime/CodeObject.h"
#include "runtime/CpuFeatures.h"
#include "runtime/KernelRing.h"
#include "runtime/LaunchTable.h"
#include "runtime/MatrixLibrary.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <sys/mman.h>

namespace lathe {
namespace {

constexpr uint64_t kLogitBytes = 64 << 20, kHugeFrom = 64 << 20, kAlign = 64, kPoolAlign = 4096;
constexpr int64_t kReadChunk = 2 << 20;
constexpr int64_t kMost = int64_t(1) << 48, kMostRows = 1 << 19;

int64_t roundUp(int64_t value, int64_t to) { return (value + to - 1) / to * to; }

/// Where everything of a plan lies in memory.
struct Memory {
  Arena activations, pool, weights;
  const std::byte *mapped = nullptr; ///< where the artifact has what `weights` holds; null: weights stay there
  std::vector<std::byte *> slots;
  float *logits = nullptr;
  int64_t keyBytes = 0, valueBytes = 0; ///< of one layer

  std::byte *keys(int64_t layer) const { return pool.data() + layer * (keyBytes + valueBytes); }
  std::byte *values(int64_t layer) const { return keys(layer) + keyBytes; }
};

} // namespace

struct Engine::Impl {
  std::shared_ptr<const Artifact> artifact;
  Plan plan;
  std::string tier;
  int64_t context = 0, maxRows = 0, maxLogitRows = 0;
  std::unique_ptr<CodeObject> code;
  std::unique_ptr<KvStore> kv;
  Memory memory;
  const MatrixLibrary *library = nullptr;
  int64_t launchCount = 0;
  uint64_t weightBytes = 0;
  Arena ringCopies;
  std::unique_ptr<LaunchTable> table; ///< cpu
  std::unique_ptr<HostLaunches> host; ///< cuda-host
  std::unique_ptr<CpuPool> workers;   ///< goes first of all: a late worker may still look into the table
  // The arrays of LatheStep, kept so that a step allocates nothing once they have grown.
  std::vector<int32_t> tokenIds, rowSequence, rowPosition, pageTable, logitRow;
  AttentionItems items;
  std::vector<PageCopy> copies;

  void readWeights(const EngineOptions &options);
  Result<void> allocateActivations();
  Result<void> allocatePool(const EngineOptions &options);
  Result<void> loadCode(const EngineOptions &options);
  Result<void> resolve(const EngineOptions &options);
  Result<void> resolveHost(const EngineOptions &options, const std::vector<void *> &addresses);
  void fill();
  Result<void *> address(const Buffer &buffer) const;
  Result<void> check(std::span<const SequenceRows> batch) const;
  void layOut(std::span<const SequenceRows> batch, LatheStep &step);
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
uint64_t Engine::kvBytes() const { return impl->memory.pool.bytes(); }
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
      auto begin = reinterpret_cast<uintptr_t>(part.data()) / kPoolAlign * kPoolAlign;
      madvise(reinterpret_cast<void *>(begin), part.data() + part.size() - reinterpret_cast<std::byte *>(begin),
              MADV_DONTNEED);
    }
  });
}

Result<void> Engine::Impl::allocateActivations() {
  int64_t logitBytes = roundUp(maxLogitRows * plan.logitStride * 4, kAlign);
  // A GPU's blocks are many.
  int64_t takers = artifact->manifest().target == "cuda" ? 16 : workers->workers();
  int64_t records = AttentionItems::recordsFor(plan, context, takers);
  items = AttentionItems(plan, takers, records);
  __int128 total = logitBytes;
  std::vector<int64_t> offsets;
  for (const Slot &slot : plan.slots) {
    offsets.push_back(static_cast<int64_t>(total));
    int64_t units = slot.unit == Unit::rows ? maxRows : slot.unit == Unit::logitRows ? maxLogitRows : records;
    total += roundUp(static_cast<int64_t>(std::min<__int128>(kMost, __int128(slot.bytesPerUnit) * units)), kAlign);
    if (total > kMost)
      return fail(ExitCode::resource, "activations of {} rows take more than {} bytes", maxRows, kMost);
  }
  auto activations =
      Arena::create(static_cast<uint64_t>(total),
                    fmt::format("activations and logits of {} and {} rows", maxRows, maxLogitRows), false);
  if (!activations)
    return propagate(activations);
  memory.activations = std::move(*activations);
  memory.logits = reinterpret_cast<float *>(memory.activations.data());
  for (int64_t offset : offsets)
    memory.slots.push_back(memory.activations.data() + offset);
  return {};
}

Result<void> Engine::Impl::allocatePool(const EngineOptions &options) {
  int64_t tokens = options.kvTokens ? options.kvTokens : context;
  // Rounded down for all together, and one partly empty page for each sequence.
  int64_t pages = tokens / plan.pageTokens + options.kvSequences;
  if (options.kvSequences == 1)
    pages = (tokens + plan.pageTokens - 1) / plan.pageTokens;
  __int128 pageBytes = __int128(plan.pageBytes()) * plan.layers;
  if (options.kvMayShrink) {
    int64_t least = (context + plan.pageTokens - 1) / plan.pageTokens;
    __int128 fitting = availableMemory() / 2 / pageBytes;
    pages = static_cast<int64_t>(std::min<__int128>(pages, std::max<__int128>(least, fitting)));
  }
  __int128 bytes = pageBytes * pages + __int128(kPoolAlign) * 2 * plan.layers;
  if (bytes > kMost || pages > INT32_MAX)
    return fail(ExitCode::resource, "a KV pool of {} positions takes {} bytes or more; lower -c", tokens,
                static_cast<int64_t>(std::min<__int128>(bytes, INT64_MAX)));
  memory.keyBytes = roundUp(plan.keyPageBytes() * pages, kPoolAlign);
  memory.valueBytes = roundUp(plan.valuePageBytes() * pages, kPoolAlign);
  uint64_t total = static_cast<uint64_t>((memory.keyBytes + memory.valueBytes) * plan.layers);
  auto pool = Arena::create(total,
                            fmt::format("a KV pool of {} positions ({} layers, {} heads, {}; lower -c)",
                                        pages * plan.pageTokens, plan.layers, plan.kvHeads, plan.kvElement),
                            total >= kHugeFrom);
  if (!pool)
    return propagate(pool);
  memory.pool = std::move(*pool);
  kv = std::make_unique<KvStore>(pages, plan.pageTokens, options.reusePrefixes);
  return {};
}

Result<void *> Engine::Impl::address(const Buffer &buffer) const {
  switch (buffer.kind) {
  case Buffer::Kind::activation:
    return memory.slots[buffer.slot];
  case Buffer::Kind::key:
    return memory.keys(buffer.layer);
  case Buffer::Kind::value:
    return memory.values(buffer.layer);
  case Buffer::Kind::logits:
    return memory.logits;
  case Buffer::Kind::weight:
    break;
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

/// Puts small numbers everywhere, the same bytes in f32 and bf16: untouched memory is one page of zeros, which a cache
/// would hold.
void Engine::Impl::fill() {
  for (const Arena *arena : {&memory.activations, &memory.pool})
    std::memset(arena->data(), 0x3c, arena->bytes());
}

Result<void> Engine::Impl::resolveHost(const EngineOptions &options, const std::vector<void *> &addresses) {
  if (!options.kernel.empty())
    return fail(ExitCode::usage, "--kernel {}: expected the device cpu: cuda-host is for checking, not for timing",
                options.kernel);
  std::vector<BufferExtent> extents;
  for (size_t i = 0; i < addresses.size(); ++i) {
    const Buffer &buffer = plan.buffers[i];
    uint64_t bytes = 0;
    switch (buffer.kind) {
    case Buffer::Kind::activation: {
      // To the slot's end, which may be another buffer's slot too.
      std::byte *begin = memory.slots[buffer.slot], *end = memory.activations.data() + memory.activations.bytes();
      for (std::byte *other : memory.slots)
        if (other > begin)
          end = std::min(end, other);
      bytes = static_cast<uint64_t>(end - begin);
      break;
    }
    case Buffer::Kind::key:
      bytes = static_cast<uint64_t>(memory.keyBytes);
      break;
    case Buffer::Kind::value:
      bytes = static_cast<uint64_t>(memory.valueBytes);
      break;
    case Buffer::Kind::logits:
      bytes = static_cast<uint64_t>(maxLogitRows * plan.logitStride * 4);
      break;
    case Buffer::Kind::weight:
      bytes = artifact->weight(buffer.tensor)->size();
      break;
    }
    extents.push_back({addresses[i], bytes});
  }
  launchCount = static_cast<int64_t>(plan.launches.size());
  std::memset(memory.pool.data(), 0xff, memory.pool.bytes()); // what was never appended must not look like a number
  auto made = HostLaunches::create(plan, *code, tier.substr(tier.find(':') + 1), std::move(extents), options.hostCheck);
  if (!made)
    return propagate(made);
  host = std::move(*made);
  return {};
}

Result<void> Engine::Impl::resolve(const EngineOptions &options) {
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

/// Chooses among what the artifact was compiled for.
Result<void> Engine::Impl::loadCode(const EngineOptions &options) {
  const Manifest &manifest = artifact->manifest();
  std::string device = options.device.empty() ? manifest.target == "cuda" ? "cuda-host" : "cpu" : options.device;
  std::string member;
  if (device == "cpu" && manifest.target == "cpu") {
    auto chosen = chooseTier(manifest.tiers, options.tier);
    if (!chosen)
      return propagate(chosen);
    tier = *chosen;
    member = fmt::format("kernels/{}.so", tier);
  } else {
    auto found =
        std::ranges::find_if(manifest.tiers, [&](const std::string &t) { return t.starts_with(device + ":"); });
    if (found == manifest.tiers.end())
      return fail(ExitCode::mismatch, "--device {}: the artifact was compiled for {}; compile it with --target {}",
                  device, manifest.target == "cpu" ? "cpu" : fmt::format("{}", fmt::join(manifest.tiers, ", ")),
                  device == "cpu" ? "cpu" : device + ":sm_80");
    if (!options.tier.empty())
      return fail(ExitCode::usage, "--cpu {}: only the device cpu has tiers", options.tier);
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
  impl->readWeights(options);
  if (auto done = impl->allocateActivations(); !done)
    return propagate(done);
  if (auto done = impl->allocatePool(options); !done)
    return propagate(done);
  if (auto done = impl->resolve(options); !done)
    return propagate(done);
  return std::unique_ptr<Engine>(new Engine(std::move(impl)));
}

bool Engine::reserve(KvStore::Sequence sequence, int64_t count) {
  impl->copies.clear();
  if (!impl->kv->reserve(sequence, count, impl->copies))
    return false;
  int64_t keyBytes = impl->plan.keyPageBytes(), valueBytes = impl->plan.valuePageBytes();
  for (const PageCopy &copy : impl->copies)
    for (int64_t layer = 0; layer < impl->plan.layers; ++layer) {
      std::byte *keys = impl->memory.keys(layer), *values = impl->memory.values(layer);
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

/// Writes the arrays that kernels read.
void Engine::Impl::layOut(std::span<const SequenceRows> batch, LatheStep &step) {
  tokenIds.clear(), rowSequence.clear(), rowPosition.clear(), logitRow.clear();
  items.clear();
  int64_t stride = 1;
  for (const SequenceRows &part : batch)
    stride = std::max<int64_t>(stride, static_cast<int64_t>(kv->pages(part.sequence).size()));
  pageTable.assign(stride * static_cast<int64_t>(batch.size()), 0);
  for (size_t sequence = 0; sequence < batch.size(); ++sequence) {
    const SequenceRows &part = batch[sequence];
    std::ranges::copy(kv->pages(part.sequence), pageTable.begin() + static_cast<ptrdiff_t>(sequence * stride));
    int64_t position = kv->length(part.sequence), count = static_cast<int64_t>(part.tokens.size());
    for (int64_t row = 0; row < count; ++row) {
      if (row >= count - part.logitRows)
        logitRow.push_back(static_cast<int32_t>(tokenIds.size()));
      tokenIds.push_back(part.tokens[row]);
      rowSequence.push_back(static_cast<int32_t>(sequence));
      rowPosition.push_back(static_cast<int32_t>(position + row));
    }
    items.add(static_cast<int64_t>(tokenIds.size()) - count, count, position);
  }
  step = {.rows = static_cast<int64_t>(tokenIds.size()),
          .sequences = static_cast<int64_t>(batch.size()),
          .logitRows = static_cast<int64_t>(logitRow.size()),
          .pageStride = stride,
          .tokenIds = tokenIds.data(),
          .rowSequence = rowSequence.data(),
          .rowPosition = rowPosition.data(),
          .pageTable = pageTable.data(),
          .logitRow = logitRow.data(),
          .library = library};
  items.finish(step);
}

void Engine::setTrace(StepTrace *trace) {
  if (!impl->table)
    return;
  impl->workers->run([](int64_t) {}); // no worker is in the table any more
  impl->table->setTrace(trace);
}

Result<StepLogits> Engine::step(std::span<const SequenceRows> batch) {
  if (auto fits = impl->check(batch); !fits)
    return propagate(fits);
  LatheStep step;
  impl->layOut(batch, step);
  if (step.rows > 0 && impl->host) {
    if (auto ran = impl->host->run(step); !ran)
      return propagate(ran);
  } else if (step.rows > 0) {
    impl->table->run(*impl->workers, step);
  }
  if (impl->library && impl->library->failed())
    return fail(ExitCode::resource, "oneDNN could not multiply (status {}): is there too little memory?",
                impl->library->failed());
  for (const SequenceRows &part : batch)
    impl->kv->append(part.sequence, part.tokens);
  return StepLogits{impl->memory.logits, step.logitRows, impl->plan.logitStride, impl->plan.vocab};
}

} // namespace lathe
