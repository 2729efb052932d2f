#include "runtime/MemoryLayout.h"

#include <algorithm>

namespace lathe {
namespace {

constexpr int64_t kAlign = 64, kPoolAlign = 4096, kMost = int64_t(1) << 48;

int64_t roundUp(int64_t value, int64_t to) { return (value + to - 1) / to * to; }

} // namespace

Result<MemoryLayout> MemoryLayout::make(const Plan &plan, int64_t rows, int64_t logitRows, int64_t records) {
  MemoryLayout layout;
  layout.logitBytes = static_cast<uint64_t>(logitRows * plan.logitStride * 4);
  __int128 total = roundUp(static_cast<int64_t>(layout.logitBytes), kAlign);
  layout.tokens = static_cast<uint64_t>(total);
  if (plan.tokensBuffer() >= 0)
    layout.tokenBytes = static_cast<uint64_t>(logitRows * 4);
  total += roundUp(static_cast<int64_t>(layout.tokenBytes), kAlign);
  for (const Slot &slot : plan.slots) {
    layout.slots.push_back(static_cast<uint64_t>(total));
    int64_t units = slot.unit == Unit::rows ? rows : slot.unit == Unit::logitRows ? logitRows : records;
    total += roundUp(static_cast<int64_t>(std::min<__int128>(kMost, __int128(slot.bytesPerUnit) * units)), kAlign);
    if (total > kMost)
      return fail(ExitCode::resource, "activations of {} rows take more than {} bytes", rows, kMost);
  }
  layout.activationBytes = static_cast<uint64_t>(total);
  return layout;
}

Result<void> MemoryLayout::addPool(const Plan &plan, int64_t count) {
  __int128 bytes = __int128(plan.pageBytes()) * plan.layers * count + __int128(kPoolAlign) * 2 * plan.layers;
  if (bytes > kMost || count > INT32_MAX)
    return fail(ExitCode::resource, "a KV pool of {} positions takes {} bytes or more; lower -c",
                count * plan.pageTokens, static_cast<int64_t>(std::min<__int128>(bytes, INT64_MAX)));
  pages = count;
  keyBytes = roundUp(plan.keyPageBytes() * pages, kPoolAlign);
  valueBytes = roundUp(plan.valuePageBytes() * pages, kPoolAlign);
  poolBytes = static_cast<uint64_t>((keyBytes + valueBytes) * plan.layers);
  return {};
}

MemoryLayout::Place MemoryLayout::place(const Buffer &buffer) const {
  switch (buffer.kind) {
  case Buffer::Kind::key:
    return {true, keys(buffer.layer), static_cast<uint64_t>(keyBytes)};
  case Buffer::Kind::value:
    return {true, values(buffer.layer), static_cast<uint64_t>(valueBytes)};
  case Buffer::Kind::activation: {
    uint64_t begin = slots[buffer.slot];
    auto next = slots.begin() + buffer.slot + 1;
    return {false, begin, (next == slots.end() ? activationBytes : *next) - begin};
  }
  case Buffer::Kind::tokens:
    return {false, tokens, tokenBytes};
  case Buffer::Kind::logits:
  case Buffer::Kind::weight:
    break;
  }
  return {false, 0, logitBytes};
}

} // namespace lathe
