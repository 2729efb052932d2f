//===- batch.cuh - the step's arrays, as kernels read them ------------------===//
#pragma once

#include "lathe/batch.h"
#include "lathe/primitives.cuh"

namespace lathe::device {

#ifndef LATHE_HOST
LATHE_DEVICE int load_batch(const BatchData &batch, BatchArray array, long long index) {
  return batch.arrays[array][index];
}
LATHE_DEVICE int load_drawn(const BatchData &batch, int row) { return batch.drawn[row]; }
LATHE_DEVICE int &batch_counter(const BatchData &batch, int index) { return batch.counters[index]; }
#endif

/// The fields are described in runtime/Abi.h.
struct Batch : BatchData {
  LATHE_DEVICE int rows(LATHE_HERE_ONLY) const { return load_batch(*this, kCounts, 0 LATHE_THERE); }
  LATHE_DEVICE int sequences(LATHE_HERE_ONLY) const { return load_batch(*this, kCounts, 1 LATHE_THERE); }
  LATHE_DEVICE int logit_rows(LATHE_HERE_ONLY) const { return load_batch(*this, kCounts, 2 LATHE_THERE); }
  LATHE_DEVICE int items(LATHE_HERE_ONLY) const { return load_batch(*this, kCounts, 3 LATHE_THERE); }

  /// Of a row whose token the step before drew the array says which logit row that was.
  LATHE_DEVICE int token_id(int row LATHE_HERE) const {
    const int id = load_batch(*this, kTokenIds, row LATHE_THERE);
    return id >= 0 ? id : load_drawn(*this, -1 - id LATHE_THERE);
  }
  LATHE_DEVICE int row_sequence(int row LATHE_HERE) const { return load_batch(*this, kRowSequence, row LATHE_THERE); }
  LATHE_DEVICE int row_position(int row LATHE_HERE) const { return load_batch(*this, kRowPosition, row LATHE_THERE); }
  LATHE_DEVICE int logit_row(int index LATHE_HERE) const { return load_batch(*this, kLogitRow, index LATHE_THERE); }
  LATHE_DEVICE int item_row(int item LATHE_HERE) const { return load_batch(*this, kItemRow, item LATHE_THERE); }
  LATHE_DEVICE int item_end(int item LATHE_HERE) const { return load_batch(*this, kItemEnd, item LATHE_THERE); }
  LATHE_DEVICE int item_chunk(int item LATHE_HERE) const { return load_batch(*this, kItemChunk, item LATHE_THERE); }
  LATHE_DEVICE int item_chunk_end(int item LATHE_HERE) const {
    return load_batch(*this, kItemChunkEnd, item LATHE_THERE);
  }
  LATHE_DEVICE int item_count(int item LATHE_HERE) const { return load_batch(*this, kItemCount, item LATHE_THERE); }
  LATHE_DEVICE int item_counter(int item LATHE_HERE) const { return load_batch(*this, kItemCounter, item LATHE_THERE); }
  LATHE_DEVICE int item_record(int item LATHE_HERE) const { return load_batch(*this, kItemRecord, item LATHE_THERE); }

  /// The physical page of a sequence's logical page.
  LATHE_DEVICE int page(int sequence, int logical LATHE_HERE) const {
    return load_batch(*this, kPageTable, static_cast<long long>(sequence) * pageStride + logical LATHE_THERE);
  }
  /// For `arrive`.
  LATHE_DEVICE int &counter(int index LATHE_HERE) const { return batch_counter(*this, index LATHE_THERE); }
};

} // namespace lathe::device
