// Primitives on the host, by the formulas of the PTX ISA as it states them.
#include "test/device/Launching.h"

#include <cmath>
#include <numeric>

using namespace lathe::device;
using namespace lathe::device::testing;

namespace {

/// Where element i of a lane's fragment stands: "Matrix Fragments for mma.m16n8k16 with floating point type" and "…
/// mma.m16n8k32" of the PTX ISA.
struct Place {
  int row, column;
};
Place bf16A(int lane, int i) {
  const int groupID = lane >> 2, threadID_in_group = lane % 4;
  return {(0 <= i && i < 2) || (4 <= i && i < 6) ? groupID : groupID + 8,
          i < 4 ? threadID_in_group * 2 + (i & 1) : threadID_in_group * 2 + (i & 1) + 8};
}
Place bf16B(int lane, int i) {
  const int groupID = lane >> 2, threadID_in_group = lane % 4;
  return {i < 2 ? threadID_in_group * 2 + (i & 1) : threadID_in_group * 2 + (i & 1) + 8, groupID};
}
Place bytesA(int lane, int i) {
  const int groupID = lane >> 2, threadID_in_group = lane % 4;
  return {(0 <= i && i < 4) || (8 <= i && i < 12) ? groupID : groupID + 8,
          i < 8 ? threadID_in_group * 4 + (i & 3) : threadID_in_group * 4 + (i & 3) + 16};
}
Place bytesB(int lane, int i) {
  const int groupID = lane >> 2, threadID_in_group = lane % 4;
  return {i < 4 ? threadID_in_group * 4 + (i & 3) : threadID_in_group * 4 + (i & 3) + 16, groupID};
}
Place placeD(int lane, int i) {
  const int groupID = lane >> 2, threadID_in_group = lane % 4;
  return {i < 2 ? groupID : groupID + 8, threadID_in_group * 2 + (i & 1)};
}

/// Sets element [row][column] of the fragments of all lanes, `each` elements of `size` bytes a lane.
void set(Buffer<unsigned> &registers, Place (*place)(int, int), int each, int size, Place where, unsigned value) {
  int found = 0;
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < each; ++i)
      if (Place p = place(lane, i); p.row == where.row && p.column == where.column) {
        memcpy(reinterpret_cast<char *>(registers.data()) + (lane * each + i) * size, &value,
               static_cast<size_t>(size));
        ++found;
      }
  EXPECT_EQ(found, 1);
}

template <class T> Buffer<T> zeros(size_t count) {
  Buffer<T> buffer(count);
  memset(buffer.data(), 0, count * sizeof(T));
  return buffer;
}

} // namespace

TEST(Primitives, MmaBf16MultipliesEachElementWhereTheManualHasIt) {
  // a[m][k] = 3, b[k][n] = 5 alone: 15 in d[m][n], which begins as 1, 2, 3, …
  for (int m = 0; m < 16; ++m)
    for (int k = 0; k < 16; ++k) {
      const int n = (m + 3 * k) % 8;
      Buffer<unsigned> a = zeros<unsigned>(128), b = zeros<unsigned>(64);
      Buffer<float> d(128);
      std::iota(d.data(), d.data() + 128, 1.0f);
      set(a, bf16A, 8, 2, {m, k}, toBf16(3));
      set(b, bf16B, 4, 2, {k, n}, toBf16(5));
      ASSERT_EQ(Launch("multiply_bf16", 1, 1).buffer(a).buffer(b).buffer(d).run(), "");
      for (int lane = 0; lane < 32; ++lane)
        for (int i = 0; i < 4; ++i) {
          const Place p = placeD(lane, i);
          ASSERT_EQ(d[static_cast<size_t>(lane * 4 + i)],
                    static_cast<float>(lane * 4 + i + 1) + (p.row == m && p.column == n ? 15.0f : 0.0f))
              << "a[" << m << "][" << k << "], lane " << lane << ", register " << i;
        }
    }
}

TEST(Primitives, MmaBf16AddsUp) {
  const Buffer<uint16_t> a = randomBf16(256, 1), b = randomBf16(128, 2);
  Buffer<unsigned> aRegisters = zeros<unsigned>(128), bRegisters = zeros<unsigned>(64);
  Buffer<float> d = zeros<float>(128);
  for (int row = 0; row < 16; ++row)
    for (int column = 0; column < 16; ++column)
      set(aRegisters, bf16A, 8, 2, {row, column}, a[static_cast<size_t>(row * 16 + column)]);
  for (int row = 0; row < 16; ++row)
    for (int column = 0; column < 8; ++column)
      set(bRegisters, bf16B, 4, 2, {row, column}, b[static_cast<size_t>(row * 8 + column)]);
  ASSERT_EQ(Launch("multiply_bf16", 1, 1).buffer(aRegisters).buffer(bRegisters).buffer(d).run(), "");
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 4; ++i) {
      double sum = 0;
      const Place p = placeD(lane, i);
      for (int k = 0; k < 16; ++k)
        sum += static_cast<double>(fromBf16(a[static_cast<size_t>(p.row * 16 + k)])) *
               fromBf16(b[static_cast<size_t>(k * 8 + p.column)]);
      ASSERT_FLOAT_EQ(d[static_cast<size_t>(lane * 4 + i)], static_cast<float>(sum));
    }
}

