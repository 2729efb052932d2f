//===- CudaFactsTest.cpp - what is said of kernels before they run ------------===//
#include "compiler/CudaFacts.h"

#include <gtest/gtest.h>
#include <tuple>

namespace lathe {
namespace {

constexpr const char *kDevice = R"(
[[device]]
architecture = "sm_90"
name = "One"
multiprocessors = 100
threads = 2048
shared_kib = 228
bandwidth_gb_s = 2000
bf16_tflops = 500
source = "nowhere"
)";

/// A product of 1024 by 4096 in bf16, in 128 tiles.
Kernel product() {
  return {.symbol = "product",
          .tiles = 128,
          .bytesPerTile = 65536,
          .flopsPerUnit = 2 * 1024 * 4096,
          .variants = {},
          .provenance = "linear"};
}

KernelForm form(int64_t sharedBytes) { return {.symbol = "product", .threads = 256, .sharedBytes = sharedBytes}; }

TEST(CudaFacts, ATableIsRead) {
  auto devices = parseCudaDevices(kDevice, "t.toml");
  ASSERT_TRUE(devices) << devices.error().message;
  ASSERT_EQ(devices->size(), 1u);
  EXPECT_EQ(devices->front().capability, 90);
  EXPECT_EQ(devices->front().sharedBytes, 228 * 1024);
  EXPECT_EQ(devices->front().bytesPerSecond, 2e12);
}

TEST(CudaFacts, AWrongTableIsRefusedWithItsPlace) {
  for (auto [from, to, message] :
       {std::tuple("bandwidth_gb_s = 2000", "bandwidth_gb_s = -1",
                   "t.toml:8:18: bandwidth_gb_s: expected a positive number"),
        std::tuple("threads = 2048", "", "t.toml:2:1: threads: expected a positive number"),
        std::tuple("name = \"One\"", "name = 1", "t.toml:4:8: name: expected a text"),
        std::tuple("\"sm_90\"", "\"ninety\"", "t.toml:2:1: architecture: expected a name like sm_90")}) {
    std::string text = kDevice;
    text.replace(text.find(from), std::string(from).size(), to);
    auto devices = parseCudaDevices(text, "t.toml");
    ASSERT_FALSE(devices) << message;
    EXPECT_EQ(devices.error().code, ExitCode::badInput);
    EXPECT_EQ(devices.error().message, message);
  }
  EXPECT_FALSE(parseCudaDevices("device = [1]", "t.toml"));
  EXPECT_FALSE(parseCudaDevices("device = [", "t.toml"));
}

TEST(CudaFacts, TheBuiltInTableHasEveryArchitectureThatIsTested) {
  for (const char *name : {"sm_80", "sm_86", "sm_89", "sm_90", "sm_90a", "sm_100a", "sm_120a"})
    EXPECT_TRUE(findCudaDevice(name)) << name;
  EXPECT_EQ(findCudaDevice("sm_90a"), findCudaDevice("sm_90"));
  EXPECT_FALSE(findCudaDevice("sm_70"));
  EXPECT_FALSE(findCudaDevice("90"));
}

TEST(CudaFacts, OccupancyIsWhatRunsOutFirst) {
  CudaDeviceFacts device = parseCudaDevices(kDevice, "")->front();
  Occupancy registers = occupancyOf(device, form(1024), 97); // 104 of them are given: 26624 a block
  EXPECT_EQ(registers.blocks, 2);
  EXPECT_STREQ(registers.limit, "registers");
  Occupancy shared = occupancyOf(device, form(100 << 10), 32);
  EXPECT_EQ(shared.blocks, 2);
  EXPECT_STREQ(shared.limit, "shared memory");
  Occupancy threads = occupancyOf(device, form(0), 32);
  EXPECT_EQ(threads.blocks, 8);
  EXPECT_STREQ(threads.limit, "threads");
}

TEST(CudaFacts, APredictionIsBytesByBandwidth) {
  CudaDeviceFacts device = parseCudaDevices(kDevice, "")->front();
  Plan plan;
  Prediction p = predict(plan, product(), form(1024), device, 97);
  EXPECT_EQ(p.bytes, 8 << 20);
  EXPECT_DOUBLE_EQ(p.microseconds, (8 << 20) / 2e6); // 2 MB a microsecond
  // 128 blocks of 256 threads with 128 bytes each under way, of 1.4 MB that the latency asks for.
  EXPECT_NEAR(p.share, 1.0, 0.0);
  Kernel few = product();
  few.tiles = 16;
  EXPECT_NEAR(predict(plan, few, form(1024), device, 97).share, 16 * 256 * 128 / 1.4e6, 1e-12);
  Kernel busy = product();
  busy.flopsPerUnit = int64_t{1} << 40;
  EXPECT_DOUBLE_EQ(predict(plan, busy, form(1024), device, 97).microseconds,
                   static_cast<double>(busy.flopsPerUnit) / 500e6);
}

TEST(CudaFacts, AttentionIsPredictedForSomePositions) {
  CudaDeviceFacts device = parseCudaDevices(kDevice, "")->front();
  Plan plan;
  plan.kvHeads = 8, plan.dimPadded = 128, plan.pageTokens = 32, plan.kvElement = "bf16", plan.chunkTokens = 256;
  Kernel attention{
      .symbol = "attention", .unit = Unit::items, .tiles = 8, .flopsPerUnit = 8192, .variants = {}, .provenance = ""};
  EXPECT_EQ(predict(plan, attention, form(1024), device, 97).bytes, 1024 * 8 * 128 * 2 * 2);
}

TEST(CudaFacts, LinesStandUnderTheCommentOnce) {
  const std::string text = "// k\n//   linear\n#include \"x\"\n// on the way\nvoid k();\n";
  const std::string once = withFacts(text, {"sm_90: 1 registers", "One: 2 blocks"});
  EXPECT_EQ(
      once,
      "// k\n//   linear\n// on sm_90: 1 registers\n// on One: 2 blocks\n#include \"x\"\n// on the way\nvoid k();\n");
  EXPECT_EQ(withFacts(once, {}), text);
  EXPECT_EQ(withFacts(once, {"sm_80: 3 registers"}), withFacts(text, {"sm_80: 3 registers"}));
  EXPECT_EQ(withFacts("", {"x"}), "");
}

} // namespace
} // namespace lathe
