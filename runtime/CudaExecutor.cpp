#include "runtime/CudaExecutor.h"

#include "runtime/CudaProbe.h"
#include "runtime/Engine.h"
#include "runtime/KernelRing.h"
#include "runtime/StepArrays.h"

#include <algorithm>
#include <cstring>
#include <map>

namespace lathe {

using cuda::Calls;

namespace {

constexpr std::string_view kTarget = "cuda:";
/// Weights are copied through two blocks of page-locked memory: one is filled while the other is under way.
constexpr uint64_t kStagingBytes = 16 << 20;
/// What a kernel's launches are repeated to when it is measured alone: a graph's start then counts for little.
constexpr size_t kMeasuredLaunches = 64;

/// Steps whose results may be on their way.
constexpr uint64_t kArrivals = 2;

/// Puts the launches of one kernel in the place of all, one behind the other, again and again.
void keepLaunches(Plan &plan, const std::vector<size_t> &kept) {
  std::vector<Launch> launches;
  for (size_t launch : kept)
    launches.push_back(plan.launches[launch]);
  plan.launches = launches;
  while (plan.launches.size() < kMeasuredLaunches)
    plan.launches.insert(plan.launches.end(), launches.begin(), launches.end());
  chainLaunches(plan);
}

} // namespace

std::string chooseArchitecture(std::span<const std::string> architectures, int deviceCapability) {
  std::string best;
  auto rank = [&](const CudaArchitecture &a) {
    return std::pair(a.portable ? 0 : a.exact || a.capability == deviceCapability ? 2 : 1, a.capability * 2 + a.exact);
  };
  std::pair<int, int> bestRank{-1, 0};
  for (const std::string &name : architectures)
    if (auto parsed = CudaArchitecture::parse(name); parsed && parsed->runsOn(deviceCapability))
      if (auto found = rank(*parsed); found > bestRank)
        best = name, bestRank = found;
  return best;
}

/// The results of a step on their way to the host.
struct Arrival {
  CudaHostMemory tokens;
  CudaEvent event;
};

struct CudaExecutor::Impl {
  std::shared_ptr<const Artifact> artifact;
  std::unique_ptr<CudaDevice> device;
  std::string architecture, tier;
  const Plan *plan = nullptr;
  MemoryLayout layout;
  CudaMemory weights, activations, pool;
  CudaHostMemory hostLogits;
  Arrival arrivals[kArrivals];
  uint64_t fetched = 0, collected = 0;          ///< steps; each takes the next arrival
  std::map<std::string, CudaLibrary> libraries; ///< by the kernel's symbol
  std::unique_ptr<CudaGraphs> graphs;           ///< goes first of all: it waits for what still runs

