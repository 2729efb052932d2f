//===- memory.cpp - races, initialisation, asynchronous copies ---------------===//
#include "lathe/host/memory.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <sys/mman.h>
#include <vector>

namespace lathe::device::host {

namespace {

constexpr unsigned kInFlight = 1; ///< the stamp of an element that a copy will write

struct Copy {
  char *to;
  const char *from; ///< null: zeros
  int elementBytes;
  unsigned group;
  Where where;
};
struct Copies {
  unsigned groups = 0; ///< that were closed
  std::vector<Copy> pending;
};

struct Memory {
  std::vector<Extent> extents;
  std::vector<Copies> copies;
  char *cells = nullptr; ///< of global memory, reused by each launch
  size_t cellBytes = 0;
  std::vector<unsigned> seen; ///< per block of the launch: the clock up to which its writes are seen by this block
  bool sees = false;
  struct Arrival {
    const int *counter;
    unsigned block, stamp;
  };
  std::vector<Arrival> arrivals;
} memory;

unsigned blockNumber() { return static_cast<unsigned>(executor.blockY * executor.launch->gridX + executor.blockX); }

Readers readers(const Access &access) { return static_cast<Readers>(access.thread >> 12); }
int threadOf(const Access &access) { return access.thread & 0xfff; }

/// Whether accesses of this block are ordered before what the running thread does now.
bool ordered(const Access &access, int thread) {
  if (access.stamp < executor.blockSync)
    return true;
  const int other = threadOf(access);
  const Readers by = readers(access);
  if (other == thread && by == kOne)
    return true;
  if (by <= kWarp && other / 32 == thread / 32 && access.stamp < executor.warpSync[thread / 32])
    return true;
  return by <= kGroup && other / 16 == thread / 16 && access.stamp < executor.groupSync[thread / 16];
}

Readers joint(const Access &access, int thread) {
  const int other = threadOf(access);
  const Readers now = other == thread             ? kOne
                      : other / 16 == thread / 16 ? kGroup
                      : other / 32 == thread / 32 ? kWarp
                                                  : kBlock;
  return std::max(now, readers(access));
}

Access accessOf(int thread, Readers by, Where where) {
  return {executor.clock, static_cast<unsigned short>(thread | by << 12), kernelLine(where)};
}

/// `who` of another block; else the access was one of this block.
[[noreturn]] void reportRace(Where where, const char *does, const std::string &what, const Access &other,
                             const char *did, const std::string &who = "") {
  const std::string thread = "thread " + std::to_string(threadOf(other));
  report(where, "%s %s, which %s %s in line %d with no %s in between", does, what.c_str(),
         who.empty() ? thread.c_str() : who.c_str(), did, other.line, who.empty() ? "barrier" : "arrive");
}

Cell &cellOf(const char *element, int size) {
  const unsigned offset = static_cast<unsigned>(element - executor.shared);
  return size == 1 ? executor.byteCells[offset] : executor.cells[offset / 2];
}

std::string sharedElement(const void *element) {
  return "byte " + std::to_string(static_cast<const char *>(element) - executor.shared) + " of shared memory";
}

/// Whether another block's access is seen by this one: it came to a counter before, and this block came last.
bool seen(const Access &access, unsigned block) {
  if (!memory.sees)
    return false;
  if (readers(access) < kGrid)
    return memory.seen[block] > access.stamp;
  for (unsigned other = 0; other < memory.seen.size(); ++other)
    if (other != blockNumber() && memory.seen[other] <= access.stamp)
      return false;
  return true;
}

} // namespace

void trackShared(const void *element, int size, bool writes, Where where) {
  Cell &cell = cellOf(static_cast<const char *>(element), size);
  const int thread = executor.thread;
  if (writes) {
    if (cell.write.stamp == kInFlight) [[unlikely]]
      report(where, "writes %s while an async_copy_16 of line %d is under way", sharedElement(element).c_str(),
             cell.write.line);
    if (!ordered(cell.write, thread))
      reportRace(where, "writes", sharedElement(element), cell.write, "wrote");
    if (!ordered(cell.read, thread))
      reportRace(where, "writes", sharedElement(element), cell.read, "read");
    cell.write = accessOf(thread, kOne, where);
    return;
  }
  if (cell.write.stamp < executor.blockStart) [[unlikely]] {
    if (cell.write.stamp == kInFlight)
      report(where, "reads %s while an async_copy_16 of line %d is under way", sharedElement(element).c_str(),
             cell.write.line);
    report(where, "reads %s, which no thread of the block has written", sharedElement(element).c_str());
  }
  if (!ordered(cell.write, thread))
    reportRace(where, "reads", sharedElement(element), cell.write, "wrote");
  cell.read = accessOf(thread, ordered(cell.read, thread) ? kOne : joint(cell.read, thread), where);
}

void trackGlobal(const Extent &extent, const void *element, int size, bool writes, Where where) {
  if (!executor.ready[executor.thread])
    expectReady("global memory", where);
  if (!extent.cells)
    return;
  const unsigned long long offset = static_cast<unsigned long long>(static_cast<const char *>(element) - extent.begin);
  GlobalCell &cell = extent.cells[offset >> extent.shift];
  const int thread = executor.thread;
  const unsigned block = blockNumber();
  // What happened before this launch is ordered.
  const auto fine = [&](const Access &access, unsigned by) {
    if (access.stamp < executor.launchStart)
      return true;
    return by == block && readers(access) < kGrid ? ordered(access, thread) : seen(access, by);
  };
  const auto race = [&](const char *does, const Access &access, unsigned by, const char *did) {
    const std::string what = "element " + std::to_string(offset / static_cast<unsigned>(size)) + " of parameter " +
                             std::to_string(extent.parameter);
    std::string who;
    if (readers(access) == kGrid)
      who = "threads of several blocks";
    else if (by != block)
      who = "thread " + std::to_string(threadOf(access)) + " of block (" +
            std::to_string(by % static_cast<unsigned>(executor.launch->gridX)) + ", " +
            std::to_string(by / static_cast<unsigned>(executor.launch->gridX)) + ")";
    reportRace(where, does, what, access, did, who);
  };
  if (writes) {
    if (!fine(cell.write, cell.writeBlock))
      race("writes", cell.write, cell.writeBlock, "wrote");
    if (!fine(cell.read, cell.readBlock))
      race("writes", cell.read, cell.readBlock, "read");
    cell.write = accessOf(thread, kOne, where);
    cell.writeBlock = block;
    return;
  }
  if (!fine(cell.write, cell.writeBlock))
    race("reads", cell.write, cell.writeBlock, "wrote");
  Readers by = kOne;
  if (!fine(cell.read, cell.readBlock))
    by = cell.readBlock == block ? joint(cell.read, thread) : kGrid;
  cell.read = accessOf(thread, by, where);
  cell.readBlock = block;
}

void startCopy(char *to, int size, const char *from, Where where) {
  Copies &copies = memory.copies[static_cast<size_t>(executor.thread)];
  copies.pending.push_back({to, from, size, copies.groups, where});
  memset(to, 0xff, 16);
  for (int at = 0; executor.check && at < 16; at += size)
    cellOf(to + at, size).write.stamp = kInFlight;
}

void closeCopies() { ++memory.copies[static_cast<size_t>(executor.thread)].groups; }

void finishCopies(int groupsLeft) {
  Copies &copies = memory.copies[static_cast<size_t>(executor.thread)];
  const auto covered = [&](const Copy &copy) { return copy.group + static_cast<unsigned>(groupsLeft) < copies.groups; };
  for (const Copy &copy : copies.pending) {
    if (!covered(copy))
      continue;
    if (copy.from)
      memcpy(copy.to, copy.from, 16);
    else
      memset(copy.to, 0, 16);
    for (int at = 0; executor.check && at < 16; at += copy.elementBytes)
      cellOf(copy.to + at, copy.elementBytes).write = accessOf(executor.thread, kOne, copy.where);
  }
  std::erase_if(copies.pending, covered);
}

bool arriveAt(int &counter, int count, Where where) {
  struct Arriving {
    int *counter;
    int count;
    bool last, differs;
  } mine = {&counter, count, false, false};
  const auto complete = [](void *const *operands, int threads) {
    const Arriving &first = *static_cast<Arriving *>(operands[0]);
    bool differs = false;
    for (int i = 0; i < threads; ++i) {
      const Arriving &other = *static_cast<Arriving *>(operands[i]);
      differs |= other.counter != first.counter || other.count != first.count;
    }
    const unsigned block = blockNumber();
    memory.arrivals.push_back({first.counter, block, executor.clock + 1});
    const bool last = ++*first.counter == first.count;
    if (last) {
      *first.counter = 0;
      if (!memory.sees)
        memory.seen.assign(static_cast<size_t>(executor.launch->gridX) * static_cast<size_t>(executor.launch->gridY),
                           0);
      memory.sees = true;
      std::erase_if(memory.arrivals, [&](const Memory::Arrival &arrival) {
        if (arrival.counter != first.counter)
          return false;
        memory.seen[arrival.block] = std::max(memory.seen[arrival.block], arrival.stamp);
        return true;
      });
    }
    for (int i = 0; i < threads; ++i) {
      Arriving &each = *static_cast<Arriving *>(operands[i]);
      each.last = last;
      each.differs = differs;
    }
  };
  meet(Scope::block, "arrive", true, complete, &mine, where);
  if (mine.differs)
    report(where, "arrive at another counter or count than other threads of the block");
  return mine.last;
}

void outOfBounds(const char *what, int parameter, const long long *index, const int *dims, int rank,
                 unsigned long long elements, Where where) {
  std::string at, shape;
  for (int i = 0; i < rank; ++i) {
    at += (i ? ", " : "") + std::to_string(index[i]);
    shape += (i ? ", " : "") + (dims[i] < 0 ? std::string("?") : std::to_string(dims[i]));
  }
  const std::string of = dims[0] < 0 ? what + (" " + std::to_string(parameter)) : what;
  const std::string size = dims[0] < 0 ? " and has " + std::to_string(elements) + " elements" : "";
  report(where, "element (%s) is outside of %s, which is [%s]%s", at.c_str(), of.c_str(), shape.c_str(), size.c_str());
}

void outside16(const char *what, const void *pointer, const void *begin, const void *end, Where where) {
  const char *first = static_cast<const char *>(begin);
  report(where, "16 bytes at byte %td of %s, which has %td, are outside of it or begin at no multiple of 16",
         static_cast<const char *>(pointer) - first, what, static_cast<const char *>(end) - first);
}

void expectReady(const char *what, Where where) {
  if (executor.check && !executor.ready[executor.thread])
    report(where, "reads or writes %s before dependency_wait", what);
}

char *sharedMemory(unsigned bytes, Where where) {
  if (bytes > kSharedBytes)
    report(where, "%u bytes of shared memory; a block has at most %u", bytes, kSharedBytes);
  if (bytes != executor.sharedBytes) {
    memset(executor.shared, 0xff, bytes);
    executor.sharedBytes = bytes;
  }
  return executor.shared;
}

const Extent &extent(int parameter) { return memory.extents[static_cast<size_t>(parameter)]; }

bool prepareLaunch(const HostLaunch &launch, const Kernel &kernel, std::string &report) {
  if (!executor.shared) {
    const size_t bytes = kSharedBytes + kSharedBytes / 2 * sizeof(Cell) + kSharedBytes * sizeof(Cell);
    void *arena = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (arena == MAP_FAILED) {
      report = "no memory for what a block shares and its checks";
      return false;
    }
    executor.shared = static_cast<char *>(arena);
    executor.cells = reinterpret_cast<Cell *>(executor.shared + kSharedBytes);
    executor.byteCells = executor.cells + kSharedBytes / 2;
  }
  if (executor.clock > 1u << 31) { // far from its end: everything begins anew
    executor.clock = 0;
    memset(static_cast<void *>(executor.cells), 0, kSharedBytes / 2 * sizeof(Cell) + kSharedBytes * sizeof(Cell));
    if (memory.cells)
      munmap(memory.cells, memory.cellBytes);
    memory.cells = nullptr;
    memory.cellBytes = 0;
  }
  executor.clock = std::max(executor.clock, kInFlight) + 1;
  executor.launchStart = executor.clock;
  memory.copies.resize(kMaxThreads);
  memory.arrivals.clear();
  memory.extents.clear();
  for (int i = 0; i < launch.bufferCount; ++i)
    memory.extents.push_back({static_cast<char *>(launch.buffers[i]), launch.bytes[i], nullptr, 0, i,
                              kernel.parameters[i].writable, !launch.weights || launch.weights[i]});
  if (!launch.check)
    return true;

  // Regions that the launch writes: overlapping parameters are one.
  struct Region {
    char *begin, *end;
    int shift;
    size_t cells;
  };
  std::vector<Region> regions;
  for (const Extent &each : memory.extents)
    if (each.writable && each.bytes)
      regions.push_back({each.begin, each.begin + each.bytes, 2, 0});
  std::sort(regions.begin(), regions.end(), [](const Region &x, const Region &y) { return x.begin < y.begin; });
  size_t kept = 0;
  for (size_t i = 0; i < regions.size(); ++i) {
    if (kept > 0 && regions[i].begin < regions[kept - 1].end)
      regions[kept - 1].end = std::max(regions[kept - 1].end, regions[i].end);
    else
      regions[kept++] = regions[i];
  }
  regions.resize(kept);
  const auto regionOf = [&](const Extent &each) -> Region * {
    for (Region &region : regions)
      if (each.begin < region.end && each.begin + each.bytes > region.begin)
        return &region;
    return nullptr;
  };
  // A parameter that is only read and lies partly in a region widens it.
  for (const Extent &each : memory.extents)
    if (Region *region = regionOf(each)) {
      region->begin = std::min(region->begin, each.begin);
      region->end = std::max(region->end, each.begin + each.bytes);
    }
  for (size_t i = 0; i < memory.extents.size(); ++i)
    if (Region *region = regionOf(memory.extents[i]))
      while (region->shift > 0 && 1 << region->shift > kernel.parameters[i].elementBytes)
        --region->shift;
  size_t bytes = 0;
  for (Region &region : regions) {
    region.cells = bytes;
    bytes += ((static_cast<size_t>(region.end - region.begin) >> region.shift) + 1) * sizeof(GlobalCell);
  }
  if (bytes > memory.cellBytes) {
    if (memory.cells)
      munmap(memory.cells, memory.cellBytes);
    memory.cells = nullptr;
    memory.cellBytes = 0;
    void *cells = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (cells == MAP_FAILED) {
      report =
          "no memory for " + std::to_string(bytes) + " bytes of checks of what kernel " + launch.kernel + " writes";
      return false;
    }
    memory.cells = static_cast<char *>(cells);
    memory.cellBytes = bytes;
  }
  for (Extent &each : memory.extents)
    if (const Region *region = regionOf(each)) {
      each.shift = region->shift;
      each.cells = reinterpret_cast<GlobalCell *>(memory.cells + region->cells) +
                   ((each.begin - region->begin) >> region->shift);
    }
  return true;
}

void prepareBlock() {
  executor.blockStart = executor.blockSync = ++executor.clock;
  executor.sharedBytes = 0;
  memory.sees = false;
  for (int i = 0; i < kMaxThreads; ++i) {
    Copies &copies = memory.copies[static_cast<size_t>(i)];
    for (const Copy &copy : copies.pending) // of a block that ended before they landed
      for (int at = 0; at < 16; at += copy.elementBytes)
        cellOf(copy.to + at, copy.elementBytes).write.stamp = 0;
    copies.groups = 0;
    copies.pending.clear();
  }
}

} // namespace lathe::device::host
