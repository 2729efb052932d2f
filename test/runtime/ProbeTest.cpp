#include "runtime/CpuFeatures.h"
#include "runtime/MemoryProbe.h"
#include "runtime/PeakProbe.h"

#include <cmath>
#include <gtest/gtest.h>

namespace lathe {
namespace {

TEST(MemoryProbe, ReadsWithAnyNumberOfWorkers) {
  for (int64_t workers : {1, 3}) {
    auto pool = CpuPool::create(workers);
    ASSERT_TRUE(pool);
    double rate = probeReadBandwidth(**pool);
    EXPECT_TRUE(std::isfinite(rate));
    EXPECT_GT(rate, 0);
  }
}

TEST(PeakProbe, KnowsEveryTierOfTheMachine) {
  auto pool = CpuPool::create(2);
  ASSERT_TRUE(pool);
  for (const std::string &tier : machineTiers()) {
    double rate = probeInt8Peak(**pool, tier);
    EXPECT_TRUE(std::isfinite(rate)) << tier;
    EXPECT_GT(rate, 0) << tier;
  }
}

TEST(PeakProbe, NothingOnATierThatDoesNotRunHere) {
  auto pool = CpuPool::create(1);
  ASSERT_TRUE(pool);
  EXPECT_EQ(probeInt8Peak(**pool, "mmx"), 0);
  std::vector<std::string> mine = machineTiers();
  for (const std::string &tier : knownTiers())
    if (std::find(mine.begin(), mine.end(), tier) == mine.end()) {
      EXPECT_EQ(probeInt8Peak(**pool, tier), 0) << tier;
    }
}

} // namespace
} // namespace lathe
