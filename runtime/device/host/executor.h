//===- executor.h - the state of a launch on the host -----------------------===//
//
// One block at a time, one fiber a thread. A thread that waits (at a barrier, a shuffle, a matrix product) is put aside
// until all that have to come are there; when nobody is left to run and somebody waits, the kernel diverged.
//
// Races: a clock counts barriers. Each element remembers the clock and the thread of its last write and of its last
// reads. Two accesses are ordered when a barrier of both threads (of the block, of their warp or of their group) was
// passed in between: when the first one's clock is older than that barrier.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "lathe/host/launch.h"

#define LATHE_NOINLINE __attribute__((noinline))
#define LATHE_HIDDEN __attribute__((visibility("hidden")))

namespace lathe::device {

/// A place in a kernel's text or in the device library.
struct Where {
  const char *file;
  int line;
};

namespace host {

inline constexpr int kMaxThreads = 1024;
inline constexpr unsigned kSharedBytes = 227 * 1024; ///< the most a block may have, on sm_90

/// Who may have read an element since the last barrier: one thread, or several of one group, warp, block, or of several
/// blocks.
enum Readers : unsigned short { kOne, kGroup, kWarp, kBlock, kGrid };

struct Access {
  unsigned stamp;        ///< the clock
  unsigned short thread; ///< and, from bit 12 on, Readers
  unsigned short line;   ///< of the kernel's text
};

/// Of an element of shared memory.
struct Cell {
  Access write, read;
};
/// Of an element of global memory that the launch may write.
struct GlobalCell {
  Access write, read;
  unsigned writeBlock, readBlock;
};

/// What a Global parameter covers.
struct Extent {
  char *begin;
  unsigned long long bytes;
  GlobalCell *cells; ///< null where nothing writes
  int shift;         ///< log2 of the bytes of a cell
  int parameter;
  bool writable; ///< the parameter's element is not const
  bool weight;   ///< no kernel of the step writes it
};

struct Executor {
  // Of the thread that runs.
  int thread, blockX, blockY;
  // Of the launch.
  bool check, dependent;
  bool shuffles; ///< the order is drawn
  int threads;
  // Of the block.
  char *shared;
  unsigned sharedBytes; ///< of the kernel's Memory
  unsigned clock, launchStart, blockStart, blockSync;
  unsigned warpSync[kMaxThreads / 32], groupSync[kMaxThreads / 16];
  Cell *cells;             ///< [kSharedBytes / 2] of elements of two bytes and more
  Cell *byteCells;         ///< [kSharedBytes] of bytes
  Where call[kMaxThreads]; ///< the outermost call of a library function that a thread is in; line 0: none
  bool ready[kMaxThreads]; ///< has waited for the kernels before this one
  const HostLaunch *launch;
};
LATHE_HIDDEN extern Executor executor;

/// Ends the launch with a report about the running thread.
[[noreturn]] LATHE_HIDDEN void report(Where where, const char *format, ...) __attribute__((format(printf, 2, 3)));

/// A library function that a kernel calls: defects inside are reported with the kernel's line.
class Call {
public:
  explicit Call(Where where) : slot(executor.call[executor.thread]), outermost(slot.line == 0) {
    if (outermost)
      slot = where;
  }
  ~Call() {
    if (outermost)
      slot.line = 0;
  }
  Call(const Call &) = delete;
  Call &operator=(const Call &) = delete;

private:
  Where &slot;
  bool outermost;
};

inline unsigned short kernelLine(Where where) {
  const Where &call = executor.call[executor.thread];
  return static_cast<unsigned short>(call.line ? call.line : where.line);
}

//===--- Rendezvous (fibers.cpp) --------------------------------------------===//

enum class Scope { group, warp, block };
/// Does what was met for, once all are there: operands[i] is what thread i of the scope brought.
using Complete = void (*)(void *const *operands, int count);

/// Waits until all threads of the scope are here with the same `complete`, from the same place; `orders` says whether
/// memory accesses before are ordered before those behind.
LATHE_HIDDEN void meet(Scope scope, const char *name, bool orders, Complete complete, void *operand, Where where);

//===--- Memory (memory.cpp) ------------------------------------------------===//

LATHE_HIDDEN void trackShared(const void *element, int size, bool writes, Where where);
/// trackShared of a read, without the call where there is nothing to find or to note: the element was written before
/// the last barrier of the block, and this thread, or threads of several warps, have read it since.
inline void trackSharedRead(const void *element, int size, Where where) {
  const unsigned offset = static_cast<unsigned>(static_cast<const char *>(element) - executor.shared);
  const Cell &cell = size == 1 ? executor.byteCells[offset] : executor.cells[offset / 2];
  if (cell.write.stamp >= executor.blockStart && cell.write.stamp < executor.blockSync &&
      cell.read.stamp == executor.clock && (cell.read.thread == executor.thread || cell.read.thread >> 12 >= kBlock))
      [[likely]]
    return;
  trackShared(element, size, false, where);
}
LATHE_HIDDEN void trackGlobal(const Extent &extent, const void *element, int size, bool writes, Where where);
/// An element that an asynchronous copy will write; reading it before the wait is a defect.
LATHE_HIDDEN void startCopy(char *to, int size, const char *from, Where where);
LATHE_HIDDEN void closeCopies();
LATHE_HIDDEN void finishCopies(int groupsLeft);
/// What the other blocks that came to this counter wrote before is seen by this one.
LATHE_HIDDEN bool arriveAt(int &counter, int count, Where where);

[[noreturn]] LATHE_HIDDEN void outOfBounds(const char *what, int parameter, const long long *index, const int *dims,
                                           int rank, unsigned long long elements, Where where);
LATHE_HIDDEN char *sharedMemory(unsigned bytes, Where where);
LATHE_HIDDEN const Extent &extent(int parameter);
/// Before code of the kernel reads what kernels before this one wrote.
LATHE_HIDDEN void expectReady(const char *what, Where where);

//===--- The batch (launch.cpp) ---------------------------------------------===//

LATHE_HIDDEN int loadBatch(const BatchData &batch, BatchArray array, long long index, Where where);
LATHE_HIDDEN int loadDrawn(const BatchData &batch, int row, Where where);
LATHE_HIDDEN int &batchCounter(const BatchData &batch, int index, Where where);

//===--- Kernels (launch.cpp) -----------------------------------------------===//

/// A Global parameter, as its type says.
struct Parameter {
  int elementBytes;
  bool writable;
};

/// A kernel that was compiled for the host.
struct Kernel {
  const char *name;
  int threads;
  const Parameter *parameters;
  int parameterCount;
  void (*run)(); ///< one thread of it
  Kernel *next;

  Kernel(const char *name, int threads, const Parameter *parameters, int count, void (*run)());
};

} // namespace host
} // namespace lathe::device
