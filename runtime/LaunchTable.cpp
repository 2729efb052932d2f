#include "runtime/LaunchTable.h"

#include "runtime/Arena.h"

#include <algorithm>
#include <immintrin.h>
#include <span>

namespace lathe {
namespace {

/// The first round of pieces takes so many sixteenths of a launch's rest; and the tiles a worker from which rounds pay.
constexpr int64_t kFirstRound = 10, kLeastTiles = 4;
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

  void run(int64_t piece) {
    if (piece < cut.restPieces)
      rest(piece);
    else if (launch.unit == Unit::items)
      attention(cut.pieces(launch) - 1 - piece);
    else
      call((piece - cut.restPieces) * launch.unitBlock, (piece - cut.restPieces + 1) * launch.unitBlock, 0,
           launch.tiles);
  }

  /// The weights that a piece begins with.
  std::span<const std::byte> weights(int64_t piece) const {
    if (launch.streamed < 0)
      return {};
    int64_t tile = 0, tiles = launch.tiles;
    if (piece < cut.restPieces) {
      int64_t at = cut.restBoundary(launch, piece);
      tile = at % launch.tiles;
      tiles = std::min(launch.tiles - tile, cut.restBoundary(launch, piece + 1) - at);
    }
    auto *base = static_cast<const std::byte *>(launch.buffers[launch.streamed]);
    return {base + tile * launch.tileBytes, static_cast<size_t>(tiles * launch.tileBytes)};
  }

