// Products against sums in double, against the definition of their order, and against each other: a row has the same
// bits in any tile shape and any number of rows.
#include "test/device/Products.h"

#include <map>

using namespace lathe::device;
using namespace lathe::device::testing;

namespace {

/// Those of kernels/Dot.cu, which are compiled for bf16 and for float: few rows (warps take spans) and many (warps take
/// tiles) for each width.
const Shape shapes[] = {{32, 8, 16},    {32, 24, 32},   {64, 16, 32},  {64, 40, 64},  {75, 8, 32},    {75, 40, 16},
                        {160, 8, 64},   {160, 24, 128}, {256, 16, 16}, {256, 32, 32}, {288, 8, 128},  {288, 24, 16},
                        {544, 8, 32},   {544, 16, 64},  {544, 40, 32}, {600, 8, 16},  {600, 16, 128}, {600, 24, 64},
                        {600, 40, 128}, {2200, 8, 16},  {2200, 16, 32}};

/// Those of kernels/BytesDot.cu, which are compiled for groups of 32 with scales of bf16 and of 64 with floats.
const Shape byteShapes[] = {{40, 8, 16},   {40, 24, 32}, {160, 8, 64},   {160, 24, 128}, {544, 16, 64},
                            {544, 40, 32}, {600, 8, 32}, {600, 16, 128}, {600, 40, 64}};

} // namespace

TEST(Dot, FloatsAreChainsOfSpansInOrder) {
  for (const Shape &shape : shapes) {
    const Buffer<float> x = randomFloats(static_cast<size_t>(40 * shape.width), 1),
                        weight = randomFloats(static_cast<size_t>(shape.width * columns), 2);
    const Buffer<float> packed = pack(weight, shape.width, 16);
    std::vector<float> want;
    for (int row = 0; row < 40; ++row)
      for (int column = 0; column < columns; ++column) {
        float total = 0;
        for (int begin = 0; begin < shape.width; begin += 256) {
          float sum = 0;
          for (int k = begin; k < std::min(begin + 256, shape.width); ++k)
            sum = std::fma(x[static_cast<size_t>(row * shape.width + k)],
                           weight[static_cast<size_t>(k * columns + column)], sum);
          total += sum;
        }
        want.push_back(total);
      }
    for (int rows : {1, 2, 7, 8, 9, 33})
      expectBits(runKernel("float", shape, rows, 0, x, packed), want, shape, rows);
  }
}

TEST(Dot, Bf16IsTheProductOfRoundedInput) {
  for (const Shape &shape : shapes) {
    const int rows = 11;
    const Buffer<float> x = randomFloats(static_cast<size_t>(rows * shape.width), 3);
    const Buffer<uint16_t> weight = randomBf16(static_cast<size_t>(shape.width * columns), 4),
                           packed = pack(weight, shape.width, 32);
    const Buffer<float> got = runKernel("bf16", shape, rows, 0, x, packed);
    for (int row = 0; row < rows; ++row)
      for (int column = 0; column < columns; ++column) {
        double sum = 0, size = 0;
        for (int k = 0; k < shape.width; ++k) {
          const double product = static_cast<double>(fromBf16(toBf16(x[static_cast<size_t>(row * shape.width + k)]))) *
                                 fromBf16(weight[static_cast<size_t>(k * columns + column)]);
          sum += product;
          size += std::abs(product);
        }
        ASSERT_NEAR(got[static_cast<size_t>(row * columns + column)], sum, 1e-6 * size)
            << "width " << shape.width << ", kernel of " << shape.rows << " x " << shape.columns << ", row " << row
            << ", column " << column;
      }
  }
}

TEST(Dot, RowsHaveTheSameBitsInAnyNumberOfRowsAndAnyTile) {
  for (const Shape &shape : shapes) {
    const Buffer<float> x = randomFloats(static_cast<size_t>(40 * shape.width), 5);
    const Buffer<uint16_t> packed = pack(randomBf16(static_cast<size_t>(shape.width * columns), 6), shape.width, 32);
    // The first kernel of a width gives what all others have to.
    static std::map<int, std::vector<float>> first;
    std::vector<float> &want = first[shape.width];
    if (want.empty()) {
      const Buffer<float> all = runKernel("bf16", shape, 40, 0, x, packed);
      want.assign(all.data(), all.data() + all.size());
    }
    for (int rows = 1; rows <= 33; ++rows)
      expectBits(runKernel("bf16", shape, rows, static_cast<unsigned>(rows) % 3, x, packed), want, shape, rows);
  }
}

TEST(Dot, WhatStandsInUnusedRowsReachesNoOther) {
  // 9 rows of a kernel of 16: NaN in the others' memory would be read as poison and reported; with infinities in one
  // row, no other changes.
  const Shape shape{544, 16, 64};
  Buffer<float> x = randomFloats(9 * 544, 7);
  const Buffer<uint16_t> packed = pack(randomBf16(544 * columns, 8), 544, 32);
  const Buffer<float> want = runKernel("bf16", shape, 9, 0, x, packed);
  for (size_t k = 0; k < 544; ++k)
    x[4 * 544 + k] = std::numeric_limits<float>::infinity();
  const Buffer<float> got = runKernel("bf16", shape, 9, 0, x, packed);
  for (size_t i = 0; i < got.size(); ++i)
    if (i / columns != 4) {
      ASSERT_EQ(got[i], want[i]) << i;
    }
  EXPECT_FALSE(std::isfinite(got[4 * columns]));
}

