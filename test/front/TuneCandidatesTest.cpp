// What tuning tries is what a table may say, and a candidate wins only by more than chance.
#include "compiler/TuneCandidates.h"
#include "test/front/Fixtures.h"

#include <cmath>
#include <set>

using namespace lathe;
using namespace lathe::test;

namespace {

ScheduleEntry entry(int64_t k, int64_t rows, int64_t columns, int64_t unitBlock, int64_t amxRows = 0) {
  return {.key = {amxRows ? "amx" : "avx512vnni", "linear", "int8", 32, 1536, k},
          .rows = rows,
          .columns = columns,
          .unitBlock = unitBlock,
          .amxRows = amxRows,
          .origin = ""};
}

/// Pairs of one setting: base takes 1, the candidate what is given.
TuneTimes times(const std::vector<std::vector<double>> &candidates) {
  TuneTimes result;
  for (const std::vector<double> &candidate : candidates)
    result.settings.push_back({1, std::vector<double>(candidate.size(), 1.0), candidate});
  return result;
}

} // namespace

TEST(TuneCandidates, AreEntriesThatATableMayHave) {
  for (int64_t k : {1, 576, 18432, 131072, 1 << 22})
    for (const ScheduleEntry &base :
         {entry(k, 6, 32, 48), entry(k, 2, 16, 16), entry(k, 16, 16, 16), entry(k, 1, 32, 1), entry(k, 12, 32, 192, 5)})
      for (auto candidates : {tileCandidates, blockCandidates, libraryCandidates}) {
        std::set<std::string> seen{base.tile()};
        for (const ScheduleEntry &candidate : candidates(base)) {
          EXPECT_EQ(candidate.key, base.key);
          EXPECT_TRUE(seen.insert(candidate.tile()).second)
              << "twice, or the base itself: " << printSchedule(candidate, "");
          auto table = ScheduleTable::parse(printSchedule(candidate, "x"), "t.toml");
          ASSERT_OK(table);
          EXPECT_EQ(table->find(base.key)->tile(), candidate.tile());
        }
      }
}

TEST(TuneCandidates, TilesThenBlocks) {
  auto tiles = tileCandidates(entry(576, 6, 32, 48));
  ASSERT_EQ(tiles.size(), 19u); // ten numbers of rows by two of columns, but for the base
  EXPECT_EQ(std::tuple(tiles[0].rows, tiles[0].columns, tiles[0].unitBlock), std::tuple(8, 32, 64));
  EXPECT_EQ(tiles.back().columns, 16);
  std::vector<int64_t> blocks;
  for (const ScheduleEntry &candidate : blockCandidates(entry(576, 6, 32, 48))) {
    EXPECT_EQ(candidate.rows, 6);
    blocks.push_back(candidate.unitBlock);
  }
  EXPECT_EQ(blocks, (std::vector<int64_t>{96, 24, 192, 12}));
  auto amx = blockCandidates(entry(576, 12, 32, 192, 5));
  ASSERT_EQ(amx.size(), 6u) << "four blocks, and two numbers of rows from which tiles are used";
  EXPECT_EQ(std::tuple(amx[4].amxRows, amx[5].amxRows, amx[5].unitBlock), std::tuple(3, 9, 192));
  EXPECT_EQ(blockCandidates(entry(1 << 24, 6, 32, 6)).size(), 0u) << "no room for another register tile";
}

// A library for calls of many rows, where it reads the weights; a tile that leaves too few rows for it drops it.
TEST(TuneCandidates, Library) {
  std::vector<std::string> tiles;
  for (const ScheduleEntry &candidate : libraryCandidates(entry(576, 6, 32, 48)))
    tiles.push_back(candidate.tile());
  EXPECT_EQ(tiles,
            (std::vector<std::string>{"6 x 32 of 48, onednn from 16 rows", "6 x 32 of 48, onednn from 48 rows",
                                      "6 x 32 of 96, onednn from 16 rows", "6 x 32 of 96, onednn from 48 rows",
                                      "6 x 32 of 192, onednn from 16 rows", "6 x 32 of 192, onednn from 48 rows"}));
  ScheduleEntry base = entry(576, 6, 32, 48);
  base.key.quant = "int4";
  EXPECT_TRUE(libraryCandidates(base).empty());
  base = entry(576, 6, 32, 48);
  base.library = "onednn", base.libraryRows = 16;
  for (const ScheduleEntry &candidate : blockCandidates(base))
    EXPECT_EQ(candidate.library, candidate.unitBlock < 16 ? "" : "onednn") << candidate.tile();
}

TEST(TuneVerdict, WinsByMoreThanTheSpread) {
  EXPECT_TRUE(judge(times({{0.9, 0.91, 0.9, 0.89, 0.9}}), 0.05).wins);
  EXPECT_NEAR(judge(times({{0.9, 0.91, 0.9, 0.89, 0.9}}), 0.05).ratio, 0.9, 1e-12);
  EXPECT_FALSE(judge(times({{0.9, 0.91, 0.9, 0.89, 0.9}}), 0.11).wins) << "within the spread";
  EXPECT_FALSE(judge(times({{0.9, 0.9, 1.2, 1.3, 1.3}}), 0.05).wins) << "most pairs lose";
  EXPECT_TRUE(judge(times({{0.9, 0.9, 0.9, 5.0, 9.0}}), 0.05).wins) << "two pairs were disturbed";
  EXPECT_FALSE(judge(times({{1, 1, 1, 1, 1}}), 0.01).wins);
}

TEST(TuneVerdict, NoNumberOfRowsMayGetSlower) {
  EXPECT_TRUE(judge(times({{0.8, 0.8, 0.8}, {1.02, 1.02, 1.02}}), 0.05).wins);
  EXPECT_FALSE(judge(times({{0.8, 0.8, 0.8}, {1.06, 1.06, 1.06}}), 0.05).wins);
  EXPECT_NEAR(judge(times({{0.8, 0.8, 0.8}, {0.2, 0.2, 0.2}}), 0.05).ratio, 0.4, 1e-12);
  EXPECT_FALSE(judge({}, 0.05).wins);
}

TEST(TuneTimes, SpreadAndSeconds) {
  EXPECT_EQ(times({{1, 1, 1, 1, 1}}).spread(), 0.01) << "never less than 1 %";
  EXPECT_NEAR(times({{1, 1, 1, 1, 1}, {1.4, 1.1, 1.2, 1.3, 1.0}}).spread(), std::sqrt(1.1) - 1, 1e-12);
  EXPECT_NEAR(times({{0.8, 0.8, 0.8, 0.8, 0.8}, {1, 1, 1}}).spread(), 1 / std::sqrt(0.8) - 1, 1e-12)
      << "faster by chance is chance as well";
  TuneTimes two = times({{5, 3, 1, 2, 4}, {5, 4}});
  EXPECT_EQ(two.seconds(true), (std::vector<double>{2, 4.25})) << "the first quartile";
  EXPECT_EQ(two.seconds(false), (std::vector<double>{1, 1}));
}
