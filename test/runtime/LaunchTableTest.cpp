#include "runtime/LaunchTable.h"

#include <atomic>
#include <gtest/gtest.h>

namespace lathe {
namespace {

/// What a kernel was called with, as its buffers[0].
struct Record {
  int64_t tiles, unitBlock;
  std::vector<std::atomic<int>> seen;
  std::atomic<int64_t> calls{0}, mistakes{0};
  Record(int64_t units, int64_t tiles, int64_t unitBlock) : tiles(tiles), unitBlock(unitBlock), seen(units * tiles) {}
};

void record(void *const *buffers, const LatheStep *, int64_t unitBegin, int64_t unitEnd, int64_t tileBegin,
            int64_t tileEnd, void *scratch, int64_t) {
  Record &record = *static_cast<Record *>(buffers[0]);
  record.calls++;
  bool fine = unitBegin < unitEnd && tileBegin < tileEnd && tileEnd <= record.tiles &&
              unitEnd - unitBegin <= record.unitBlock && reinterpret_cast<uintptr_t>(scratch) % 64 == 0;
  record.mistakes += !fine;
  for (int64_t unit = unitBegin; unit < unitEnd; ++unit)
    for (int64_t tile = tileBegin; tile < tileEnd; ++tile)
      record.seen[unit * record.tiles + tile]++;
}

/// buffers: in, out. out[i] = in[(i + 1) % rows] + 1 for a unit i.
void shift(void *const *buffers, const LatheStep *step, int64_t unitBegin, int64_t unitEnd, int64_t, int64_t, void *,
           int64_t) {
  for (int64_t unit = unitBegin; unit < unitEnd; ++unit)
    static_cast<int64_t *>(buffers[1])[unit] = static_cast<int64_t *>(buffers[0])[(unit + 1) % step->rows] + 1;
}

/// Every unit and tile exactly once, no call larger than allowed. Returns the number of calls.
int64_t cover(CpuPool &pool, Unit unit, int64_t units, int64_t tiles, int64_t unitBlock) {
  Record calls(units, tiles, unitBlock);
  auto table = LaunchTable::create({{record, {&calls}, unit, tiles, unitBlock, true}}, pool.workers(), 100);
  EXPECT_TRUE(table);
  LatheStep step = {};
  step.rows = step.logitRows = step.items = units;
  (*table)->run(pool, step);
  pool.run([](int64_t) {}); // nobody looks into the table any more
  EXPECT_EQ(calls.mistakes, 0);
  for (size_t i = 0; i < calls.seen.size(); ++i)
    EXPECT_EQ(calls.seen[i], 1) << "unit " << i / tiles << " tile " << i % tiles << " of " << units << " x " << tiles
                                << " in blocks of " << unitBlock;
  return calls.calls;
}

TEST(LaunchTable, EveryUnitAndTileOnce) {
  for (int64_t workers : {1, 2, 3, 5}) {
    auto pool = CpuPool::create(workers);
    ASSERT_TRUE(pool);
    for (Unit unit : {Unit::rows, Unit::logitRows, Unit::items})
      for (int64_t units : {0, 1, 2, 3, 7, 16, 48, 49, 97, 480, 512})
        for (int64_t tiles : {1, 2, 3, 18, 151})
          for (int64_t unitBlock : {1, 6, 48})
            cover(**pool, unit, units, tiles, unit == Unit::items ? 1 : unitBlock);
  }
}

// Workers that never get a core hold up nobody: one alone does what was cut for five.
TEST(LaunchTable, AbsentWorkersHoldUpNobody) {
  auto pool = CpuPool::create(1);
  ASSERT_TRUE(pool);
  std::vector<int64_t> a(97, 0), b(97, 0);
  auto table = LaunchTable::create(
      {{shift, {a.data(), b.data()}, Unit::rows, 1, 4, true}, {shift, {b.data(), a.data()}, Unit::rows, 1, 50, true}},
      5, 0);
  ASSERT_TRUE(table);
  LatheStep step = {};
  step.rows = 97;
  (*table)->run(**pool, step);
  (*table)->run(**pool, step);
  EXPECT_EQ(a, std::vector<int64_t>(97, 4));
}

TEST(LaunchTable, DecodeCutsLargePiecesThenSmallOnes) {
  auto pool = CpuPool::create(2);
  ASSERT_TRUE(pool);
  EXPECT_EQ(cover(**pool, Unit::rows, 1, 18, 48), 6);
  EXPECT_EQ(cover(**pool, Unit::rows, 16, 18, 48), 6);
  EXPECT_EQ(cover(**pool, Unit::rows, 1, 7, 48), 2) << "too few tiles to be worth it";
}

thread_local int64_t preparedCalls;
void count(void *const *, const LatheStep *, int64_t, int64_t, int64_t, int64_t, void *, int64_t prepared) {
  preparedCalls += prepared;
}

TEST(LaunchTable, OnlyTheFirstCallOfEqualUnitsIsFresh) {
  auto pool = CpuPool::create(1);
  ASSERT_TRUE(pool);
  // Two blocks of units, each in one call with all tiles; the second launch begins anew.
  auto table = LaunchTable::create({{count, {}, Unit::rows, 4, 8, true}, {count, {}, Unit::rows, 4, 8, true}}, 1, 64);
  ASSERT_TRUE(table);
  LatheStep step = {};
  step.rows = 5;
  preparedCalls = 0;
  (*table)->run(**pool, step);
  EXPECT_EQ(preparedCalls, 0);
}

// Launches read what other workers wrote in the launch before.
TEST(LaunchTable, BarriersStandBetweenLaunches) {
  for (int64_t workers : {1, 2, 5}) {
    auto pool = CpuPool::create(workers);
    ASSERT_TRUE(pool);
    std::vector<int64_t> a(97, 0), b(97, 0);
    std::vector<ResolvedLaunch> launches;
    for (int i = 0; i < 40; ++i)
      launches.push_back({shift, {i % 2 ? b.data() : a.data(), i % 2 ? a.data() : b.data()}, Unit::rows, 1, 4, true});
    auto table = LaunchTable::create(launches, workers, 0);
    ASSERT_TRUE(table);
    LatheStep step = {};
    step.rows = 97;
    for (int run = 1; run <= 300; ++run) {
      (*table)->run(**pool, step);
      ASSERT_EQ(a, std::vector<int64_t>(97, 40 * run));
    }
    (*pool)->run([](int64_t) {});
  }
}

} // namespace
} // namespace lathe
