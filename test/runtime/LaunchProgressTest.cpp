#include "runtime/LaunchProgress.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <thread>

namespace lathe {
namespace {

ResolvedLaunch ofRows(int64_t tiles) { return {nullptr, {}, Unit::rows, tiles, 48, true}; }

std::vector<int64_t> boundaries(const LaunchCut &cut, const ResolvedLaunch &launch, int64_t range) {
  std::vector<int64_t> all;
  for (int64_t piece = 0; piece <= cut.rangePieces; ++piece)
    all.push_back(cut.boundary(launch, range, piece));
  return all;
}

TEST(LaunchCut, ARangeAWorkerInEverSmallerPieces) {
  LaunchCut cut = LaunchCut::make(ofRows(96), 16, 2);
  EXPECT_EQ(cut.blocks, 0);
  EXPECT_EQ(cut.restBlocks, 1);
  EXPECT_EQ(cut.ranges, 2);
  EXPECT_EQ(boundaries(cut, ofRows(96), 0), (std::vector<int64_t>{0, 30, 39, 44, 46, 47, 48}));
  EXPECT_EQ(boundaries(cut, ofRows(96), 1), (std::vector<int64_t>{48, 78, 87, 92, 94, 95, 96}));
}

TEST(LaunchCut, UnequalRangesEndWhereTheNextBegins) {
  for (int64_t tiles : {1, 2, 3, 7, 9, 15, 19, 151})
    for (int64_t workers : {1, 2, 3, 5, 64}) {
      LaunchCut cut = LaunchCut::make(ofRows(tiles), 1, workers);
      EXPECT_EQ(cut.boundary(ofRows(tiles), 0, 0), 0);
      for (int64_t range = 0; range < cut.ranges; ++range) {
        auto all = boundaries(cut, ofRows(tiles), range);
        EXPECT_TRUE(std::is_sorted(all.begin(), all.end()));
        EXPECT_GT(all[1], all[0]) << "a range without a first piece";
        EXPECT_EQ(all.back(), range + 1 == cut.ranges ? tiles : cut.boundary(ofRows(tiles), range + 1, 0));
      }
    }
}

TEST(LaunchCut, PrefillTakesWholeBlocks) {
  LaunchCut cut = LaunchCut::make(ofRows(18), 512, 2);
  EXPECT_EQ(cut.blocks, 10);
  EXPECT_EQ(cut.restBegin, 480);
  EXPECT_EQ(cut.restUnits, 32);
  EXPECT_EQ(cut.restBlocks, 1);
}

TEST(LaunchCut, OneTileSplitsRows) { EXPECT_EQ(LaunchCut::make(ofRows(1), 16, 4).restBlocks, 4); }

TEST(LaunchCut, NothingIsCutOfNothing) {
  LaunchCut cut = LaunchCut::make(ofRows(18), 0, 2);
  EXPECT_EQ(cut.ranges + cut.wholes(ofRows(18)), 0);
  EXPECT_EQ(LaunchCut::make(ofRows(18), 480, 2).ranges, 0) << "whole blocks only";
}

/// A cut of which only the numbers of pieces matter.
LaunchCut pieces(int64_t ranges, int64_t rangePieces) {
  LaunchCut cut;
  cut.ranges = ranges;
  cut.rangePieces = rangePieces;
  return cut;
}

TEST(LaunchProgress, OwnRangeThenWholesThenWhatOthersLeft) {
  LaunchProgress progress(1, 2);
  progress.open(0, 1, pieces(2, 3), 2);
  std::vector<std::pair<int64_t, int64_t>> taken;
  EXPECT_EQ(progress.claim(0, 1, 0).range, 0);
  for (Piece piece = progress.claim(0, 1, 1); piece.taken(); piece = progress.claim(0, 1, 1))
    taken.emplace_back(piece.range, piece.number);
  EXPECT_EQ(taken, (std::vector<std::pair<int64_t, int64_t>>{{1, 0}, {1, 1}, {1, 2}, {-1, 0}, {-1, 1}, {0, 1}}));
  Piece last = progress.claim(0, 1, 0);
  EXPECT_TRUE(last.taken() && last.range == 0 && last.number == 2) << "the last one is left to the range's worker";
  EXPECT_EQ(progress.claim(0, 1, 0).state, Piece::State::nothingLeft);
  EXPECT_FALSE(progress.finish(0, 7));
  EXPECT_EQ(progress.done(0, 1), LaunchProgress::Done::no);
  EXPECT_TRUE(progress.finish(0, 1));
  EXPECT_EQ(progress.done(0, 1), LaunchProgress::Done::yes);
}

TEST(LaunchProgress, OthersTakeAllOfWhoDoesNotCome) {
  LaunchProgress progress(1, 3);
  progress.open(0, 1, pieces(3, 2), 0);
  for (int i = 0; i < 6; ++i)
    EXPECT_TRUE(progress.claim(0, 1, 2).taken());
  EXPECT_EQ(progress.claim(0, 1, 0).state, Piece::State::nothingLeft);
}

TEST(LaunchProgress, WhoComesTooLateTakesNothing) {
  LaunchProgress progress(1, 2);
  progress.open(0, 1, pieces(2, 1), 1);
  for (int i = 0; i < 3; ++i)
    EXPECT_TRUE(progress.claim(0, 1, 0).taken());
  progress.open(0, 2, pieces(2, 1), 1);
  EXPECT_EQ(progress.claim(0, 1, 1).state, Piece::State::stepOver);
  EXPECT_EQ(progress.done(0, 1), LaunchProgress::Done::stepOver);
  for (int i = 0; i < 3; ++i)
    EXPECT_TRUE(progress.claim(0, 2, 1).taken()) << "a range's count of the step before stands for none";
  EXPECT_EQ(progress.claim(0, 2, 1).state, Piece::State::nothingLeft);
}

TEST(LaunchProgress, EachPieceIsTakenOnce) {
  constexpr int64_t kWorkers = 4, kPieces = 50, kWholes = 33;
  LaunchProgress progress(1, kWorkers);
  for (uint64_t step = 1; step <= 50; ++step) {
    progress.open(0, step, pieces(kWorkers, kPieces), kWholes);
    std::vector<std::atomic<int>> seen(kWorkers * kPieces + kWholes);
    std::atomic<int> last{0};
    std::vector<std::thread> workers;
    for (int64_t worker = 0; worker < kWorkers; ++worker)
      workers.emplace_back([&, worker] {
        int64_t count = 0;
        for (Piece piece = progress.claim(0, step, worker); piece.taken();
             piece = progress.claim(0, step, worker), ++count)
          seen[piece.range == Piece::kWhole ? kWorkers * kPieces + piece.number
                                            : piece.range * kPieces + piece.number]++;
        last += count > 0 && progress.finish(0, count);
      });
    for (std::thread &worker : workers)
      worker.join();
    EXPECT_EQ(last, 1);
    for (auto &times : seen)
      ASSERT_EQ(times, 1);
  }
}

} // namespace
} // namespace lathe