  Result<void> loadWeights();
  Result<uint64_t> freeBytes() const;
  Result<void> verify(const Plan &plan, const CudaUnits &most) const;
  Result<void> allocate(const CudaUnits &most);
  Result<void> makeGraphs(const StepRoom &room);
  Result<void> fill(unsigned char value);
  Result<cuda::KernelHandle> find(const KernelForm &form);
  Result<cuda::Address> address(const Buffer &buffer) const;
};

CudaExecutor::CudaExecutor(std::unique_ptr<Impl> impl) : impl(std::move(impl)) {}
CudaExecutor::~CudaExecutor() = default;
const std::string &CudaExecutor::tier() const { return impl->tier; }
int64_t CudaExecutor::takers() const { return impl->device->multiprocessors; }

Result<std::unique_ptr<Executor>> CudaExecutor::open(std::shared_ptr<const Artifact> artifact, int ordinal) {
  auto driver = CudaDriver::load();
  if (!driver)
    return propagate(driver);
  auto device = CudaDevice::open(**driver, ordinal);
  if (!device)
    return propagate(device);
  std::vector<std::string> architectures;
  for (const std::string &tier : artifact->manifest().tiers)
    if (tier.starts_with(kTarget))
      architectures.push_back(tier.substr(kTarget.size()));
  int capability = (*device)->capability;
  std::string chosen = chooseArchitecture(architectures, capability);
  if (chosen.empty())
    return fail(ExitCode::mismatch,
                "{} has compute capability {}.{}, the artifact code for {}; compile it with --target cuda:sm_{}",
                (*device)->name, capability / 10, capability % 10, fmt::join(architectures, ", "), capability);
  auto impl = std::make_unique<Impl>();
  impl->artifact = std::move(artifact);
  impl->device = std::move(*device);
  impl->architecture = chosen;
  impl->tier = fmt::format("{}{}", kTarget, chosen);
  if (auto loaded = impl->loadWeights(); !loaded)
    return propagate(loaded);
  return std::unique_ptr<Executor>(new CudaExecutor(std::move(impl)));
}

Result<void> CudaExecutor::Impl::loadWeights() {
  auto file = artifact->member("weights.bin");
  if (!file || file->empty())
    return {};
  const CudaDriver &driver = device->driver;
  auto memory = allocateMemory(*device, file->size(), "the weights");
  if (!memory)
    return propagate(memory);
  weights = std::move(*memory);
  auto stream = createStream(*device);
  if (!stream)
    return propagate(stream);
  CudaHostMemory staging[2];
  CudaEvent copied[2];
  for (int i = 0; i < 2; ++i) {
    auto block = allocateHostMemory(*device, kStagingBytes, "weights on their way");
    if (!block)
      return propagate(block);
    staging[i] = std::move(*block);
    auto event = createEvent(*device, false);
    if (!event)
      return propagate(event);
    copied[i] = std::move(*event);
  }
  Result<void> done;
  int turn = 0;
  for (uint64_t at = 0; at < file->size() && done; at += kStagingBytes, turn ^= 1) {
    uint64_t bytes = std::min<uint64_t>(kStagingBytes, file->size() - at);
    // An event that was never recorded is over.
    done = driver.call<&Calls::eventSynchronize>("the weights", copied[turn].get());
    if (!done)
      break;
    std::memcpy(staging[turn].get(), file->data() + at, bytes);
    done = driver.call<&Calls::copyIn>("the weights", weights.get() + at, staging[turn].get(), bytes, stream->get());
    if (done)
      done = driver.call<&Calls::eventRecord>("the weights", copied[turn].get(), stream->get());
  }
  // The staging memory must not go while it is read, whatever went wrong.
  auto ended = driver.call<&Calls::streamSynchronize>("the weights", stream->get());
  return done ? ended : done;
}

Result<uint64_t> CudaExecutor::Impl::freeBytes() const {
  size_t available = 0, total = 0;
  if (auto done = device->driver.call<&Calls::memoryInfo>(device->name, &available, &total); !done)
    return propagate(done);
  return available;
}

Result<uint64_t> CudaExecutor::spareBytes(const MemoryLayout &layout) const {
  auto free = impl->freeBytes();
  if (!free)
    return propagate(free);
  // Graphs, staging memory and the driver take a little besides.
  return *free - std::min(*free, layout.activationBytes + *free / 10);
}

Result<cuda::KernelHandle> CudaExecutor::Impl::find(const KernelForm &form) {
  auto library = libraries.find(form.symbol);
  if (library == libraries.end()) {
    std::string file = fmt::format("kernels/{}/{}.{}", architecture, form.symbol,
                                   architecture.starts_with("compute_") ? "ptx" : "cubin");
    auto image = artifact->member(file);
    if (!image)
      return fail(ExitCode::badInput, "the artifact has no {}, which its plan promises", file);
    auto loaded = loadLibrary(*device, *image, file);
    if (!loaded)
      return propagate(loaded);
    library = libraries.emplace(form.symbol, std::move(*loaded)).first;
  }
  return findKernel(*device, library->second, form.symbol, form.sharedBytes);
}

Result<cuda::Address> CudaExecutor::Impl::address(const Buffer &buffer) const {
  if (buffer.kind != Buffer::Kind::weight) {
    MemoryLayout::Place place = layout.place(buffer);
    return (place.inPool ? pool.get() : activations.get()) + place.offset;
  }
  auto weight = artifact->weight(buffer.tensor);
  if (!weight)
    return propagate(weight);
  return weights.get() + static_cast<uint64_t>(weight->data() - artifact->member("weights.bin")->data());
}

Result<void> CudaExecutor::Impl::verify(const Plan &plan, const CudaUnits &most) const {
  auto weightBytes = [&](const std::string &tensor) -> std::optional<int64_t> {
    auto weight = artifact->weight(tensor);
    return weight ? std::optional(static_cast<int64_t>(weight->size())) : std::nullopt;
  };
  return verifyCudaPlan(plan, architecture, most, weightBytes);
}

Result<StepLoad> CudaExecutor::prepare(Plan &plan, const MemoryLayout &layout, const StepRoom &room,
                                       const EngineOptions &options) {
  if (auto right = impl->verify(plan, room.most); !right)
    return propagate(right);
  if (!options.kernel.empty()) {
    auto kept = launchesOf(plan, options.kernel);
    if (!kept)
      return propagate(kept);
    keepLaunches(plan, *kept);
  }
  impl->plan = &plan;
  impl->layout = layout;
  if (auto done = impl->allocate(room.most); !done)
    return propagate(done);
  if (auto done = impl->makeGraphs(room); !done)
    return propagate(done);
  if (!options.kernel.empty())
    if (auto done = impl->fill(kSmallNumbers); !done)
      return propagate(done);
  return loadOf(plan);
}

Result<void> CudaExecutor::Impl::allocate(const CudaUnits &most) {
  auto made = allocateMemory(*device, layout.activationBytes,
                             fmt::format("activations and logits of {} and {} rows", most.rows, most.logitRows));
  if (!made)
    return propagate(made);
  activations = std::move(*made);
  auto pages =
      allocateMemory(*device, layout.poolBytes,
                     fmt::format("a KV pool of {} positions ({} layers, {} heads, {})", layout.pages * plan->pageTokens,
                                 plan->layers, plan->kvHeads, plan->kvElement));
  if (!pages)
    return propagate(pages);
  pool = std::move(*pages);
  auto logits = allocateHostMemory(*device, layout.logitBytes, "logits on the host");
  if (!logits)
    return propagate(logits);
  hostLogits = std::move(*logits);
  for (Arrival &arrival : arrivals) {
    auto tokens =
        allocateHostMemory(*device, std::max<uint64_t>(layout.tokenBytes, sizeof(int32_t)), "tokens on the host");
    if (!tokens)
      return propagate(tokens);
    arrival.tokens = std::move(*tokens);
    auto event = createEvent(*device, false);
    if (!event)
      return propagate(event);
    arrival.event = std::move(*event);
  }
  return {};
}

Result<void> CudaExecutor::Impl::makeGraphs(const StepRoom &room) {
  std::vector<cuda::Address> addresses;
  for (const Buffer &buffer : plan->buffers) {
    auto found = address(buffer);
    if (!found)
      return propagate(found);
    addresses.push_back(*found);
  }
  auto made = CudaGraphs::create(*device, *plan, {architecture, room.most, room.most.rows, room.pageStride},
                                 std::move(addresses), [&](const KernelForm &form) { return find(form); });
  if (!made)
    return propagate(made);
  graphs = std::move(*made);
  return {};
}

Result<void> CudaExecutor::Impl::fill(unsigned char value) {
  const CudaDriver &driver = device->driver;
  if (auto done =
          driver.call<&Calls::fill>("activations", activations.get(), value, layout.activationBytes, graphs->stream());
      !done)
    return done;
  return driver.call<&Calls::fill>("the KV pool", pool.get(), value, layout.poolBytes, graphs->stream());
}

Result<void> CudaExecutor::copyPages(std::span<const PageCopy> copies) {
  if (copies.empty())
    return {};
  if (auto used = impl->device->use(); !used)
    return used;
  const CudaDriver &driver = impl->device->driver;
  auto keyBytes = static_cast<uint64_t>(impl->plan->keyPageBytes()),
       valueBytes = static_cast<uint64_t>(impl->plan->valuePageBytes());
  auto copy = [&](uint64_t block, const PageCopy &page, uint64_t bytes) {
    cuda::Address base = impl->pool.get() + block;
    return driver.call<&Calls::copyWithin>("a page of the KV pool", base + static_cast<uint64_t>(page.to) * bytes,
                                           base + static_cast<uint64_t>(page.from) * bytes, bytes,
                                           impl->graphs->stream());
  };
  for (const PageCopy &page : copies)
    for (int64_t layer = 0; layer < impl->plan->layers; ++layer) {
      if (auto done = copy(impl->layout.keys(layer), page, keyBytes); !done)
        return done;
      if (auto done = copy(impl->layout.values(layer), page, valueBytes); !done)
        return done;
    }
  return {};
}

Result<void> CudaExecutor::run(LatheStep &step) {
  if (auto used = impl->device->use(); !used)
    return used;
  return impl->graphs->run(step);
}

bool CudaExecutor::draws() const { return impl->plan->tokensBuffer() >= 0; }

Result<void> CudaExecutor::fetch(const LatheStep &step) {
  const CudaDriver &driver = impl->device->driver;
  Arrival &arrival = impl->arrivals[impl->fetched % kArrivals];
  cuda::Stream stream = impl->graphs->stream();
  auto stride = static_cast<uint64_t>(impl->plan->logitStride) * sizeof(float);
  // Rows that are drawn come as tokens, all at once; runs of others as logits.
  bool anyDrawn = false;
  for (int64_t row = 0, end; row < step.logitRows; row = end) {
    bool drawn = isDrawn(step, row);
    for (end = row + 1; end < step.logitRows && isDrawn(step, end) == drawn;)
      ++end;
    anyDrawn |= drawn;
    uint64_t offset = static_cast<uint64_t>(row) * stride;
    if (!drawn)
      if (auto done = driver.call<&Calls::copyOut>("logits", static_cast<std::byte *>(impl->hostLogits.get()) + offset,
                                                   impl->activations.get() + offset,
                                                   static_cast<uint64_t>(end - row) * stride, stream);
          !done)
        return done;
  }
  if (anyDrawn)
    if (auto done =
            driver.call<&Calls::copyOut>("tokens", arrival.tokens.get(), impl->activations.get() + impl->layout.tokens,
                                         static_cast<uint64_t>(step.logitRows) * sizeof(int32_t), stream);
        !done)
      return done;
  ++impl->fetched;
  return driver.call<&Calls::eventRecord>("a step's results", arrival.event.get(), stream);
}

Result<StepResults> CudaExecutor::collect() {
  Arrival &arrival = impl->arrivals[impl->collected++ % kArrivals];
  if (auto done = impl->device->driver.call<&Calls::eventSynchronize>("a step's results", arrival.event.get()); !done)
    return propagate(done);
  return StepResults{static_cast<const float *>(impl->hostLogits.get()),
                     static_cast<const int32_t *>(arrival.tokens.get())};
}

Result<void> CudaExecutor::wait() { return impl->graphs->wait(); }

Result<double> CudaExecutor::readBandwidth() {
  if (auto used = impl->device->use(); !used)
    return propagate(used);
  auto kernel = impl->find({.symbol = kReadBandwidthKernel});
  if (!kernel)
    return propagate(kernel);
  return probeReadBandwidth(*impl->device, *kernel, impl->graphs->stream());
}

} // namespace lathe
