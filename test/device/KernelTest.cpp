// A whole kernel in the form that the compiler prints, against plain loops in double.
#include "test/device/Launching.h"

#include <cmath>

using namespace lathe::device;
using namespace lathe::device::testing;

namespace {

constexpr int hidden = 192, gatedWidth = 64, columns = 2 * gatedWidth;

struct Model {
  Buffer<float> x, gain = randomFloats(hidden, 2);
  Buffer<uint16_t> weight = randomBf16(hidden * columns, 3); ///< as packed
  explicit Model(int rows) : x(randomFloats(static_cast<size_t>(rows * hidden), 1)) {}

  float at(int k, int column) const {
    return fromBf16(
        weight[static_cast<size_t>(((column / 8 * (hidden / 32) + k / 32) * 8 + column % 8) * 32 + k % 32)]);
  }
  /// Panels of 16 gate columns and 16 up columns by turns.
  double gated(int row, int column) const {
    const float *x0 = x.data() + row * hidden;
    double squares = 0, gate = 0, up = 0;
    for (int k = 0; k < hidden; ++k)
      squares += static_cast<double>(x0[k]) * x0[k];
    const double inverse = 1 / std::sqrt(squares / hidden + 1e-5);
    for (int k = 0; k < hidden; ++k) {
      const double normed = fromBf16(toBf16(static_cast<float>(x0[k] * inverse * gain[static_cast<size_t>(k)])));
      gate += normed * at(k, column / 16 * 32 + column % 16);
      up += normed * at(k, column / 16 * 32 + 16 + column % 16);
    }
    return gate / (1 + std::sqrt(1 + gate * gate)) * up;
  }
};

Buffer<float> run(const Model &model, int rows, unsigned long long seed, bool check = true) {
  Buffer<float> gated(static_cast<size_t>(rows * gatedWidth));
  EXPECT_EQ(Launch("norm_gated", gatedWidth / 16, (rows + 7) / 8)
                .rows(rows)
                .buffer(model.x)
                .buffer(model.gain)
                .buffer(model.weight)
                .buffer(gated)
                .seed(seed)
                .check(check)
                .run(),
            "");
  return gated;
}

} // namespace

TEST(Kernel, GivesWhatPlainLoopsGive) {
  const Model model(13);
  const Buffer<float> got = run(model, 13, 0);
  for (int row = 0; row < 13; ++row)
    for (int column = 0; column < gatedWidth; ++column)
      EXPECT_NEAR(got[static_cast<size_t>(row * gatedWidth + column)], model.gated(row, column),
                  1e-3 * (1 + std::abs(model.gated(row, column))));
}

TEST(Kernel, HasNoDefectAndTheSameBitsInAnyOrder) {
  const Model model(13);
  const Buffer<float> want = run(model, 13, 0, false);
  for (unsigned long long seed = 0; seed < 20; ++seed) {
    const Buffer<float> got = run(model, 13, seed);
    ASSERT_EQ(memcmp(got.data(), want.data(), want.size() * sizeof(float)), 0) << "seed " << seed;
  }
}
