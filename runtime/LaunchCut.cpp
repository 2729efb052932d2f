#include "runtime/LaunchCut.h"

#include <algorithm>

namespace lathe {
namespace {

/// The first piece takes so many sixteenths of a range; and the tiles a worker from which more than one pays.
constexpr int64_t kFirstPiece = 10, kLeastTiles = 4;

int64_t ceilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// What is left of a range of `length` tiles behind its first `pieces` pieces: each but the first takes half.
int64_t leftBehind(int64_t length, int64_t pieces) {
  return pieces == 0 ? length : (length - ceilDivide(length * kFirstPiece, 16)) >> (pieces - 1);
}

} // namespace

int64_t LaunchCut::wholes(const ResolvedLaunch &launch) const {
  return launch.unit == Unit::items ? blocks * (launch.tiles / tilesAtOnce) : blocks;
}

LaunchCut LaunchCut::make(const ResolvedLaunch &launch, int64_t units, int64_t workers) {
  LaunchCut cut;
  if (units == 0)
    return cut;
  if (launch.unit == Unit::items) {
    cut.blocks = units;
    cut.tilesAtOnce = units * launch.tiles >= kMostPairs ? launch.tiles : 1;
    return cut;
  }
  int64_t blocks = units / launch.unitBlock;
  if (blocks >= 2 * workers)
    cut.blocks = blocks / workers * workers;
  cut.restBegin = cut.blocks * launch.unitBlock;
  cut.restUnits = units - cut.restBegin;
  if (cut.restUnits == 0)
    return cut;
  cut.restBlocks = ceilDivide(cut.restUnits, launch.unitBlock);
  // Too few tiles to go round: smaller blocks, down to one unit.
  if (cut.restBlocks * launch.tiles < workers)
    cut.restBlocks = std::min(cut.restUnits, ceilDivide(workers, launch.tiles));
  int64_t line = cut.restBlocks * launch.tiles;
  cut.ranges = std::min(workers, line);
  cut.rangePieces = 1;
  if (workers > 1 && line >= kLeastTiles * workers)
    while (leftBehind(ceilDivide(line, cut.ranges), cut.rangePieces) > 0)
      ++cut.rangePieces;
  return cut;
}

int64_t LaunchCut::boundary(const ResolvedLaunch &launch, int64_t range, int64_t piece) const {
  int64_t line = restBlocks * launch.tiles, begin = line * range / ranges, end = line * (range + 1) / ranges;
  return piece == rangePieces ? end : end - leftBehind(end - begin, piece);
}

} // namespace lathe