TEST(Dot, CodesAreMultipliedByTheirGroupsScales) {
  for (const Shape &shape : byteShapes)
    for (int group : {32, 64}) {
      const int rows = 9;
      const Coded weight(shape.width, group, rows);
      const Buffer<float> got = weight.run(shape, rows, 0);
      for (int row = 0; row < rows; ++row)
        for (int column = 0; column < columns; ++column) {
          double sum = 0, size = 0;
          for (int k = 0; k < shape.width; ++k) {
            const double product =
                static_cast<double>(fromBf16(toBf16(weight.x[static_cast<size_t>(row * shape.width + k)]))) *
                weight.codes[static_cast<size_t>(k * columns + column)] *
                static_cast<double>(weight.scales[static_cast<size_t>(k / group * columns + column)]);
            sum += product;
            size += std::abs(product);
          }
          ASSERT_NEAR(got[static_cast<size_t>(row * columns + column)], sum, 1e-6 * size)
              << "width " << shape.width << ", groups of " << group << ", kernel of " << shape.rows << " x "
              << shape.columns << ", row " << row << ", column " << column;
        }
    }
}

TEST(Dot, RowsOfCodesHaveTheSameBitsInAnyNumberOfRowsAndAnyTile) {
  for (int group : {32, 64}) {
    std::map<int, std::vector<float>> first;
    for (const Shape &shape : byteShapes) {
      const Coded weight(shape.width, group, 40);
      std::vector<float> &want = first[shape.width];
      if (want.empty()) {
        const Buffer<float> all = weight.run(shape, 40, 0);
        want.assign(all.data(), all.data() + all.size());
      }
      for (int rows = 1; rows <= 33; rows += rows < 18 ? 1 : 5)
        expectBits(weight.run(shape, rows, static_cast<unsigned>(rows) % 3), want, shape, rows);
    }
  }
}

TEST(Dot, HasNoDefectInAnyOrder) {
  for (unsigned long long seed = 0; seed < 20; ++seed) {
    const Coded weight(160, 32, 24);
    for (const Shape &shape : {Shape{160, 8, 64}, Shape{160, 24, 128}}) {
      weight.run(shape, 13, seed);
      runKernel("bf16", shape, 13, seed, randomFloats(13 * 160, 1), pack(randomBf16(160 * columns, 2), 160, 32));
      runKernel("float", shape, 13, seed, randomFloats(13 * 160, 1), pack(randomFloats(160 * columns, 2), 160, 16));
    }
  }
}

TEST(Dot, RowsInGlobalMemoryGiveTheSameBits) {
  const Shape globals[] = {{75, 8, 32}, {75, 24, 64}, {600, 8, 16}, {600, 16, 64}, {600, 40, 128}, {2200, 16, 32}};
  for (const Shape &shape : globals) {
    const Buffer<float> x = randomFloats(static_cast<size_t>(33 * shape.width), 11);
    const size_t count = static_cast<size_t>(shape.width * columns);
    const Buffer<uint16_t> bf16 = pack(randomBf16(count, 12), shape.width, 32);
    const Buffer<float> f32 = pack(randomFloats(count, 13), shape.width, 16);
    const Shape shared = shape.width == 75 ? Shape{75, 40, 16} : shape.width == 600 ? Shape{600, 40, 128} : shape;
    auto bits = [](const Buffer<float> &all) { return std::vector<float>(all.data(), all.data() + all.size()); };
    const std::vector<float> wantBf16 = bits(runKernel("bf16", shared, 33, 0, x, bf16)),
                             wantFloat = bits(runKernel("float", shared, 33, 0, x, f32));
    for (int rows : {1, 7, 8, 17, 33}) {
      const unsigned long long seed = static_cast<unsigned>(rows) % 3;
      expectBits(runKernel("global_bf16", shape, rows, seed, x, bf16), wantBf16, shape, rows);
      expectBits(runKernel("global_float", shape, rows, seed, x, f32), wantFloat, shape, rows);
    }
  }
  const Coded weight(600, 32, 17);
  const Buffer<float> want = weight.run({600, 8, 32}, 17, 0);
  expectBits(runKernel("global_bytes_bf1632", {600, 8, 32}, 17, 0, weight.x, weight.packed, weight.bf16Scales),
             {want.data(), want.data() + want.size()}, {600, 8, 32}, 17);
}

TEST(Dot, ScalesInF16AreThoseNumbers) {
  const Shape shape{600, 8, 32};
  const Coded weight(shape.width, 32, 9); // its scales are exact in bf16 and in f16
  Buffer<uint16_t> halves(weight.scales.size());
  for (size_t i = 0; i < halves.size(); ++i)
    halves[i] = std::bit_cast<uint16_t>(static_cast<_Float16>(fromBf16(weight.bf16Scales[i])));
  const Buffer<float> want = weight.run(shape, 9, 0);
  expectBits(runKernel("bytes_f1632", shape, 9, 0, weight.x, weight.packed, halves),
             {want.data(), want.data() + want.size()}, shape, 9);
}
