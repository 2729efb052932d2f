//===- launch.h - running kernels on the CPU, as the runtime calls it -------===//
//
// A shared object with kernels compiled for the host exports lathe_host_launch. It runs a launch's blocks one after
// another, the threads of a block as fibers, and needs no compiler and no CUDA. One launch runs at a time; a second
// caller waits.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "lathe/batch.h"

namespace lathe::device {

/// A launch of one kernel. All memory belongs to the caller.
struct HostLaunch {
  const char *kernel;
  int gridX, gridY;
  void *const *buffers;            ///< the kernel's Global parameters in order, 16-byte aligned
  const unsigned long long *bytes; ///< the extent of each; what lies behind it is out of bounds
  int bufferCount;
  BatchData batch;
  unsigned long long batchBytes[kBatchArrays]; ///< the extent of each of the batch's arrays
  unsigned long long counterBytes;             ///< and of batch.counters
  unsigned long long drawnBytes;               ///< and of batch.drawn
  unsigned long long
      seed;            ///< of the order of blocks and threads; 0: blocks in order, threads in order between barriers
  bool check;          ///< looks for races and for shared memory that was never written; bounds are always checked
  bool dependent;      ///< launched to overlap with the kernels before it: only weights may be read before it waits
  const bool *weights; ///< of each buffer: no kernel of the step writes it. Null: none that this launch does not write
};

/// Null when all is well, else one line that says what is wrong, where in the kernel, and in which thread; it is valid
/// until this thread calls again. The launch ends at the first defect, and what it wrote by then is written.
using HostLaunchFn = const char *(*)(const HostLaunch *launch);

} // namespace lathe::device

extern "C" const char *lathe_host_launch(const lathe::device::HostLaunch *launch);
