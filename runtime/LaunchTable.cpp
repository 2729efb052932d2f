#include "runtime/LaunchTable.h"

#include "runtime/Arena.h"
#include "runtime/LaunchProgress.h"

#include <algorithm>
#include <immintrin.h>
#include <span>

namespace lathe {
namespace {

/// Bytes of weights that a worker asks for at most while it waits, some of L2, and between two looks whether it still
/// has to.
constexpr int64_t kMostAhead = 256 << 10, kAheadStep = 1024, kLine = 64;
constexpr int64_t kScratchAlign = 4096; // workers never share a cache line or a page

int64_t unitsOf(const LatheStep &step, Unit unit) {
  switch (unit) {
  case Unit::rows:
    return step.rows;
  case Unit::logitRows:
    return step.logitRows;
  case Unit::items:
    return step.items;
  case Unit::partials:
    break; // no kernel's, only a slot's
  }
  return 0;
}

int64_t ceilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// What a worker does of one launch.
struct Pieces {
  const ResolvedLaunch &launch;
  const LaunchCut &cut;
  const LatheStep &step;
  void *scratch;
  int64_t lastBegin = -1, lastEnd = -1; ///< units of the call before

  void call(int64_t unitBegin, int64_t unitEnd, int64_t tileBegin, int64_t tileEnd) {
    bool prepared = unitBegin == lastBegin && unitEnd == lastEnd;
    launch.kernel(launch.buffers.data(), &step, unitBegin, unitEnd, tileBegin, tileEnd, scratch, prepared);
    lastBegin = unitBegin, lastEnd = unitEnd;
  }

  void run(Piece piece) {
    if (piece.range != Piece::kWhole)
      rest(piece);
    else if (launch.unit == Unit::items)
      attention(cut.wholes(launch) - 1 - piece.number);
    else
      call(piece.number * launch.unitBlock, (piece.number + 1) * launch.unitBlock, 0, launch.tiles);
  }

  /// The weights that a piece begins with.
  std::span<const std::byte> weights(Piece piece) const {
    if (launch.streamed < 0)
      return {};
    int64_t tile = 0, tiles = launch.tiles;
    if (piece.range != Piece::kWhole) {
      int64_t at = cut.boundary(launch, piece.range, piece.number);
      tile = at % launch.tiles;
      tiles = std::min(launch.tiles - tile, cut.boundary(launch, piece.range, piece.number + 1) - at);
    }
    auto *base = static_cast<const std::byte *>(launch.buffers[launch.streamed]);
    return {base + tile * launch.tileBytes, static_cast<size_t>(tiles * launch.tileBytes)};
  }

  /// A part of the rest, whose blocks and tiles form one line.
  void rest(Piece piece) {
    int64_t at = cut.boundary(launch, piece.range, piece.number),
            end = cut.boundary(launch, piece.range, piece.number + 1);
    while (at < end) {
      int64_t block = at / launch.tiles, tile = at % launch.tiles;
      int64_t tileEnd = std::min(launch.tiles, tile + end - at);
      int64_t begin = cut.restBegin + cut.restUnits * block / cut.restBlocks;
      call(begin, cut.restBegin + cut.restUnits * (block + 1) / cut.restBlocks, tile, tileEnd);
      at += tileEnd - tile;
    }
  }

  void attention(int64_t item) {
    int64_t perBlock = launch.tiles / cut.tilesAtOnce, block = item / perBlock,
            tile = item % perBlock * cut.tilesAtOnce;
    call(block, block + 1, tile, tile + cut.tilesAtOnce);
  }
};

} // namespace

/// A launch's cut, which stays what it is from step to step of as many units.
struct CutLaunch {
  int64_t units = -1;
  LaunchCut cut = {};
  int64_t wholes = 0;
};

struct LaunchTable::Impl {
  std::vector<ResolvedLaunch> launches;
  std::vector<CutLaunch> cuts; ///< of the step, one a launch; read by those who hold a piece of it
  LaunchProgress progress;
  int64_t workers, scratchBytes = 0;
  Arena scratch;
  CpuPool *pool = nullptr;
  LatheStep step = {}; ///< read by those who hold a piece
  StepTrace *trace = nullptr;
  std::atomic<uint64_t> number{0}; ///< of the step

  Impl(std::vector<ResolvedLaunch> resolved, int64_t workers)
      : launches(std::move(resolved)), cuts(launches.size()), progress(launches.size(), workers), workers(workers) {}

