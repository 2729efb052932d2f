#include "runtime/CpuPool.h"

#include "runtime/CpuFeatures.h"

#include <chrono>
#include <gtest/gtest.h>

namespace lathe {
namespace {

std::unique_ptr<CpuPool> pool(int64_t workers) {
  auto made = CpuPool::create(workers);
  EXPECT_TRUE(made) << made.error().message;
  return std::move(*made);
}

TEST(CpuPool, EveryWorkerRunsTheProgramOnce) {
  for (int64_t workers : {1, 2, 3, 8}) {
    auto team = pool(workers);
    std::vector<int> runs(workers, 0);
    for (int i = 0; i < 50; ++i)
      team->run([&](int64_t worker) { ++runs[worker]; });
    EXPECT_EQ(runs, std::vector<int>(workers, 50));
  }
}

/// Plain memory passed from worker to worker across barriers: any that lets one go early is a wrong sum (and a race
/// under TSan).
int64_t passAlong(CpuPool &team, int64_t rounds) {
  int64_t workers = team.workers();
  std::vector<int64_t> values(workers, 1), next(workers, 0);
  team.run([&](int64_t worker) {
    for (int64_t round = 0; round < rounds; ++round) {
      next[worker] = (values[worker] + values[(worker + 1) % workers]) % 1000003;
      team.barrier(worker);
      values[worker] = next[worker];
      team.barrier(worker);
    }
  });
  for (int64_t value : values)
    EXPECT_EQ(value, values[0]);
  return values[0];
}

int64_t powerOfTwo(int64_t rounds) {
  int64_t value = 1;
  for (int64_t i = 0; i < rounds; ++i)
    value = value * 2 % 1000003;
  return value;
}

TEST(CpuPool, BarriersOrderMemory) {
  for (int64_t workers : {1, 2, 4}) {
    auto team = pool(workers);
    EXPECT_EQ(passAlong(*team, 3000), powerOfTwo(3000));
  }
}

// Four times more workers than cores: every barrier needs all of them to get a core in turn.
TEST(CpuPool, SurvivesOversubscription) {
  int64_t workers = 4 * affinityCount();
  auto team = pool(workers);
  auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(passAlong(*team, 500), powerOfTwo(500));
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  // 1000 barriers. Spinning without sleep takes a scheduler slice (milliseconds) for each.
  EXPECT_LT(seconds, 1000 * 0.0005 * static_cast<double>(workers));
}

// Another team of as many workers computes all the time: ours shares the cores but keeps moving.
TEST(CpuPool, SurvivesABusyNeighbour) {
  auto team = pool(affinityCount());
  std::atomic<bool> stop{false};
  std::vector<pthread_t> neighbours(affinityCount());
  for (pthread_t &thread : neighbours)
    ASSERT_EQ(pthread_create(
                  &thread, nullptr,
                  [](void *flag) -> void * {
                    while (!static_cast<std::atomic<bool> *>(flag)->load(std::memory_order_relaxed)) {
                    }
                    return nullptr;
                  },
                  &stop),
              0);
  auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(passAlong(*team, 300), powerOfTwo(300));
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  stop = true;
  for (pthread_t thread : neighbours)
    pthread_join(thread, nullptr);
  EXPECT_LT(seconds, 600 * 0.020);
}

// `lead` waits for nobody, `run` for all, in any order of the two.
TEST(CpuPool, LeadingAndRunningAlternate) {
  for (int64_t workers : {1, 2, 5}) {
    std::atomic<int64_t> led{0}, helped{0};
    auto program = [&](int64_t worker) { (worker == 0 ? led : helped)++; };
    int64_t ran = 0;
    auto team = pool(workers);
    for (int i = 0; i < 300; ++i) {
      team->lead(program);
      if (i % 3)
        continue;
      std::atomic<int64_t> count{0};
      team->run([&](int64_t) { count++; });
      ran += count == workers;
    }
    EXPECT_EQ(led, 300);
    EXPECT_LE(helped, 300 * (workers - 1));
    EXPECT_EQ(ran, 100);
    team.reset(); // before what late workers look at
  }
}

TEST(CpuPool, RefusesAbsurdSizes) {
  EXPECT_FALSE(CpuPool::create(0));
  EXPECT_FALSE(CpuPool::create(1 << 20));
}

} // namespace
} // namespace lathe
