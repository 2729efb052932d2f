#include "runtime/KernelBench.h"
#include "runtime/KernelRing.h"
#include "test/runtime/ToyModel.h"

#include <algorithm>
#include <cstring>
#include <gtest/gtest.h>
#include <set>

namespace lathe {
namespace {

constexpr int64_t kHead = 6; ///< number of toy_head's launch; it reads buffer 3, head.weight
constexpr uint64_t kHeadBytes = toy::kHeadTiles * toy::kHeadTile * toy::kHeads * 4;

/// The toy plan's launches with made-up addresses, one for each buffer.
std::vector<ResolvedLaunch> resolved(const Plan &plan) {
  static std::byte places[64];
  std::vector<ResolvedLaunch> launches;
  for (const Launch &launch : plan.launches) {
    ResolvedLaunch entry;
    entry.tiles = plan.kernels[launch.kernel].tiles;
    entry.barrier = false;
    for (int64_t argument : launch.args)
      entry.buffers.push_back(places + argument);
    launches.push_back(entry);
  }
  return launches;
}

TEST(KernelRing, CopiesWeightsUntilThereAreEnough) {
  Plan plan = toy::plan();
  auto all = resolved(plan);
  auto ring = KernelRing::make(plan, *toy::artifact(), "toy_head", all, 10 * kHeadBytes - 1);
  ASSERT_TRUE(ring) << ring.error().message;
  ASSERT_EQ(ring->launches.size(), 10u);
  EXPECT_EQ(ring->bytes, 10 * kHeadBytes);
  std::vector<float> weight = toy::headWeight();
  std::set<void *> seen;
  for (const ResolvedLaunch &launch : ring->launches) {
    EXPECT_TRUE(launch.barrier);
    EXPECT_TRUE(seen.insert(launch.buffers[1]).second) << "two launches share a weight";
    EXPECT_EQ(launch.buffers[0], all[kHead].buffers[0]);
    EXPECT_EQ(launch.buffers[2], all[kHead].buffers[2]);
    if (launch.buffers[1] != all[kHead].buffers[1]) {
      EXPECT_EQ(std::memcmp(launch.buffers[1], weight.data(), weight.size() * 4), 0);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(launch.buffers[1]) % 64, 0u);
    }
  }
}

TEST(KernelRing, NoMoreThanAskedFor) {
  Plan plan = toy::plan();
  EXPECT_EQ(KernelRing::make(plan, *toy::artifact(), "toy_head", resolved(plan), 0)->launches.size(), 1u);
  EXPECT_EQ(KernelRing::make(plan, *toy::artifact(), "toy_head", resolved(plan), kHeadBytes)->launches.size(), 1u);
  EXPECT_EQ(KernelRing::make(plan, *toy::artifact(), "toy_head", resolved(plan), kHeadBytes + 1)->launches.size(), 2u);
  EXPECT_EQ(KernelRing::make(plan, *toy::artifact(), "toy_head", resolved(plan), 1 << 30)->launches.size(), 4096u);
  auto attend = KernelRing::make(plan, *toy::artifact(), "toy_attend", resolved(plan), 1 << 30);
  EXPECT_EQ(attend->launches.size(), 2u) << "it reads no weights";
  EXPECT_EQ(attend->bytes, 0u);
}

// A weight that all launches of a kernel read is as warm in a step; one that each has of its own is copied.
TEST(KernelRing, WhatLaunchesShareStaysShared) {
  Plan plan = toy::plan();
  int64_t shared = 3, own = static_cast<int64_t>(plan.buffers.size());
  plan.buffers.push_back(plan.buffers[3]);
  plan.launches.push_back({4, {2, shared, 4}, true});
  plan.launches[kHead].args = {own, shared, 4};
  auto all = resolved(plan);
  auto ring = KernelRing::make(plan, *toy::artifact(), "toy_head", all, 3 * kHeadBytes);
  ASSERT_TRUE(ring) << ring.error().message;
  ASSERT_EQ(ring->launches.size(), 4u);
  std::set<void *> places;
  for (size_t i = 0; i < 4; i += 2)
    places.insert(ring->launches[i].buffers[0]);
  EXPECT_EQ(places.size(), 2u);
  for (const ResolvedLaunch &launch : ring->launches)
    EXPECT_EQ(launch.buffers[1], all[kHead].buffers[1]);
}

TEST(KernelRing, UnknownName) {
  Plan plan = toy::plan();
  auto ring = KernelRing::make(plan, *toy::artifact(), "head", resolved(plan), 0);
  ASSERT_FALSE(ring);
  EXPECT_EQ(ring.error().code, ExitCode::usage);
  EXPECT_EQ(ring.error().message,
            "no kernel 'head'; there are: toy_embed, toy_append, toy_attend, toy_select, toy_head");
  plan.launches.pop_back();
  EXPECT_EQ(KernelRing::make(plan, *toy::artifact(), "toy_head", resolved(plan), 0).error().message,
            "kernel 'toy_head' is never launched");
}

TEST(KernelBench, PassesOfEveryKernel) {
  for (const Kernel &kernel : toy::plan().kernels) {
    auto bench = KernelBench::load(toy::artifact(), kernel.symbol, {.threads = 2, .depth = 7, .rows = 20});
    ASSERT_TRUE(bench) << bench.error().message;
    EXPECT_EQ((*bench)->engine().threads(), 2);
    EXPECT_GE((*bench)->engine().launches(), 1);
    for (int64_t rows : {1, 2, 20, 3, 20}) {
      auto seconds = (*bench)->pass(rows);
      ASSERT_TRUE(seconds) << kernel.symbol << ": " << seconds.error().message;
      EXPECT_GT(*seconds, 0);
    }
    EXPECT_EQ((*bench)->engine().kv().freePages(), (*bench)->engine().kv().pageCount()) << "a pass keeps no page";
  }
}

TEST(KernelBench, BytesAndOperations) {
  auto head = KernelBench::load(toy::artifact(), "toy_head", {.rows = 4});
  ASSERT_TRUE(head);
  EXPECT_EQ((*head)->bytes(1), double(kHeadBytes));
  EXPECT_EQ((*head)->bytes(4), double(kHeadBytes));
  EXPECT_EQ((*head)->multiplyAdds(4), 4 * 5);
  auto attend = KernelBench::load(toy::artifact(), "toy_attend", {.depth = 10, .rows = 4});
  ASSERT_TRUE(attend);
  EXPECT_EQ((*attend)->bytes(4), 14.0 * 2 * toy::kHeads * toy::kDim * 4);
  EXPECT_EQ((*attend)->multiplyAdds(4), (11 + 12 + 13 + 14) * 5);
}

TEST(KernelBench, Refusals) {
  auto late = KernelBench::load(toy::artifact(), "toy_head", {.depth = 60, .rows = 5});
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, ExitCode::badInput);
  EXPECT_EQ(late.error().message, "5 rows behind 60 positions: the context has 64; lower -m or -d");
  EXPECT_EQ(KernelBench::load(toy::artifact(), "nothing", {}).error().code, ExitCode::usage);
}

} // namespace
} // namespace lathe