  void operator()(int64_t worker) const { const_cast<Impl *>(this)->walk(worker); }
  void walk(int64_t worker);
  bool take(size_t launch, uint64_t current, int64_t worker, Piece piece, Pieces pieces);
  void readAhead(size_t launch, uint64_t current, std::span<const std::byte> weights) const;
  bool finished(size_t launch, uint64_t current, int64_t worker);
};

LaunchTable::LaunchTable(std::unique_ptr<Impl> impl) : impl(std::move(impl)) {}
LaunchTable::~LaunchTable() = default;

Result<std::unique_ptr<LaunchTable>> LaunchTable::create(std::vector<ResolvedLaunch> launches, int64_t workers,
                                                         int64_t scratchBytes) {
  auto impl = std::make_unique<Impl>(std::move(launches), workers);
  impl->scratchBytes = ceilDivide(std::max<int64_t>(scratchBytes, 1), kScratchAlign) * kScratchAlign;
  auto scratch =
      Arena::create(impl->scratchBytes * workers, fmt::format("the scratch memory of {} workers", workers), false);
  if (!scratch)
    return propagate(scratch);
  impl->scratch = std::move(*scratch);
  return std::unique_ptr<LaunchTable>(new LaunchTable(std::move(impl)));
}

/// Runs a claimed piece of a launch, and others while there are any. False when the step is over.
bool LaunchTable::Impl::take(size_t index, uint64_t current, int64_t worker, Piece piece, Pieces pieces) {
  // Counted at the end, all at once: each change of a word that others read takes it from their caches.
  int64_t count = 0;
  for (; piece.taken(); piece = progress.claim(index, current, worker), ++count)
    pieces.run(piece);
  if (progress.finish(index, count))
    pool->notify();
  return piece.state != Piece::State::stepOver;
}

/// Asks for the weights of a piece for as long as the launch before is not finished: memory would rest otherwise.
void LaunchTable::Impl::readAhead(size_t index, uint64_t current, std::span<const std::byte> weights) const {
  auto bytes = std::min(static_cast<int64_t>(weights.size()), kMostAhead) / kAheadStep * kAheadStep;
  for (int64_t at = 0; at < bytes && progress.done(index - 1, current) == LaunchProgress::Done::no; at += kAheadStep)
    for (int64_t line = 0; line < kAheadStep; line += kLine)
      _mm_prefetch(reinterpret_cast<const char *>(weights.data() + at + line), _MM_HINT_T1);
}

/// Waits for the last piece of a launch that has been walked. False when the step is over.
bool LaunchTable::Impl::finished(size_t index, uint64_t current, int64_t worker) {
  LaunchProgress::Done done;
  pool->wait(worker, [&] { return (done = progress.done(index, current)) != LaunchProgress::Done::no; });
  return done == LaunchProgress::Done::yes;
}

void LaunchTable::Impl::walk(int64_t worker) {
  uint64_t current = number.load();
  StepTrace::Ticks *ticks = trace ? trace->row(worker) : nullptr;
  uint64_t before = ticks ? StepTrace::now() : 0;
  auto spent = [&](uint64_t &sum) {
    uint64_t now = StepTrace::now(), duration = now - before;
    sum += duration;
    before = now;
    return duration;
  };
  size_t waited = 0; // launches before this one are finished
  for (size_t i = 0; i < launches.size(); ++i) {
    Piece piece = progress.claim(i, current, worker);
    if (piece.state == Piece::State::stepOver)
      return;
    Pieces pieces{launches[i], cuts[i].cut, step, scratch.data() + worker * scratchBytes};
    if (launches[i].barrier && waited < i) {
      if (piece.taken())
        readAhead(i, current, pieces.weights(piece));
      if (ticks)
        spent(ticks[i].busy);
      for (; waited < i; ++waited)
        if (!finished(waited, current, worker))
          return;
      if (ticks)
        trace->addWait(worker, spent(ticks[i].waits));
    }
    if (piece.taken() && !take(i, current, worker, piece, pieces))
      return;
    if (ticks)
      spent(ticks[i].busy);
  }
  for (; waited < launches.size(); ++waited)
    if (!finished(waited, current, worker))
      return;
  if (ticks)
    trace->addWait(worker, spent(ticks[launches.size()].waits));
}

void LaunchTable::setTrace(StepTrace *trace) { impl->trace = trace; }

void LaunchTable::run(CpuPool &pool, const LatheStep &step) {
  if (impl->pool != &pool) // late workers read it, so it is not written again
    impl->pool = &pool;
  impl->step = step;
  uint64_t next = impl->number.load() + 1;
  for (size_t i = 0; i < impl->launches.size(); ++i) {
    const ResolvedLaunch &launch = impl->launches[i];
    CutLaunch &now = impl->cuts[i];
    if (int64_t units = unitsOf(step, launch.unit); units != now.units) {
      now = {units, LaunchCut::make(launch, units, impl->workers)};
      now.wholes = now.cut.wholes(launch);
    }
    impl->progress.open(i, next, now.cut, now.wholes);
  }
  impl->number.store(next);
  uint64_t begin = impl->trace ? StepTrace::now() : 0;
  pool.lead(*impl);
  if (impl->trace)
    impl->trace->endStep(StepTrace::now() - begin);
}

} // namespace lathe
