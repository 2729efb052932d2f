// Weights of products as kernels have them, kernels of one product, and what they have to agree in.
#pragma once

#include "test/device/Launching.h"

#include <cmath>

namespace lathe::device::testing {

inline constexpr int columns = 128;

struct Shape {
  int width, rows, columns;
};
/// weight[k][column] in panels of 8 columns and blocks of `block` elements, zeros behind.
template <class T> Buffer<T> pack(const Buffer<T> &weight, int width, int block) {
  const int blocks = (width + block - 1) / block;
  Buffer<T> packed(static_cast<size_t>(blocks * block * columns));
  for (int column = 0; column < columns; ++column)
    for (int k = 0; k < blocks * block; ++k)
      packed[static_cast<size_t>(((column / 8 * blocks + k / block) * 8 + column % 8) * block + k % block)] =
          k < width ? weight[static_cast<size_t>(k * columns + column)] : T();
  return packed;
}

/// `weights` are the kernel's parameters between x and the output.
Buffer<float> runKernel(const std::string &type, const Shape &shape, int rows, unsigned long long seed,
                        const Buffer<float> &x, const auto &...weights) {
  Buffer<float> out(static_cast<size_t>(rows * columns));
  const std::string name =
      type + "_" + std::to_string(shape.width) + "_" + std::to_string(shape.rows) + "_" + std::to_string(shape.columns);
  Buffer<float> exact(static_cast<size_t>(rows * shape.width)); // what lies behind it is out of bounds
  memcpy(exact.data(), x.data(), exact.size() * sizeof(float));
  Launch launch(name.c_str(), (columns + shape.columns - 1) / shape.columns, (rows + shape.rows - 1) / shape.rows);
  launch.rows(rows).buffer(exact);
  (launch.buffer(weights), ...);
  EXPECT_EQ(launch.buffer(out).seed(seed).run(), "");
  return out;
}

/// Codes and scales, as numbers and as kernels have them.
struct Coded {
  int width, group;
  Buffer<float> x;
  std::vector<int> codes;    ///< [k][column]
  std::vector<float> scales; ///< [group][column]
  Buffer<int8_t> packed;
  Buffer<uint16_t> bf16Scales;
  Buffer<float> floatScales;

  Coded(int width, int group, int rows)
      : width(width), group(group), x(randomFloats(static_cast<size_t>(rows * width), 9)) {
    const int blocks = (width + 63) / 64, groups = blocks * 64 / group;
    std::mt19937 generator(10);
    for (int i = 0; i < blocks * 64 * columns; ++i)
      codes.push_back(i < width * columns ? static_cast<int>(generator() % 256) - 128 : 0);
    for (int i = 0; i < groups * columns; ++i)
      scales.push_back(fromBf16(toBf16(0.01f + static_cast<float>(generator() % 1000) * 1e-5f)));
    packed = Buffer<int8_t>(codes.size());
    bf16Scales = Buffer<uint16_t>(scales.size());
    floatScales = Buffer<float>(scales.size());
    for (int column = 0; column < columns; ++column) {
      const int panel = column / 8;
      for (int block = 0; block < blocks; ++block)
        for (int place = 0; place < 64; ++place) {
          const int k = block * 64 + place / 8 % 2 * 32 + place / 16 * 8 + place % 8;
          packed[static_cast<size_t>(((panel * blocks + block) * 8 + column % 8) * 64 + place)] =
              static_cast<int8_t>(codes[static_cast<size_t>(k * columns + column)]);
        }
      for (int g = 0; g < groups; ++g) {
        const size_t to = static_cast<size_t>((panel * groups + g) * 8 + column % 8);
        floatScales[to] = scales[static_cast<size_t>(g * columns + column)];
        bf16Scales[to] = toBf16(floatScales[to]);
      }
    }
  }
  Buffer<float> run(const Shape &shape, int rows, unsigned long long seed, const std::string &kind = "") const {
    return group == 32 ? runKernel(kind + "bytes_bf1632", shape, rows, seed, x, packed, bf16Scales)
                       : runKernel(kind + "bytes_float64", shape, rows, seed, x, packed, floatScales);
  }
};

inline void expectBits(const Buffer<float> &got, const std::vector<float> &want, const Shape &shape, int rows) {
  for (size_t i = 0; i < got.size(); ++i)
    ASSERT_EQ(std::bit_cast<uint32_t>(got[i]), std::bit_cast<uint32_t>(want[i]))
        << "width " << shape.width << ", kernel of " << shape.rows << " x " << shape.columns << ", " << rows
        << " rows: row " << i / columns << ", column " << i % columns << ": " << got[i] << " instead of " << want[i];
}

} // namespace lathe::device::testing
