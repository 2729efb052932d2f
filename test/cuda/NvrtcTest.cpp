// NVRTC itself, where it is installed.
#include "compiler/KernelCompiler.h"

#include "runtime/device/DeviceText.h"
#include "runtime/support/MappedFile.h"
#include "test/cuda/TestKernels.h"

#include <gtest/gtest.h>

namespace lathe {
namespace {

using cuda::normKernel;
using cuda::testHeaders;

class NvrtcTest : public testing::Test {
protected:
  void SetUp() override {
    auto loaded = Nvrtc::load();
    if (!loaded)
      GTEST_SKIP() << "no NVRTC: " << loaded.error().message;
    nvrtc = *loaded;
  }
  std::string errorOf(const KernelSource &kernel, const std::string &architecture = "sm_90a") {
    auto code = nvrtc->compile(kernel, testHeaders(), architecture);
    EXPECT_FALSE(code);
    return code ? "" : code.error().message;
  }
  const Nvrtc *nvrtc = nullptr;
};

KernelSource kernelOf(const std::string &body, const std::string &name = "k") {
  return {name, "#include \"lathe/kernel.cuh\"\nextern \"C\" __global__ void k(float *x) {\n" + body + "\n}\n"};
}

TEST_F(NvrtcTest, EveryArchitecture) {
  for (const char *architecture : {"sm_80", "sm_86", "sm_89", "sm_90a", "sm_100a", "sm_120a"}) {
    auto code = nvrtc->compile(normKernel(0), testHeaders(), architecture);
    ASSERT_TRUE(code) << code.error().message;
    EXPECT_TRUE(code->image.starts_with("\x7f"
                                        "ELF"));
    EXPECT_NE(code->image.find("norm_0"), std::string::npos);
    EXPECT_GT(code->usage.registers, 8) << architecture;
    EXPECT_LE(code->usage.registers, 255);
    EXPECT_EQ(code->usage.spillStores + code->usage.spillLoads + code->usage.stackBytes, 0);
    EXPECT_EQ(code->usage.barriers, 1);
    EXPECT_GE(code->usage.constantBytes, 5 * 8) << architecture; // the parameters
    EXPECT_EQ(code->log, "");
  }
}

// The device library as generated kernels include it: its PTX is right for each architecture, and nothing spills.
TEST_F(NvrtcTest, TheDeviceLibraryCompiles) {
  std::vector<KernelHeader> headers;
  for (const DeviceFile &file : deviceText())
    headers.push_back({file.name, file.text});
  auto text = MappedFile::open(NORM_GATED);
  ASSERT_TRUE(text) << text.error().message;
  std::vector<KernelSource> kernels{{"norm_gated", std::string((*text)->text())}};
  for (const char *architecture : {"sm_80", "sm_86", "sm_89", "sm_90a", "sm_100a", "sm_120a", "compute_80"}) {
    auto compiled = compileKernels(*nvrtc, kernels, headers, architecture, nullptr);
    ASSERT_TRUE(compiled) << architecture << ": " << compiled.error().message;
    const KernelUsage &usage = compiled->code[0].usage;
    EXPECT_EQ(usage.spillStores + usage.spillLoads + usage.stackBytes, 0) << architecture;
    EXPECT_LE(usage.registers, 128) << architecture; // two blocks of 256 threads on a multiprocessor
    EXPECT_EQ(compiled->code[0].log, "") << architecture;
  }
}

TEST_F(NvrtcTest, PtxForArchitecturesThatAreUnknown) {
  auto code = nvrtc->compile(normKernel(3), testHeaders(), "compute_80");
  ASSERT_TRUE(code) << code.error().message;
  EXPECT_NE(code->image.find(".visible .entry norm_3("), std::string::npos);
  EXPECT_NE(code->image.find(".target sm_80"), std::string::npos);
  EXPECT_EQ(code->image.find('\0'), std::string::npos);
  EXPECT_EQ(code->usage, KernelUsage());
}

TEST_F(NvrtcTest, MultiplyAndAddStayTwoRoundings) {
  auto code = nvrtc->compile(kernelOf("x[0] = x[1] * x[2] + x[3];\nx[4] = fma(x[5], x[6], x[7]);"), testHeaders(),
                             "compute_80");
  ASSERT_TRUE(code) << code.error().message;
  EXPECT_NE(code->image.find("mul.rn.f32"), std::string::npos);
  size_t fused = code->image.find("fma.rn.f32");
  ASSERT_NE(fused, std::string::npos);
  EXPECT_EQ(code->image.find("fma.rn.f32", fused + 1), std::string::npos);
}

TEST_F(NvrtcTest, ErrorsNameTheKernelsFileAndLine) {
  EXPECT_EQ(errorOf(kernelOf("x[0] = 1;\nx[1] = y;")), "k.cu:4: identifier \"y\" is undefined");
  EXPECT_EQ(errorOf(kernelOf("x[0] = z;\nx[1] = y;")), "k.cu:3: identifier \"z\" is undefined (the first of 2 errors)");
  EXPECT_EQ(errorOf({"k", "#include \"lathe/nothing.cuh\"\n"}),
            "k.cu:1: cannot open source file \"lathe/nothing.cuh\"");
  EXPECT_EQ(errorOf(kernelOf("asm(\"frob %0;\" :: \"f\"(x[0]));")).find("k.cu: ptxas: "), 0u);
  EXPECT_EQ(errorOf({"k", "__global__ void k(float *x) {}\n"}),
            "k.cu: expected a function extern \"C\" __global__ k, ptxas names none");
  std::vector<KernelHeader> headers = testHeaders();
  headers[0].text += "\n#error here\n";
  auto code = nvrtc->compile(normKernel(0), headers, "sm_90a");
  ASSERT_FALSE(code);
  EXPECT_EQ(code.error().message.find("lathe/primitives.cuh:"), 0u) << code.error().message;
  EXPECT_EQ(code.error().code, ExitCode::badInput);
}

TEST_F(NvrtcTest, WarningsAreKept) {
  auto code = nvrtc->compile(kernelOf("int unused; x[0] = 1;"), testHeaders(), "sm_90a");
  ASSERT_TRUE(code) << code.error().message;
  EXPECT_NE(code->log.find("k.cu(3): warning"), std::string::npos) << code->log;
  EXPECT_EQ(code->log.find("ptxas"), std::string::npos) << code->log;
}

TEST_F(NvrtcTest, SpillsStackAndSharedMemoryAreSeen) {
  KernelSource spilling{"k", R"(extern "C" __global__ __launch_bounds__(1024, 2) void k(float *x) {
  __shared__ float shared[300];
  float v[48];
#pragma unroll
  for (int i = 0; i < 48; ++i)
    v[i] = x[threadIdx.x + i * 1024];
  shared[threadIdx.x % 300] = v[0];
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 48; ++i)
    x[threadIdx.x + i * 1024] = v[47 - i] + shared[i];
})"};
  auto code = nvrtc->compile(spilling, {}, "sm_80");
  ASSERT_TRUE(code) << code.error().message;
  EXPECT_EQ(code->usage.sharedBytes, 1200);
  EXPECT_EQ(code->usage.registers, 32); // 65536 / 2048
  EXPECT_GT(code->usage.spillStores, 0);
  EXPECT_GT(code->usage.spillLoads, 0);
  auto indexed = nvrtc->compile({"k", R"(extern "C" __global__ void k(float *x, int i) {
  float v[64] = {};
  for (int j = 0; j < 64; ++j)
    v[j * i % 64] += x[j];
  x[0] = v[i];
})"},
                                {}, "sm_90a");
  ASSERT_TRUE(indexed) << indexed.error().message;
  EXPECT_EQ(indexed->usage.stackBytes, 256);
}

