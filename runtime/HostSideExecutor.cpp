#include "runtime/HostSideExecutor.h"

#include "runtime/CpuFeatures.h"
#include "runtime/MemoryProbe.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <sys/mman.h>

namespace lathe {

namespace {
constexpr uint64_t kHugeFrom = 64 << 20, kAlign = 64, kMapAlign = 4096;
constexpr int64_t kReadChunk = 2 << 20;
} // namespace

StepLoad loadOf(const Plan &plan) {
  StepLoad load{.launches = static_cast<int64_t>(plan.launches.size())};
  for (const Launch &launch : plan.launches)
    load.weightBytes +=
        static_cast<uint64_t>(plan.kernels[launch.kernel].tiles * plan.kernels[launch.kernel].bytesPerTile);
  return load;
}

Result<void> HostSideExecutor::load(bool mapWeights) {
  std::string member = fmt::format("kernels/{}.so", name);
  std::ranges::replace(member, ':', '-');
  auto image = artifact->member(member);
  if (!image)
    return fail(ExitCode::badInput, "the artifact has no {}, which its manifest promises", member);
  auto loaded = CodeObject::load(*image, member);
  if (!loaded)
    return propagate(loaded);
  code = std::move(*loaded);
  if (!mapWeights)
    readWeights();
  return {};
}

/// Copies the weights into huge pages: decode reads them once a token, and from the page cache's small pages that took
/// a fifth longer (tools/bench/README.md). Where memory is short they stay where they are.
void HostSideExecutor::readWeights() {
  auto file = artifact->member("weights.bin");
  if (!file || file->size() > availableMemory() / 2)
    return;
  auto arena = Arena::create(file->size(), "weights", file->size() >= kHugeFrom);
  if (!arena)
    return;
  weights = std::move(*arena);
  std::byte *to = weights.data();
  mapped = file->data();
  int64_t chunks = (static_cast<int64_t>(file->size()) + kReadChunk - 1) / kReadChunk;
  std::atomic<int64_t> next = 0;
  workers.run([&](int64_t) {
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

Result<uint64_t> HostSideExecutor::spareBytes(const MemoryLayout &) const { return availableMemory() / 2; }

Result<void> HostSideExecutor::allocate(const Plan &plan, const MemoryLayout &layout, const StepRoom &room) {
  this->plan = &plan, this->layout = &layout;
  auto made = Arena::create(
      layout.activationBytes,
      fmt::format("activations and logits of {} and {} rows", room.most.rows, room.most.logitRows), false);
  if (!made)
    return propagate(made);
  activations = std::move(*made);
  auto pages = Arena::create(layout.poolBytes,
                             fmt::format("a KV pool of {} positions ({} layers, {} heads, {}; lower -c)",
                                         layout.pages * plan.pageTokens, plan.layers, plan.kvHeads, plan.kvElement),
                             layout.poolBytes >= kHugeFrom);
  if (!pages)
    return propagate(pages);
  pool = std::move(*pages);
  return {};
}

Result<void *> HostSideExecutor::address(const Buffer &buffer) const {
  if (buffer.kind != Buffer::Kind::weight) {
    MemoryLayout::Place place = layout->place(buffer);
    return (place.inPool ? pool : activations).data() + place.offset;
  }
  auto weight = artifact->weight(buffer.tensor);
  if (!weight)
    return propagate(weight);
  if (reinterpret_cast<uintptr_t>(weight->data()) % kAlign)
    return fail(ExitCode::badInput, "weight {}: expected an address aligned to {} bytes; compile the model again",
                buffer.tensor, kAlign);
  if (mapped)
    return weights.data() + (weight->data() - mapped);
  return const_cast<std::byte *>(weight->data()); // mapped read-only; kernels only read weights
}

Result<std::vector<void *>> HostSideExecutor::addresses() const {
  std::vector<void *> all;
  for (const Buffer &buffer : plan->buffers) {
    auto found = address(buffer);
    if (!found)
      return propagate(found);
    all.push_back(*found);
  }
  return all;
}

void HostSideExecutor::fill(unsigned char value) {
  for (const Arena *arena : {&activations, &pool})
    std::memset(arena->data(), value, arena->bytes());
}

Result<void> HostSideExecutor::copyPages(std::span<const PageCopy> copies) {
  int64_t keyBytes = plan->keyPageBytes(), valueBytes = plan->valuePageBytes();
  for (const PageCopy &copy : copies)
    for (int64_t layer = 0; layer < plan->layers; ++layer) {
      std::byte *keys = pool.data() + layout->keys(layer), *values = pool.data() + layout->values(layer);
      std::memcpy(keys + copy.to * keyBytes, keys + copy.from * keyBytes, keyBytes);
      std::memcpy(values + copy.to * valueBytes, values + copy.from * valueBytes, valueBytes);
    }
  return {};
}

Result<StepResults> HostSideExecutor::collect() {
  return StepResults{.logits = reinterpret_cast<const float *>(activations.data())};
}

Result<double> HostSideExecutor::readBandwidth() { return probeReadBandwidth(workers); }

} // namespace lathe
