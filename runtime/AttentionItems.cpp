#include "runtime/AttentionItems.h"

#include <algorithm>

namespace lathe {
namespace {

/// A block with more rows is long enough as it is, and its partial results would take much room.
constexpr int64_t kMostSplitRows = 4;
/// Pieces (item, tile) a worker that make the end of a launch even enough.
constexpr int64_t kPiecesPerWorker = 6;
constexpr int64_t kMostRecordBytes = 64 << 20;

int64_t ceilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

} // namespace

int64_t AttentionItems::recordsFor(const Plan &plan, int64_t context, int64_t workers) {
  int64_t bytes = 1;
  for (const Slot &slot : plan.slots)
    if (slot.unit == Unit::partials)
      bytes = std::max(bytes, slot.bytesPerUnit);
  // Blocks are split while there are fewer than workers want pieces; each takes a record a row and chunk.
  int64_t rows = std::max(kMostSplitRows, ceilDivide(kPiecesPerWorker * workers, plan.kvHeads));
  return std::min(rows * ceilDivide(context, plan.chunkTokens), std::max<int64_t>(1, kMostRecordBytes / bytes));
}

int64_t AttentionItems::mostItems(const Plan &plan, int64_t rows, int64_t workers) {
  // One a block, and where blocks are split one for each `most` chunks, which rounding down may have halved.
  return rows + 2 * ceilDivide(kPiecesPerWorker * workers, plan.kvHeads);
}

void AttentionItems::clear() { blocks.clear(); }

void AttentionItems::add(int64_t first, int64_t rows, int64_t position) {
  for (int64_t begin = 0; begin < rows; begin += attentionRows) {
    int64_t stop = std::min(rows, begin + attentionRows);
    blocks.push_back({first + begin, first + stop, ceilDivide(position + stop, chunkTokens)});
  }
}

void AttentionItems::finish(LatheStep &step) {
  for (std::vector<int32_t> *array : {&row, &end, &chunk, &chunkEnd, &count, &counter, &record})
    array->clear();
  int64_t chunks = 0, taken = 0, splits = 0;
  for (const Block &block : blocks)
    chunks += block.chunks;
  // Chunks of one item, so that all pieces are about as long and there are enough of them.
  int64_t most = std::max<int64_t>(1, chunks * tiles / (kPiecesPerWorker * workers));
  for (const Block &block : blocks) {
    int64_t parts = ceilDivide(block.chunks, most), need = block.chunks * (block.end - block.row);
    if (workers == 1 || block.end - block.row > kMostSplitRows || taken + need > records)
      parts = 1;
    for (int64_t part = 0; part < parts; ++part) {
      row.push_back(static_cast<int32_t>(block.row));
      end.push_back(static_cast<int32_t>(block.end));
      chunk.push_back(static_cast<int32_t>(block.chunks * part / parts));
      chunkEnd.push_back(static_cast<int32_t>(block.chunks * (part + 1) / parts));
      count.push_back(static_cast<int32_t>(parts));
      counter.push_back(static_cast<int32_t>(splits * tiles));
      record.push_back(static_cast<int32_t>(taken));
    }
    if (parts > 1) {
      taken += need;
      ++splits;
    }
  }
  if (static_cast<int64_t>(counters.size()) < splits * tiles)
    counters.resize(splits * tiles, 0); // kernels leave them 0
  step.items = static_cast<int64_t>(row.size());
  step.itemRow = row.data(), step.itemEnd = end.data();
  step.itemChunk = chunk.data(), step.itemChunkEnd = chunkEnd.data();
  step.itemCount = count.data(), step.itemCounter = counter.data(), step.itemRecord = record.data();
  step.counters = counters.data();
}

} // namespace lathe
