// How fast memory is read: the kernel's passes on the stand-in.
#include "test/cuda/FakeDriver.h"

#include "runtime/CudaProbe.h"

#include <gtest/gtest.h>

namespace lathe::cuda {
namespace {

constexpr size_t kBatchBytes = 120;

/// What read_bandwidth.cu does.
void fold(const FakeDriver::Launched &launch) {
  const auto *words = reinterpret_cast<const uint32_t *>(launch.parameter<Address>(1));
  auto *sums = reinterpret_cast<uint32_t *>(launch.parameter<Address>(2));
  for (unsigned block = 0; block < launch.gridX; ++block)
    for (unsigned warp = 0; warp < 8; ++warp) {
      uint32_t sum = 0;
      for (unsigned load = 0; load < 16; ++load)
        for (unsigned lane = 0; lane < 128; ++lane)
          sum ^= words[((block * 16 + load) * 8 + warp) * 128 + lane];
      sums[block * 8 + warp] = sum;
    }
}

/// One probe on a machine of its own. `failing`: the call after the first so many fails.
struct Probe {
  FakeDriver fake;
  size_t before = 0, after = 0; ///< calls before it and up to its end
  Result<double> rate = 0;

  Probe(uint64_t memory, std::function<void(const FakeDriver::Launched &)> body, int64_t failing = -1) {
    fake.memory = memory;
    fake.kernelBody = std::move(body);
    auto driver = std::move(*CudaDriver::over(fake.calls()));
    auto device = std::move(*CudaDevice::open(*driver));
    auto image = fake.imageOf({{kReadBandwidthKernel, {kBatchBytes, 8, 8}}});
    auto library = loadLibrary(*device, image, "read_bandwidth.cubin");
    auto kernel = findKernel(*device, *library, kReadBandwidthKernel, 0);
    auto stream = createStream(*device);
    before = fake.log.size();
    if (failing >= 0)
      fake.failAt(failing, 700);
    rate = probeReadBandwidth(*device, *kernel, stream->get());
    after = fake.log.size();
  }
};

TEST(CudaProbe, ReadsHalfOfWhatIsFreeNineTimes) {
  Probe probe(9 << 20, fold);
  ASSERT_TRUE(probe.rate) << probe.rate.error().message;
  EXPECT_NEAR(*probe.rate, double(4 << 20) / 1e-3, 1e3); // the stand-in's events are a millisecond apart
  ASSERT_EQ(probe.fake.launched.size(), 9u);
  for (const FakeDriver::Launched &launch : probe.fake.launched) {
    EXPECT_EQ(launch.gridX, 64u);
    EXPECT_EQ(launch.threads, 256u);
  }
  EXPECT_TRUE(probe.fake.leaks().empty());
  EXPECT_TRUE(probe.fake.misuse.empty());
}

TEST(CudaProbe, OtherNumbersThanWereWrittenAreAnError) {
  Probe probe(9 << 20, [](const FakeDriver::Launched &launch) {
    fold(launch);
    reinterpret_cast<uint32_t *>(launch.parameter<Address>(2))[8 * 63 + 7] ^= 1;
  });
  ASSERT_FALSE(probe.rate);
  EXPECT_EQ(probe.rate.error().code, ExitCode::internal);
  EXPECT_NE(probe.rate.error().message.find("block 63 of 64 found other numbers"), std::string::npos)
      << probe.rate.error().message;
}

TEST(CudaProbe, WithoutFreeMemoryNothingIsMeasured) {
  Probe probe(1 << 20, fold);
  ASSERT_TRUE(probe.rate) << probe.rate.error().message;
  EXPECT_EQ(*probe.rate, 0);
}

TEST(CudaProbe, EveryCallMayFail) {
  std::vector<std::string> calls;
  size_t before = 0, after = 0;
  {
    Probe whole(5 << 20, fold);
    calls = whole.fake.log, before = whole.before, after = whole.after;
  }
  int64_t failed = 0;
  for (size_t at = before; at < after; ++at) {
    const std::string &name = calls[at];
    if (name.ends_with("Destroy") || name == "cuMemFree") // by nobody who could tell
      continue;
    Probe probe(5 << 20, fold, static_cast<int64_t>(at - before));
    EXPECT_FALSE(probe.rate) << "call " << at - before << ", " << name;
    EXPECT_TRUE(probe.fake.leaks().empty()) << name;
    if (name != "cuStreamSynchronize") // whoever cannot wait does not know what still runs
      EXPECT_TRUE(probe.fake.misuse.empty()) << name << ": " << probe.fake.misuse.front();
    ++failed;
  }
  EXPECT_GT(failed, 40);
}

} // namespace
} // namespace lathe::cuda
