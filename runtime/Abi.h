//===- Abi.h - what generated kernels and the runtime agree on ------------===//
//
// The only contract between compiled code and the host. The compiler hard-codes
// the field offsets below (passes/kern/ConvertKernToVector.cpp includes this
// header and uses offsetof), so a change here needs a new kAbiVersion.
//
//===----------------------------------------------------------------------===//
#pragma once

#include <cstdint>

namespace lathe {

inline constexpr int kAbiVersion = 5;

/// Elements along k that a product of floats sums in one chain of fused multiply-adds, from 0 on; the sums of these
/// spans are added to 0 in order.
inline constexpr int64_t kSumSpan = 256;

/// Products of some rows by one panel of 32 columns, for kernels that leave them to a library. Any worker may call them
/// at any time.
struct LatheLibrary {
  /// into[i][j] = Σ_k input[i][k] * weight[k][j] for i < rows, j < 32, summed in spans of kSumSpan. Strides in
  /// elements.
  void (*floats)(const LatheLibrary *self, int64_t rows, int64_t k, const float *input, int64_t inputStride,
                 const float *weight, float *into, int64_t intoStride);
  /// into[i][j] = Σ_k input[i][k] * weight[j][k] for i < rows, j < 32, exactly. No input is -128.
  void (*bytes)(const LatheLibrary *self, int64_t rows, int64_t k, const int8_t *input, int64_t inputStride,
                const int8_t *weight, int64_t weightStride, int32_t *into);
};

/// One step of a ragged batch. Rows of one sequence are contiguous and in order
/// of position. All pointers are host memory owned by the runtime, valid for the step.
struct LatheStep {
  int64_t rows;               ///< tokens in this step, over all sequences
  int64_t sequences;          ///< sequences that take part
  int64_t logitRows;          ///< rows whose logits are wanted
  int64_t items;              ///< attention work items
  int64_t pageStride;         ///< entries of pageTable per sequence
  const int32_t *tokenIds;    ///< [rows]; CUDA: -1 - r for the token that the step before drew for its logit row r
  const int32_t *rowSequence; ///< [rows] index of the row's sequence in this step
  const int32_t *rowPosition; ///< [rows] absolute position of the row in its sequence
  const int32_t *pageTable;   ///< [sequences, pageStride] physical page of each logical page
  const int32_t *logitRow;    ///< [logitRows] the row each logit row is taken from
  const int32_t *draws;       ///< [logitRows, 8] CUDA: a Draw each (runtime/device/chance.cuh), as it lies in memory
  // Attention works on blocks of rows: neighbours of one sequence, at most Plan::attentionRows. An item is some or all
  // chunks (of Plan::chunkTokens positions, from position 0 on) of the positions that a block sees.
  const int32_t *itemRow, *itemEnd;        ///< [items] the block's rows [itemRow, itemEnd)
  const int32_t *itemChunk, *itemChunkEnd; ///< [items] the item's chunks [itemChunk, itemChunkEnd)
  const int32_t *itemCount;                ///< [items] how many items the block is split into
  const int32_t *itemCounter;              ///< [items] split blocks: the first of `tiles` elements of counters
  const int32_t *itemRecord;               ///< [items] split blocks: place in the kernel's partial results of the
                                           ///< block's first row and chunk 0; rows next to each other, then chunks
  int32_t *counters;                       ///< all 0 between launches
  const LatheLibrary *library;             ///< null where no kernel of the tier has one
};

/// A compiled kernel: the program of the unit range [unitBegin, unitEnd) (rows, logit rows or attention
/// items, as Kernel::unit says) and the column-tile range [tileBegin, tileEnd). Any partition of
/// units x tiles gives bit-identical results. unitEnd - unitBegin is at most Kernel::unitBlock.
/// `buffers` are the launch's arguments in order. `scratch` is private to the worker, 64-byte aligned,
/// Kernel::scratchBytes long, and uninitialised, unless `prepared` is not 0: then the worker's last call was one of
/// this launch with the same units, and scratch is as that left it.
using KernelFn = void (*)(void *const *buffers, const LatheStep *step, int64_t unitBegin, int64_t unitEnd,
                          int64_t tileBegin, int64_t tileEnd, void *scratch, int64_t prepared);

} // namespace lathe
