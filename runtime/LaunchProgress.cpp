#include "runtime/LaunchProgress.h"

namespace lathe {

void LaunchProgress::open(size_t launch, uint64_t step, const LaunchCut &cut, int64_t wholes) {
  Shared &to = shared[launch];
  auto set = [&](std::atomic<uint64_t> &at, int64_t count) { at.store(word(step, count)); };
  set(to.ranges, cut.ranges);
  set(to.rangePieces, cut.rangePieces);
  set(to.wholes, wholes);
  set(to.all, cut.ranges * cut.rangePieces + wholes);
  set(to.nextWhole, 0);
  set(to.done, 0);
}

/// Of a launch whose `pieces` a range were read in this step. If the step has ended since, all pieces of this range
/// were taken in it, so its word is another than the one read here before, and stays of that step or later: nothing can
/// be taken by mistake.
Piece LaunchProgress::claimOfRange(size_t launch, uint64_t step, int64_t range, int64_t pieces, bool own) {
  std::atomic<uint64_t> &cursor = cursors[launch * workers + range].next;
  uint64_t seen = cursor.load(std::memory_order_relaxed);
  while (true) {
    if (stepOf(seen) > step)
      return {Piece::State::stepOver};
    int64_t count = stepOf(seen) == step ? countOf(seen) : 0, next = count & ~kOwnerCame;
    bool ownerCame = own || count & kOwnerCame;
    if (next == pieces || (!own && ownerCame && next + 1 == pieces))
      return {};
    if (cursor.compare_exchange_weak(seen, word(step, (next + 1) | (ownerCame ? kOwnerCame : 0))))
      return {Piece::State::taken, range, next};
  }
}

Piece LaunchProgress::claimWhole(size_t launch, uint64_t step) {
  Shared &from = shared[launch];
  uint64_t wholes = from.wholes.load(), seen = from.nextWhole.load();
  while (true) {
    if (stepOf(wholes) != step || stepOf(seen) != step)
      return {Piece::State::stepOver};
    if (countOf(seen) == countOf(wholes))
      return {};
    if (from.nextWhole.compare_exchange_weak(seen, seen + 1))
      return {Piece::State::taken, Piece::kWhole, countOf(seen)};
  }
}

Piece LaunchProgress::claim(size_t launch, uint64_t step, int64_t worker) {
  Shared &from = shared[launch];
  uint64_t ranges = from.ranges.load(), pieces = from.rangePieces.load();
  if (stepOf(ranges) != step || stepOf(pieces) != step)
    return {Piece::State::stepOver};
  int64_t count = countOf(ranges);
  if (worker < count)
    if (Piece own = claimOfRange(launch, step, worker, countOf(pieces), true); own.state != Piece::State::nothingLeft)
      return own;
  if (Piece whole = claimWhole(launch, step); whole.state != Piece::State::nothingLeft)
    return whole;
  for (int64_t i = 1; i <= count; ++i)
    if (int64_t range = (worker + i) % count; range != worker)
      if (Piece other = claimOfRange(launch, step, range, countOf(pieces), false);
          other.state != Piece::State::nothingLeft)
        return other;
  return {};
}

bool LaunchProgress::finish(size_t launch, int64_t pieces) {
  Shared &to = shared[launch];
  uint64_t count = static_cast<uint64_t>(pieces), all = to.all.load(); // read before others may open the next step
  return to.done.fetch_add(count) + count == all;
}

LaunchProgress::Done LaunchProgress::done(size_t launch, uint64_t step) const {
  uint64_t all = shared[launch].all.load(), seen = shared[launch].done.load();
  if (stepOf(all) != step || stepOf(seen) != step)
    return Done::stepOver;
  return seen == all ? Done::yes : Done::no;
}

} // namespace lathe
