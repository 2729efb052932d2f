//===- AttentionItems.h - the work list of a step's attention ------------===//
//
// Rows of a sequence are cut into blocks. A block of few rows that sees many positions (decode far into a context) is
// split by chunks into several items where there would be too few items to go round; kernels give the same bits
// either way (runtime/Abi.h says what an item is).
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Abi.h"
#include "runtime/Plan.h"

#include <cstdint>
#include <vector>

namespace lathe {

class AttentionItems {
public:
  AttentionItems() = default;
  /// `records` is the number of partial results that there is room for.
  AttentionItems(const Plan &plan, int64_t workers, int64_t records)
      : attentionRows(plan.attentionRows), chunkTokens(plan.chunkTokens), tiles(plan.kvHeads), workers(workers),
        records(records) {}

  /// Partial results that are worth room for: what splitting for `workers` may ask for, at most 64 MiB.
  static int64_t recordsFor(const Plan &plan, int64_t context, int64_t workers);

  /// Items that a step of so many rows has at most.
  static int64_t mostItems(const Plan &plan, int64_t rows, int64_t workers);

  void clear();
  /// `count` rows of one sequence from row `first` on, the first at `position`.
  void add(int64_t first, int64_t count, int64_t position);
  /// Decides what is split and fills the step's arrays, which stay valid until the next `clear`.
  void finish(LatheStep &step);

private:
  struct Block {
    int64_t row, end, chunks;
  };
  int64_t attentionRows = 1, chunkTokens = 1, tiles = 1, workers = 1, records = 0;
  std::vector<Block> blocks;
  std::vector<int32_t> row, end, chunk, chunkEnd, count, counter, record, counters;
};

} // namespace lathe
