#include "runtime/LaunchTable.h"

#include "runtime/Arena.h"

#include <algorithm>

namespace lathe {
namespace {

constexpr int64_t kScratchAlign = 4096; // workers never share a cache line or a page

int64_t unitsOf(const LatheStep &step, Unit unit) {
  switch (unit) {
  case Unit::rows:
    return step.rows;
  case Unit::logitRows:
    return step.logitRows;
  case Unit::blocks:
    return step.blocks;
  }
  return 0;
}

int64_t ceilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// What one worker does of one launch.
struct Share {
  const ResolvedLaunch &launch;
  const LatheStep &step;
  void *scratch;

  void call(int64_t unitBegin, int64_t unitEnd, int64_t tileBegin, int64_t tileEnd) const {
    launch.kernel(launch.buffers.data(), &step, unitBegin, unitEnd, tileBegin, tileEnd, scratch);
  }

  /// The contiguous range of the rest that falls to this worker.
  void rest(const LaunchCut &cut, int64_t worker, int64_t workers) const {
    int64_t total = cut.restBlocks * launch.tiles;
    int64_t at = total * worker / workers, end = total * (worker + 1) / workers;
    while (at < end) {
      int64_t block = at / launch.tiles, tile = at % launch.tiles;
      int64_t tileEnd = std::min(launch.tiles, tile + end - at);
      int64_t begin = cut.restBegin + cut.restUnits * block / cut.restBlocks;
      call(begin, cut.restBegin + cut.restUnits * (block + 1) / cut.restBlocks, tile, tileEnd);
      at += tileEnd - tile;
    }
  }

  void fullBlock(int64_t block) const {
    call(block * launch.unitBlock, (block + 1) * launch.unitBlock, 0, launch.tiles);
  }

  /// Attention: item `index` from the end.
  void item(const LaunchCut &cut, int64_t index) const {
    int64_t item = cut.fullBlocks - 1 - index, block = item / launch.tiles, tile = item % launch.tiles;
    call(block, block + 1, tile, tile + 1);
  }
};

} // namespace

LaunchCut LaunchCut::make(const ResolvedLaunch &launch, int64_t units, int64_t workers) {
  LaunchCut cut;
  if (units == 0)
    return cut;
  if (launch.unit == Unit::blocks) {
    cut.fullBlocks = units * launch.tiles;
    return cut;
  }
  int64_t blocks = units / launch.unitBlock;
  if (blocks >= 2 * workers)
    cut.fullBlocks = blocks / workers * workers;
  cut.restBegin = cut.fullBlocks * launch.unitBlock;
  cut.restUnits = units - cut.restBegin;
  cut.restBlocks = ceilDivide(cut.restUnits, launch.unitBlock);
  // Too few tiles to go round: smaller blocks, down to one unit.
  if (cut.restBlocks * launch.tiles < workers)
    cut.restBlocks = std::min(cut.restUnits, ceilDivide(workers, launch.tiles));
  return cut;
}

struct alignas(128) LaunchTable::Cursor {
  std::atomic<int64_t> next{0};
};

struct LaunchTable::Impl {
  std::vector<ResolvedLaunch> launches;
  std::vector<Cursor> cursors; ///< one a launch
  int64_t workers = 1, scratchBytes = 0;
  Arena scratch;
};

LaunchTable::LaunchTable(std::unique_ptr<Impl> impl) : impl(std::move(impl)) {}
LaunchTable::~LaunchTable() = default;

Result<std::unique_ptr<LaunchTable>> LaunchTable::create(std::vector<ResolvedLaunch> launches, int64_t workers,
                                                         int64_t scratchBytes) {
  auto impl = std::make_unique<Impl>();
  impl->cursors = std::vector<Cursor>(launches.size());
  impl->launches = std::move(launches);
  impl->workers = workers;
  impl->scratchBytes = ceilDivide(std::max<int64_t>(scratchBytes, 1), kScratchAlign) * kScratchAlign;
  auto scratch =
      Arena::create(impl->scratchBytes * workers, fmt::format("the scratch memory of {} workers", workers), false);
  if (!scratch)
    return propagate(scratch);
  impl->scratch = std::move(*scratch);
  return std::unique_ptr<LaunchTable>(new LaunchTable(std::move(impl)));
}

void LaunchTable::run(CpuPool &pool, const LatheStep &step) {
  for (Cursor &cursor : impl->cursors)
    cursor.next.store(0, std::memory_order_relaxed); // the start of the run makes it seen
  pool.run([&](int64_t worker) {
    void *scratch = impl->scratch.data() + worker * impl->scratchBytes;
    for (size_t i = 0; i < impl->launches.size(); ++i) {
      const ResolvedLaunch &launch = impl->launches[i];
      if (launch.barrier && i > 0)
        pool.barrier(worker);
      LaunchCut cut = LaunchCut::make(launch, unitsOf(step, launch.unit), impl->workers);
      Share share{launch, step, scratch};
      share.rest(cut, worker, impl->workers);
      // The first item is the worker's own without asking; contention begins with the second.
      for (int64_t item = worker; item < cut.fullBlocks;
           item = impl->workers + impl->cursors[i].next.fetch_add(1, std::memory_order_relaxed))
        launch.unit == Unit::blocks ? share.item(cut, item) : share.fullBlock(item);
    }
  });
}

} // namespace lathe