TEST_F(NvrtcTest, UnknownArchitecturesAreUsageErrors) {
  for (const char *architecture : {"sm_33", "sm_", "sm_90x", "90", "", "compute", "sm_99999999999999"}) {
    auto code = nvrtc->compile(normKernel(0), testHeaders(), architecture);
    ASSERT_FALSE(code) << architecture;
    EXPECT_EQ(code.error().code, ExitCode::usage);
    EXPECT_NE(code.error().message.find("expected sm_ or compute_ and one of"), std::string::npos);
  }
}

TEST_F(NvrtcTest, ThreadsMakeTheSameCode) {
  std::vector<KernelSource> kernels = cuda::normKernels(6);
  auto alone = compileKernels(*nvrtc, kernels, testHeaders(), "sm_90a", nullptr, 1);
  auto together = compileKernels(*nvrtc, kernels, testHeaders(), "sm_90a", nullptr, 4);
  ASSERT_TRUE(alone && together);
  for (size_t i = 0; i < kernels.size(); ++i) {
    EXPECT_EQ(alone->code[i].image, together->code[i].image);
    EXPECT_EQ(alone->code[i].usage, together->code[i].usage);
    EXPECT_NE(together->code[i].image.find(kernels[i].name), std::string::npos); // in the order of the sources
  }
}

TEST_F(NvrtcTest, TheFirstOfSeveralErrors) {
  std::vector<KernelSource> kernels = cuda::normKernels(4);
  kernels[1].text = "first wrong";
  kernels[3].text = "#error " + std::string(10000, 'x');
  auto compiled = compileKernels(*nvrtc, kernels, testHeaders(), "sm_90a", nullptr, 2);
  ASSERT_FALSE(compiled);
  EXPECT_EQ(compiled.error().message.find("norm_1.cu:1: "), 0u) << compiled.error().message;
}

TEST(NvrtcSearch, WhatIsMissingIsSaid) {
  auto none = Nvrtc::open("/nonexistent/libnvrtc.so.13");
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ExitCode::mismatch);
  EXPECT_EQ(none.error().message.find("/nonexistent/libnvrtc.so.13 cannot be loaded: "), 0u);
  auto other = Nvrtc::open("libm.so.6");
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().message, "libm.so.6 is not NVRTC of CUDA 12 or 13: nvrtcVersion is missing");
}

} // namespace
} // namespace lathe
