#include "runtime/AttentionItems.h"

#include <gtest/gtest.h>
#include <map>
#include <set>

namespace lathe {
namespace {

Plan planOf(int64_t rows, int64_t chunk, int64_t heads) {
  Plan plan;
  plan.attentionRows = rows, plan.chunkTokens = chunk, plan.kvHeads = heads;
  plan.slots = {{Unit::partials, 1024}};
  return plan;
}

/// Every row and every chunk that it sees is in exactly one item, and split blocks have places of their own.
void check(const LatheStep &step, const std::vector<std::pair<int64_t, int64_t>> &sequences, int64_t chunkTokens,
           int64_t attentionRows, int64_t tiles, int64_t records) {
  std::map<std::pair<int64_t, int64_t>, int> seen; // row, chunk
  std::map<int64_t, int64_t> arrivals;
  std::set<int64_t> places;
  for (int64_t i = 0; i < step.items; ++i) {
    EXPECT_LT(step.itemRow[i], step.itemEnd[i]);
    EXPECT_LE(step.itemEnd[i] - step.itemRow[i], attentionRows);
    EXPECT_LT(step.itemChunk[i], step.itemChunkEnd[i]);
    for (int64_t row = step.itemRow[i]; row < step.itemEnd[i]; ++row)
      for (int64_t chunk = step.itemChunk[i]; chunk < step.itemChunkEnd[i]; ++chunk) {
        ++seen[{row, chunk}];
        if (step.itemCount[i] == 1)
          continue;
        int64_t place = step.itemRecord[i] + chunk * (step.itemEnd[i] - step.itemRow[i]) + row - step.itemRow[i];
        EXPECT_TRUE(places.insert(place).second) << "place " << place;
        EXPECT_LT(place, records);
      }
    if (step.itemCount[i] > 1) {
      EXPECT_EQ(step.itemCounter[i] % tiles, 0);
      EXPECT_EQ(step.counters[step.itemCounter[i]], 0);
      if (arrivals.emplace(step.itemCounter[i], step.itemCount[i]).second)
        continue;
      EXPECT_EQ(arrivals[step.itemCounter[i]], step.itemCount[i]);
    }
  }
  for (auto &[counter, count] : arrivals)
    for (int64_t i = 0; i < step.items; ++i)
      count -= step.itemCount[i] > 1 && step.itemCounter[i] == counter;
  for (auto &[counter, count] : arrivals)
    EXPECT_EQ(count, 0) << "counter " << counter;
  int64_t row = 0;
  for (auto [count, position] : sequences)
    for (int64_t i = 0; i < count; ++i, ++row)
      for (int64_t chunk = 0; chunk <= (position + i) / chunkTokens; ++chunk)
        EXPECT_EQ((seen[{row, chunk}]), 1) << "row " << row << " chunk " << chunk;
}

TEST(AttentionItems, CoverEveryRowAndChunkOnce) {
  std::vector<std::vector<std::pair<int64_t, int64_t>>> steps = {
      {{1, 0}},
      {{1, 4095}},
      {{1, 255}, {1, 256}},
      {{16, 0}, {1, 900}, {4, 1020}},
      {{300, 77}},
      {{5, 8000}, {3, 511}},
      {{2, 254}, {2, 255}},
      std::vector<std::pair<int64_t, int64_t>>(40, {1, 5000})};
  for (int64_t workers : {1, 2, 7})
    for (int64_t heads : {1, 3, 8}) {
      Plan plan = planOf(16, 256, heads);
      int64_t records = AttentionItems::recordsFor(plan, 8192, workers);
      AttentionItems items(plan, workers, records);
      for (const auto &step : steps) {
        items.clear();
        int64_t row = 0;
        for (auto [count, position] : step) {
          items.add(row, count, position);
          row += count;
        }
        LatheStep filled = {};
        items.finish(filled);
        check(filled, step, 256, 16, heads, records);
      }
    }
}

TEST(AttentionItems, OneLongRowIsSplitOnlyForSeveralWorkers) {
  Plan plan = planOf(16, 256, 3);
  for (int64_t workers : {1, 2}) {
    AttentionItems items(plan, workers, AttentionItems::recordsFor(plan, 8192, workers));
    items.add(0, 1, 4000);
    LatheStep step = {};
    items.finish(step);
    if (workers == 1)
      EXPECT_EQ(step.items, 1);
    else
      EXPECT_GE(step.items * 3, 6 * workers);
  }
}

TEST(AttentionItems, WithoutRoomNothingIsSplit) {
  AttentionItems items(planOf(16, 256, 3), 2, 15); // 16 chunks need 16
  items.add(0, 1, 4000);
  LatheStep step = {};
  items.finish(step);
  EXPECT_EQ(step.items, 1);
  EXPECT_EQ(step.itemCount[0], 1);
}

TEST(AttentionItems, RoomIsBounded) {
  Plan plan = planOf(16, 256, 1);
  plan.slots[0].bytesPerUnit = 1 << 20;
  EXPECT_EQ(AttentionItems::recordsFor(plan, 1 << 20, 64), 64);
  EXPECT_EQ(AttentionItems::recordsFor(planOf(16, 256, 8), 256, 1), 4);
}

} // namespace
} // namespace lathe
