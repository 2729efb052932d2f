//===- batch.h - the step's arrays, as host and device see them -------------===//
//
// Passed to each kernel by value. Which rows there are, and all that changes from step to step, stands in device
// memory, so that a graph is built once. The arrays are those of LatheStep (runtime/Abi.h), with the same meanings.
//
//===----------------------------------------------------------------------===//
#pragma once

namespace lathe::device {

/// The arrays, all of int.
enum BatchArray {
  kCounts,       ///< [4] rows, sequences, logit rows, items
  kTokenIds,     ///< [rows]
  kRowSequence,  ///< [rows]
  kRowPosition,  ///< [rows]
  kPageTable,    ///< [sequences, pageStride]
  kLogitRow,     ///< [logit rows]
  kDraws,        ///< [logit rows, kDrawInts] a Draw each (chance.cuh): its integers as they lie in memory
  kItemRow,      ///< [items], as all that follow
  kItemEnd,      ///<
  kItemChunk,    ///<
  kItemChunkEnd, ///<
  kItemCount,    ///<
  kItemCounter,  ///<
  kItemRecord,   ///<
  kBatchArrays
};

/// Integers of a Draw.
inline constexpr int kDrawInts = 8;

/// Pointers to device memory, valid for the launch.
struct BatchData {
  const int *arrays[kBatchArrays];
  int *counters;    ///< all 0 between launches
  const int *drawn; ///< the token that was drawn last of each logit row
  int pageStride;   ///< entries of the page table per sequence
};

} // namespace lathe::device
