#include "test/device/Launching.h"

namespace lathe::device::testing {

Buffer<float> randomFloats(size_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  Buffer<float> result(count);
  for (size_t i = 0; i < count; ++i)
    result[i] = normal(generator);
  return result;
}

Buffer<uint16_t> randomBf16(size_t count, unsigned seed) {
  const Buffer<float> floats = randomFloats(count, seed);
  Buffer<uint16_t> result(count);
  for (size_t i = 0; i < count; ++i)
    result[i] = toBf16(floats[i]);
  return result;
}

} // namespace lathe::device::testing