TEST(Primitives, MmaBytesMultipliesEachElementWhereTheManualHasIt) {
  for (int m = 0; m < 16; ++m)
    for (int k = 0; k < 32; ++k) {
      const int n = (m + 5 * k) % 8;
      Buffer<unsigned> a = zeros<unsigned>(128), b = zeros<unsigned>(64);
      Buffer<int> d(128);
      std::iota(d.data(), d.data() + 128, 1);
      set(a, bytesA, 16, 1, {m, k}, static_cast<unsigned>(-128));
      set(b, bytesB, 8, 1, {k, n}, static_cast<unsigned>(-127));
      ASSERT_EQ(Launch("multiply_bytes", 1, 1).buffer(a).buffer(b).buffer(d).run(), "");
      for (int lane = 0; lane < 32; ++lane)
        for (int i = 0; i < 4; ++i) {
          const Place p = placeD(lane, i);
          ASSERT_EQ(d[static_cast<size_t>(lane * 4 + i)],
                    lane * 4 + i + 1 + (p.row == m && p.column == n ? 128 * 127 : 0))
              << "a[" << m << "][" << k << "], lane " << lane << ", register " << i;
        }
    }
}

TEST(Primitives, LoadMatrixGivesEachLaneItsPairOfEachMatrix) {
  // "ldmatrix": threads 0-7, 8-15, … hold the rows of matrices 0, 1, …; thread t gets elements 2 (t % 4) and the next
  // of row t / 4.
  Buffer<uint16_t> rows(32 * 8);
  std::iota(rows.data(), rows.data() + rows.size(), uint16_t(1000));
  Buffer<unsigned> registers(128);
  for (unsigned long long seed = 0; seed < 4; ++seed) {
    ASSERT_EQ(Launch("load_matrices", 1, 1).buffer(rows).buffer(registers).seed(seed).run(), "");
    for (int lane = 0; lane < 32; ++lane)
      for (int i = 0; i < 4; ++i) {
        const unsigned first = static_cast<unsigned>(1000 + (8 * i + lane / 4) * 8 + lane % 4 * 2);
        ASSERT_EQ(registers[static_cast<size_t>(lane * 4 + i)], first | (first + 1) << 16);
      }
  }
}

TEST(Primitives, ShufflesStayInTheirGroup) {
  Buffer<float> x(64), floats(64 * 5);
  std::iota(x.data(), x.data() + 64, 0.5f);
  Buffer<int> ints(64 * 5);
  ASSERT_EQ(Launch("shuffle", 1, 1).buffer(x).buffer(floats).buffer(ints).seed(7).run(), "");
  for (int thread = 0; thread < 64; ++thread)
    for (int i = 0; i < 5; ++i) {
      if (thread / 16 == 1 || (i == 4 && thread < 32))
        continue;
      EXPECT_EQ(floats[static_cast<size_t>(thread * 5 + i)], static_cast<float>(thread ^ 1 << i) + 0.5f);
      EXPECT_EQ(ints[static_cast<size_t>(thread * 5 + i)], thread ^ 1 << i);
    }
}

TEST(Primitives, ReductionsHaveOneOrder) {
  const Buffer<float> x = randomFloats(64, 11);
  auto group = [](std::vector<float> v, auto combine) {
    for (size_t mask = 8; mask > 0; mask /= 2)
      for (size_t i = 0; i < mask; ++i)
        v[i] = combine(v[i], v[i + mask]);
    return v[0];
  };
  auto add = [](float a, float b) { return a + b; };
  auto larger = [](float a, float b) { return std::max(a, b); };
  std::vector<float> values(x.data(), x.data() + 64), squares;
  for (float value : values)
    squares.push_back(value * value);
  auto whole = [&](const std::vector<float> &v) {
    std::vector<float> sums;
    for (size_t i = 0; i < 4; ++i)
      sums.push_back(group({v.begin() + static_cast<long>(16 * i), v.begin() + static_cast<long>(16 * i + 16)}, add));
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
  };
  for (unsigned long long seed = 0; seed < 20; ++seed) {
    Buffer<float> out(64 * 5);
    ASSERT_EQ(Launch("reduce", 1, 1).buffer(x).buffer(out).seed(seed).run(), "");
    for (size_t thread = 0; thread < 64; ++thread) {
      const auto first = values.begin() + static_cast<long>(thread / 16 * 16);
      ASSERT_EQ(out[thread * 5], group({first, first + 16}, add));
      ASSERT_EQ(out[thread * 5 + 1], group({first, first + 16}, larger));
      ASSERT_EQ(out[thread * 5 + 2], whole(values));
      ASSERT_EQ(out[thread * 5 + 3], *std::max_element(values.begin(), values.end()));
      ASSERT_EQ(out[thread * 5 + 4], whole(squares));
    }
  }
}

