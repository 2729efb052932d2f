#include "runtime/StepArrays.h"

#include "runtime/device/batch.h"

#include <algorithm>
#include <cstring>

namespace lathe {

/// Of a logit row whose logits are wanted.
static constexpr device::Draw kNoDraw = {.top_k = -1, .temperature = 0, .top_p = 0, .least = 0, .number = 0};
static_assert(sizeof(device::Draw) == device::kDrawInts * sizeof(int32_t));

bool isDrawn(const LatheStep &step, int64_t logitRow) { return step.draws[logitRow * device::kDrawInts] >= 0; }

LatheStep StepArrays::layOut(const KvStore &kv, std::span<const SequenceRows> batch) {
  paged.clear();
  for (const SequenceRows &part : batch)
    paged.push_back({kv.pages(part.sequence), kv.length(part.sequence), part.tokens, part.logitRows, part.draw});
  return layOut(paged);
}

LatheStep StepArrays::layOut(std::span<const PagedRows> batch) {
  tokenIds.clear(), rowSequence.clear(), rowPosition.clear(), logitRow.clear(), draws.clear();
  items.clear();
  int64_t stride = 1;
  for (const PagedRows &part : batch)
    stride = std::max<int64_t>(stride, static_cast<int64_t>(part.pages.size()));
  pageTable.assign(stride * static_cast<int64_t>(batch.size()), 0);
  for (size_t sequence = 0; sequence < batch.size(); ++sequence) {
    const PagedRows &part = batch[sequence];
    std::ranges::copy(part.pages, pageTable.begin() + static_cast<ptrdiff_t>(sequence * stride));
    int64_t count = static_cast<int64_t>(part.tokens.size());
    for (int64_t row = 0; row < count; ++row) {
      if (row >= count - part.logitRows) {
        logitRow.push_back(static_cast<int32_t>(tokenIds.size()));
        draws.resize(draws.size() + device::kDrawInts);
        std::memcpy(draws.data() + draws.size() - device::kDrawInts, part.draw ? &*part.draw : &kNoDraw,
                    sizeof(device::Draw));
      }
      tokenIds.push_back(part.tokens[row]);
      rowSequence.push_back(static_cast<int32_t>(sequence));
      rowPosition.push_back(static_cast<int32_t>(part.position + row));
    }
    items.add(static_cast<int64_t>(tokenIds.size()) - count, count, part.position);
  }
  LatheStep step = {.rows = static_cast<int64_t>(tokenIds.size()),
                    .sequences = static_cast<int64_t>(batch.size()),
                    .logitRows = static_cast<int64_t>(logitRow.size()),
                    .pageStride = stride,
                    .tokenIds = tokenIds.data(),
                    .rowSequence = rowSequence.data(),
                    .rowPosition = rowPosition.data(),
                    .pageTable = pageTable.data(),
                    .logitRow = logitRow.data(),
                    .draws = draws.data()};
  items.finish(step);
  return step;
}

} // namespace lathe
