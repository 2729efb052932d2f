// Opening the driver, its errors in words, and what is owned on a device.
#include "test/cuda/FakeDriver.h"

#include "runtime/CudaDevice.h"
#include "runtime/CudaExecutor.h"

#include <cstdlib>
#include <gtest/gtest.h>

namespace lathe::cuda {
namespace {

Error openError(const std::string &path) {
  auto driver = CudaDriver::open(path);
  EXPECT_FALSE(driver) << path;
  return driver ? Error() : driver.error();
}

TEST(CudaDriver, WhatIsMissingIsSaid) {
  Error error = openError("/nonexistent/libcuda.so.1");
  EXPECT_EQ(error.code, ExitCode::mismatch);
  EXPECT_EQ(error.message.find("no NVIDIA driver: /nonexistent/libcuda.so.1 cannot be loaded ("), 0u) << error.message;
  error = openError("libm.so.6");
  EXPECT_NE(error.message.find("libm.so.6 is no NVIDIA driver of CUDA 12.3"), std::string::npos) << error.message;
}

TEST(CudaDriver, EveryFunctionIsAskedFor) {
  unsetenv("FAKE_CUDA");
  auto driver = CudaDriver::open(FAKE_LIBCUDA);
  ASSERT_TRUE(driver) << driver.error().message;
  EXPECT_EQ((*driver)->version(), 12040);
#define CHECK_MISSING(name, symbol, version, ...)                                                                      \
  setenv("FAKE_CUDA", #symbol, 1);                                                                                     \
  EXPECT_NE(openError(FAKE_LIBCUDA).message.find("has no " #symbol " of CUDA "), std::string::npos);
  LATHE_CUDA_CALLS(CHECK_MISSING)
#undef CHECK_MISSING
  setenv("FAKE_CUDA", "old", 1);
  EXPECT_EQ(openError(FAKE_LIBCUDA).message,
            "the NVIDIA driver is of CUDA 12.2: expected 12.3 or newer (driver 545); update it");
  unsetenv("FAKE_CUDA");
}

/// A device of the stand-in.
struct Opened {
  std::unique_ptr<CudaDriver> driver;
  std::unique_ptr<CudaDevice> device;
  explicit Opened(FakeDriver &fake) {
    driver = std::move(*CudaDriver::over(fake.calls()));
    device = std::move(*CudaDevice::open(*driver));
  }
};

TEST(CudaDriver, ErrorsNameTheCallTheErrorAndWhatHelps) {
  FakeDriver fake;
  Opened opened(fake);
  struct Case {
    int result;
    ExitCode code;
    const char *says;
  };
  for (const Case &test : {Case{2, ExitCode::resource,
                                "cuMemAlloc (64 bytes for the KV pool): CUDA_ERROR_OUT_OF_MEMORY "
                                "(2: what the driver says); lower -c or the batch"},
                           {209, ExitCode::mismatch,
                            "CUDA_ERROR_NO_BINARY_FOR_GPU (209: what the driver says); the code "
                            "is for another GPU"},
                           {700, ExitCode::internal, "compute-sanitizer"},
                           {1, ExitCode::internal, "CUDA_ERROR_INVALID_VALUE"},
                           {803, ExitCode::mismatch, "restart the machine"},
                           {100, ExitCode::mismatch, "CUDA_VISIBLE_DEVICES"},
                           {999, ExitCode::runtime, "unknown error (999"}}) {
    fake.failAt(0, test.result);
    auto memory = allocateMemory(*opened.device, 64, "the KV pool");
    ASSERT_FALSE(memory);
    EXPECT_EQ(memory.error().code, test.code) << test.result;
    EXPECT_NE(memory.error().message.find(test.says), std::string::npos) << memory.error().message;
    EXPECT_EQ(memory.error().message.find('\n'), std::string::npos);
  }
}

TEST(CudaDriver, NoDeviceAndTooOld) {
  FakeDriver fake;
  fake.devices = 0;
  auto none = CudaDriver::over(fake.calls());
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().message.find("cuInit (the first call): CUDA_ERROR_NO_DEVICE (100"), 0u)
      << none.error().message;
  fake.devices = 1, fake.version = 12020;
  EXPECT_FALSE(CudaDriver::over(fake.calls()));
  fake.version = 12030;
  auto driver = CudaDriver::over(fake.calls());
  ASSERT_TRUE(driver);
  auto device = CudaDevice::open(**driver, 1);
  ASSERT_FALSE(device);
  EXPECT_EQ(device.error().message.find("GPU 1: the driver sees 1; nvidia-smi"), 0u) << device.error().message;
}

TEST(CudaDevice, SaysWhatItIs) {
  FakeDriver fake;
  {
    Opened opened(fake);
    const CudaDevice &device = *opened.device;
    EXPECT_EQ(device.name, "Fake GPU");
    EXPECT_EQ(device.capability, 90);
    EXPECT_EQ(device.multiprocessors, 132);
    EXPECT_EQ(device.sharedBytes, 232448);
    EXPECT_EQ(device.totalBytes, fake.memory);
    EXPECT_EQ(fake.leaks(), std::vector<std::string>{"1 contexts"});
  }
  EXPECT_TRUE(fake.leaks().empty());
}

// What was made for the GPU, else the newest that runs there, else PTX.
TEST(CudaDevice, TheCodeThatSuitsIt) {
  std::vector<std::string> all{"compute_80", "sm_80", "sm_86", "sm_90a", "compute_90", "sm_90"};
  for (auto [capability, chosen] : {std::pair(80, "sm_80"),
                                    {86, "sm_86"},
                                    {89, "sm_86"},
                                    {90, "sm_90a"},
                                    {103, "compute_90"},
                                    {120, "compute_90"},
                                    {75, ""}})
    EXPECT_EQ(chooseArchitecture(all, capability), chosen) << capability;
  std::vector<std::string> few{"sm_90a", "sm_80"};
  EXPECT_EQ(chooseArchitecture(few, 86), "sm_80");
  EXPECT_EQ(chooseArchitecture(few, 100), "") << "sm_90a runs on 9.0 alone";
  EXPECT_EQ(chooseArchitecture({}, 90), "");
}

TEST(CudaDevice, OwnersGiveBackWhatTheyHave) {
  FakeDriver fake;
  Opened opened(fake);
  fake.memory = 1000;
  {
    auto memory = allocateMemory(*opened.device, 600, "half");
    ASSERT_TRUE(memory);
    EXPECT_FALSE(allocateMemory(*opened.device, 600, "another half"));
    CudaMemory moved = std::move(*memory);
    EXPECT_EQ(memory->get(), 0u);
    moved = CudaMemory();
    EXPECT_TRUE(allocateMemory(*opened.device, 600, "another half"));
    auto stream = createStream(*opened.device);
    auto event = createEvent(*opened.device, true);
    auto host = allocateHostMemory(*opened.device, 10, "ten");
    EXPECT_TRUE(stream && event && host);
    EXPECT_EQ(fake.leaks().size(), 4u); // with the context
  }
  EXPECT_EQ(fake.leaks(), std::vector<std::string>{"1 contexts"});
}

TEST(CudaDevice, Kernels) {
  FakeDriver fake;
  Opened opened(fake);
  auto library = loadLibrary(*opened.device, fake.imageOf({{"k", {8}}}), "k.cubin");
  ASSERT_TRUE(library) << library.error().message;
  EXPECT_TRUE(findKernel(*opened.device, *library, "k", 48 << 10));
  EXPECT_EQ(fake.count("cuKernelSetAttribute"), 0);
  EXPECT_TRUE(findKernel(*opened.device, *library, "k", (48 << 10) + 1));
  EXPECT_TRUE(findKernel(*opened.device, *library, "k", 232448));
  EXPECT_EQ(fake.count("cuKernelSetAttribute"), 2);
  auto large = findKernel(*opened.device, *library, "k", 232449);
  ASSERT_FALSE(large);
  EXPECT_EQ(large.error().message, "kernel k: a block takes 232449 bytes of shared memory, Fake GPU has 232448");
  auto missing = findKernel(*opened.device, *library, "other", 0);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().message.find("cuLibraryGetKernel (other): CUDA_ERROR_NOT_FOUND"), 0u);
  std::vector<std::byte> text(3, std::byte('x')); // without a 0 behind it
  auto wrong = loadLibrary(*opened.device, text, "x.ptx");
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().code, ExitCode::mismatch);
  EXPECT_EQ(wrong.error().message.find("cuLibraryLoadData (x.ptx): "), 0u) << wrong.error().message;
}

} // namespace
} // namespace lathe::cuda