  /// A contiguous range of the rest, whose blocks and tiles form one line.
  void rest(int64_t piece) {
    int64_t at = cut.restBoundary(launch, piece), end = cut.restBoundary(launch, piece + 1);
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

int64_t LaunchCut::pieces(const ResolvedLaunch &launch) const {
  return restPieces + (launch.unit == Unit::items ? blocks * (launch.tiles / tilesAtOnce) : blocks);
}

LaunchCut LaunchCut::make(const ResolvedLaunch &launch, int64_t units, int64_t workers) {
  LaunchCut cut;
  if (units == 0)
    return cut;
  if (launch.unit == Unit::items) {
    cut.blocks = units;
    cut.tilesAtOnce = units * launch.tiles > kMostPieces ? launch.tiles : 1;
    return cut;
  }
  int64_t blocks = units / launch.unitBlock;
  if (blocks >= 2 * workers)
    cut.blocks = blocks / workers * workers;
  cut.restBegin = cut.blocks * launch.unitBlock;
  cut.restUnits = units - cut.restBegin;
  cut.restBlocks = ceilDivide(cut.restUnits, launch.unitBlock);
  // Too few tiles to go round: smaller blocks, down to one unit.
  if (cut.restBlocks * launch.tiles < workers)
    cut.restBlocks = std::min(cut.restUnits, ceilDivide(workers, launch.tiles));
  int64_t line = cut.restBlocks * launch.tiles;
  cut.restWorkers = std::min(workers, line);
  cut.restPieces = cut.restWorkers;
  if (workers == 1 || line < kLeastTiles * workers)
    return cut;
  // A large piece for each worker, then ever smaller ones down to a tile: who was slowed down does fewer of these.
  cut.laterTiles = line - line * kFirstRound / 16 / workers * workers;
  while (cut.laterTiles >> cut.laterRounds > 2 * workers)
    ++cut.laterRounds;
  cut.restPieces += workers * cut.laterRounds + (cut.laterTiles >> cut.laterRounds);
  return cut;
}

int64_t LaunchCut::restBoundary(const ResolvedLaunch &launch, int64_t piece) const {
  int64_t line = restBlocks * launch.tiles, first = line - laterTiles;
  if (piece <= restWorkers)
    return first * piece / restWorkers;
  int64_t round = (piece - restWorkers) / restWorkers, within = piece - restWorkers - round * restWorkers;
  if (round >= laterRounds)
    return line - (laterTiles >> laterRounds) + piece - restWorkers * (1 + laterRounds);
  int64_t rest = laterTiles >> round, taken = rest - (rest >> 1);
  return line - rest + taken * within / restWorkers;
}

namespace {

/// Which pieces of a launch are taken: the step's number (24 bits), the number of pieces and the next one (20 bits
/// each) in one word, so that a worker that comes too late for a step cannot take a piece of the next one by mistake.
struct Cursor {
  uint64_t word;
  static Cursor make(uint64_t step, int64_t pieces) { return {step << 40 | static_cast<uint64_t>(pieces) << 20}; }
  uint64_t step() const { return word >> 40; }
  uint64_t pieces() const { return word >> 20 & LaunchCut::kMostPieces; }
  uint64_t next() const { return word & LaunchCut::kMostPieces; }
};

/// How many pieces of a launch are done, again with the step's number.
struct Count {
  uint64_t word;
  static Count make(uint64_t step, uint64_t pieces) { return {step << 40 | pieces}; }
  uint64_t step() const { return word >> 40; }
};

constexpr int64_t kNothingLeft = -1, kStepOver = -2;

/// What workers share of one launch.
struct Progress {
  alignas(128) std::atomic<uint64_t> taken{0}; ///< Cursor
  alignas(128) std::atomic<uint64_t> done{0};  ///< Count
};

} // namespace

/// A launch's cut, which stays what it is from step to step of as many units.
struct CutLaunch {
  int64_t units = -1;
  LaunchCut cut = {};
  int64_t pieces = 0;
};

struct LaunchTable::Impl {
  std::vector<ResolvedLaunch> launches;
  std::vector<CutLaunch> cuts;    ///< of the step, one a launch; read by those who hold a piece of it
  std::vector<Progress> progress; ///< one a launch
  int64_t workers = 1, scratchBytes = 0;
  Arena scratch;
  CpuPool *pool = nullptr;
  LatheStep step = {}; ///< read by those who hold a piece
  StepTrace *trace = nullptr;
  std::atomic<uint64_t> number{
      0}; ///< of the step, 24 bits; a worker would have to sleep through 16 million steps to be fooled

  void operator()(int64_t worker) const { const_cast<Impl *>(this)->walk(worker); }
  void walk(int64_t worker);
  int64_t claim(size_t launch, uint64_t current);
  bool take(size_t launch, uint64_t current, int64_t piece, Pieces pieces);
  void readAhead(size_t launch, std::span<const std::byte> weights) const;
  bool finished(size_t launch, uint64_t current, int64_t worker);
};

LaunchTable::LaunchTable(std::unique_ptr<Impl> impl) : impl(std::move(impl)) {}
LaunchTable::~LaunchTable() = default;

Result<std::unique_ptr<LaunchTable>> LaunchTable::create(std::vector<ResolvedLaunch> launches, int64_t workers,
                                                         int64_t scratchBytes) {
  auto impl = std::make_unique<Impl>();
  impl->progress = std::vector<Progress>(launches.size());
  impl->launches = std::move(launches);
  impl->workers = workers;
  impl->cuts.resize(impl->launches.size());
  impl->scratchBytes = ceilDivide(std::max<int64_t>(scratchBytes, 1), kScratchAlign) * kScratchAlign;
  auto scratch =
      Arena::create(impl->scratchBytes * workers, fmt::format("the scratch memory of {} workers", workers), false);
  if (!scratch)
    return propagate(scratch);
  impl->scratch = std::move(*scratch);
  return std::unique_ptr<LaunchTable>(new LaunchTable(std::move(impl)));
}

/// The number of a piece that is nobody else's, or one of the above. Until it is counted as done the step cannot end.
int64_t LaunchTable::Impl::claim(size_t index, uint64_t current) {
  std::atomic<uint64_t> &taken = progress[index].taken;
  Cursor cursor{taken.load()};
  while (true) {
    if (cursor.step() != current)
      return kStepOver;
    if (cursor.next() == cursor.pieces())
      return kNothingLeft;
    if (taken.compare_exchange_weak(cursor.word, cursor.word + 1))
      return static_cast<int64_t>(cursor.next());
  }
}

/// Runs a claimed piece of a launch, and others while there are any. False when the step is over.
bool LaunchTable::Impl::take(size_t index, uint64_t current, int64_t piece, Pieces pieces) {
  uint64_t all = Count::make(current, static_cast<uint64_t>(cuts[index].pieces)).word;
  for (; piece >= 0; piece = claim(index, current)) {
    pieces.run(piece);
    if (progress[index].done.fetch_add(1) + 1 == all)
      pool->notify();
  }
  return piece != kStepOver;
}

/// Asks for the weights of a piece for as long as the launch before is not finished: memory would rest otherwise.
void LaunchTable::Impl::readAhead(size_t index, std::span<const std::byte> weights) const {
  const Progress &before = progress[index - 1];
  auto bytes = std::min(static_cast<int64_t>(weights.size()), kMostAhead) / kAheadStep * kAheadStep;
  uint64_t all = Count::make(Cursor{before.taken.load()}.step(), Cursor{before.taken.load()}.pieces()).word;
  for (int64_t at = 0; at < bytes && before.done.load() != all; at += kAheadStep)
    for (int64_t line = 0; line < kAheadStep; line += kLine)
      _mm_prefetch(reinterpret_cast<const char *>(weights.data() + at + line), _MM_HINT_T1);
}

/// Waits for the last piece of a launch that has been walked. False when the step is over.
bool LaunchTable::Impl::finished(size_t index, uint64_t current, int64_t worker) {
  const Progress &launch = progress[index];
  Cursor cursor{launch.taken.load()};
  if (cursor.step() != current)
    return false;
  uint64_t all = Count::make(current, cursor.pieces()).word, seen;
  pool->wait(worker, [&] {
    seen = launch.done.load();
    return seen == all || Count{seen}.step() != current;
  });
  return seen == all;
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
    int64_t piece = claim(i, current);
    if (piece == kStepOver)
      return;
    Pieces pieces{launches[i], cuts[i].cut, step, scratch.data() + worker * scratchBytes};
    if (launches[i].barrier && waited < i) {
      if (piece != kNothingLeft)
        readAhead(i, pieces.weights(piece));
      if (ticks)
        spent(ticks[i].busy);
      for (; waited < i; ++waited)
        if (!finished(waited, current, worker))
          return;
      if (ticks)
        trace->addWait(worker, spent(ticks[i].waits));
    }
    if (piece != kNothingLeft && !take(i, current, piece, pieces))
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
  uint64_t next = (impl->number.load() + 1) & 0xffffff;
  for (size_t i = 0; i < impl->launches.size(); ++i) {
    const ResolvedLaunch &launch = impl->launches[i];
    CutLaunch &now = impl->cuts[i];
    if (int64_t units = unitsOf(step, launch.unit); units != now.units) {
      now = {units, LaunchCut::make(launch, units, impl->workers)};
      now.pieces = now.cut.pieces(launch);
    }
    impl->progress[i].done.store(Count::make(next, 0).word);
    impl->progress[i].taken.store(Cursor::make(next, now.pieces).word);
  }
  impl->number.store(next);
  uint64_t begin = impl->trace ? StepTrace::now() : 0;
  pool.lead(*impl);
  if (impl->trace)
    impl->trace->endStep(StepTrace::now() - begin);
}

} // namespace lathe