TEST(Primitives, AMaximumHidesNoNaN) {
  for (size_t at : {size_t(0), size_t(17), size_t(63)}) {
    Buffer<float> x = randomFloats(64, 12), out(64 * 5);
    x[at] = std::numeric_limits<float>::quiet_NaN();
    ASSERT_EQ(Launch("reduce", 1, 1).buffer(x).buffer(out).run(), "");
    EXPECT_TRUE(std::isnan(out[3]));
    EXPECT_EQ(std::isnan(out[1]), at == 0);
  }
}

TEST(Primitives, CopiesLandOrWriteZeros) {
  const Buffer<float> x = randomFloats(32 * 4, 13);
  Buffer<float> y(64 * 4);
  ASSERT_EQ(Launch("copy_async", 1, 1).buffer(x).buffer(y).run(), "");
  for (size_t thread = 0; thread < 64; ++thread)
    for (size_t i = 0; i < 4; ++i)
      ASSERT_EQ(y[thread * 4 + i], thread < 32 ? 0.0f : x[(63 - thread) * 4 + i]);
}

TEST(Primitives, NumbersConvert) {
  Buffer<float> x(64), back(64);
  Buffer<uint16_t> rounded(64);
  Buffer<unsigned> bytes(64), wide(128);
  const float ties[] = {1.00390625f, 1.01171875f, -1.00390625f, 3.4e38f, 1e-42f, 0.0f, -0.0f, 65504.0f};
  const uint16_t want[] = {0x3f80, 0x3f82, 0xbf80, 0x7f80, 0x0000, 0x0000, 0x8000, 0x4780};
  for (size_t i = 0; i < 64; ++i) {
    x[i] = ties[i % 8];
    bytes[i] = static_cast<unsigned>(i * 4) | static_cast<unsigned>(i * 4 + 1) << 8 |
               static_cast<unsigned>(i * 4 + 2) << 16 | static_cast<unsigned>(i * 4 + 3) << 24;
  }
  x[8] = std::numeric_limits<float>::quiet_NaN();
  ASSERT_EQ(Launch("convert", 1, 1).buffer(x).buffer(rounded).buffer(back).buffer(bytes).buffer(wide).run(), "");
  for (size_t i = 0; i < 64; ++i) {
    if (i == 8) {
      EXPECT_EQ(rounded[i], 0x7fff);
      continue;
    }
    EXPECT_EQ(rounded[i], want[i % 8]) << x[i];
    EXPECT_EQ(back[i], fromBf16(rounded[i]));
  }
  for (size_t i = 0; i < 256; ++i)
    EXPECT_EQ(fromBf16(static_cast<uint16_t>(wide[i / 2] >> i % 2 * 16)),
              static_cast<float>(static_cast<signed char>(i)));
}

TEST(Primitives, TheLastBlockSeesWhatAllWrote) {
  const Buffer<float> x = randomFloats(9 * 64, 14);
  double want = 0;
  for (size_t i = 0; i < x.size(); ++i)
    want += static_cast<double>(x[i]);
  for (unsigned long long seed = 0; seed < 20; ++seed) {
    Buffer<float> partial(9), total(1);
    Launch launch("join_blocks", 9, 1);
    ASSERT_EQ(launch.rows(9).counters(1).buffer(x).buffer(partial).buffer(total).seed(seed).run(), "");
    EXPECT_NEAR(total[0], want, 1e-4);
    EXPECT_EQ(launch.counterState()[0], 0);
  }
}

TEST(Primitives, WeightsAreReadBeforeTheWait) {
  const Buffer<float> weight = randomFloats(64 * 4, 15), x = randomFloats(64, 16);
  Buffer<float> y(64);
  ASSERT_EQ(Launch("wait_first", 1, 1).buffer(weight).buffer(x).buffer(y).dependent().run(), "");
  for (size_t i = 0; i < 64; ++i)
    EXPECT_EQ(y[i], x[i] * weight[i * 4]);
}

TEST(Primitives, EveryF16IsItsFloat) {
  Buffer<uint16_t> half(1 << 16);
  for (size_t i = 0; i < half.size(); ++i)
    half[i] = static_cast<uint16_t>(i);
  Buffer<float> wide(half.size());
  ASSERT_EQ(Launch("widen_halves", static_cast<int>(half.size() / 64), 1).buffer(half).buffer(wide).run(), "");
  for (size_t i = 0; i < half.size(); ++i)
    if (const float want = static_cast<float>(std::bit_cast<_Float16>(half[i])); std::isnan(want)) {
      ASSERT_TRUE(std::isnan(wide[i])) << i;
    } else {
      ASSERT_EQ(wide[i], want) << i;
    }
}
