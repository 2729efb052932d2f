// Products of many rows: the bits of products of few (DotTest compares those with sums in double), in any number of
// rows and any tile.
#include "test/device/Products.h"

using namespace lathe::device;
using namespace lathe::device::testing;

namespace {

/// Those of kernels/Gemm.cu, and of kernels/Dot.cu and BytesDot.cu for the same width.
struct Pair {
  Shape many, few;
};
const Pair bf16Pairs[] = {{{75, 64, 96}, {75, 40, 16}},
                          {{160, 24, 64}, {160, 8, 64}},
                          {{544, 128, 32}, {544, 16, 64}},
                          {{600, 64, 128}, {600, 8, 16}},
                          {{600, 128, 128}, {600, 24, 64}}};
const Pair pairs32[] = {{{160, 64, 64}, {160, 8, 64}}, {{600, 64, 128}, {600, 8, 32}}};
const Pair pairs64[] = {{{544, 24, 32}, {544, 16, 64}}, {{600, 64, 96}, {600, 16, 128}}};
constexpr int most = 131;

std::vector<float> bits(const Buffer<float> &all) { return {all.data(), all.data() + all.size()}; }

} // namespace

TEST(Gemm, ManyRowsHaveTheBitsOfFew) {
  for (const auto &[many, few] : bf16Pairs) {
    const Buffer<float> x = randomFloats(static_cast<size_t>(most * many.width), 21);
    const Buffer<uint16_t> packed = pack(randomBf16(static_cast<size_t>(many.width * columns), 22), many.width, 32);
    const std::vector<float> want = bits(runKernel("bf16", few, most, 0, x, packed));
    for (int rows : {1, 23, 64, 65, most})
      expectBits(runKernel("gemm_bf16", many, rows, static_cast<unsigned>(rows) % 3, x, packed), want, many, rows);
  }
}

TEST(Gemm, ManyRowsByCodesHaveTheBitsOfFew) {
  for (int group : {32, 64})
    for (const auto &[many, few] : group == 32 ? pairs32 : pairs64) {
      const Coded weight(many.width, group, most);
      const std::vector<float> want = bits(weight.run(few, most, 0));
      for (int rows : {1, 40, most})
        expectBits(weight.run(many, rows, static_cast<unsigned>(rows) % 3, "gemm_"), want, many, rows);
    }
}

TEST(Gemm, SumsAreThoseInDouble) {
  const Shape shape{600, 64, 128};
  const int rows = 66;
  const Buffer<float> x = randomFloats(static_cast<size_t>(rows * shape.width), 23);
  const Buffer<uint16_t> weight = randomBf16(static_cast<size_t>(shape.width * columns), 24);
  const Buffer<float> got = runKernel("gemm_bf16", shape, rows, 0, x, pack(weight, shape.width, 32));
  for (int row = 0; row < rows; ++row)
    for (int column = 0; column < columns; ++column) {
      double sum = 0, size = 0;
      for (int k = 0; k < shape.width; ++k) {
        const double product = static_cast<double>(fromBf16(toBf16(x[static_cast<size_t>(row * shape.width + k)]))) *
                               fromBf16(weight[static_cast<size_t>(k * columns + column)]);
        sum += product;
        size += std::abs(product);
      }
      ASSERT_NEAR(got[static_cast<size_t>(row * columns + column)], sum, 1e-6 * size) << row << ", " << column;
    }
}

TEST(Gemm, WhatStandsInOneRowReachesNoOther) {
  const Shape shape{160, 24, 64};
  Buffer<float> x = randomFloats(13 * 160, 25);
  const Buffer<uint16_t> packed = pack(randomBf16(160 * columns, 26), 160, 32);
  const Buffer<float> want = runKernel("gemm_bf16", shape, 13, 0, x, packed);
  for (size_t k = 0; k < 160; ++k)
    x[12 * 160 + k] = std::numeric_limits<float>::infinity(); // the last row, which stands for rows that are not there
  const Buffer<float> got = runKernel("gemm_bf16", shape, 13, 0, x, packed);
  for (size_t i = 0; i < 12 * columns; ++i)
    ASSERT_EQ(got[i], want[i]) << i;
  EXPECT_FALSE(std::isfinite(got[12 * columns]));
}

TEST(Gemm, HasNoDefectInAnyOrder) {
  const Buffer<float> x = randomFloats(29 * 160, 27);
  const Buffer<uint16_t> packed = pack(randomBf16(160 * columns, 28), 160, 32);
  const Coded weight(160, 32, 29);
  const Buffer<float> want = runKernel("gemm_bf16", {160, 24, 64}, 29, 0, x, packed),
                      coded = weight.run({160, 64, 64}, 29, 0, "gemm_");
  for (unsigned long long seed = 1; seed < 20; ++seed) {
    expectBits(runKernel("gemm_bf16", {160, 24, 64}, 29, seed, x, packed), bits(want), {160, 24, 64}, 29);
    expectBits(weight.run({160, 64, 64}, 29, seed, "gemm_"), bits(coded), {160, 64, 64}, 29);
  }
}
