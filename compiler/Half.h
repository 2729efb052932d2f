//===- Half.h - floats of 16 bits (f16, bf16) and single ------------------===//
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace lathe {

// Without branches, so that loops over it vectorise: normals are rescaled by 2^-112, subnormals come out of an exact
// subtraction (github.com/Maratyszcza/FP16).
inline float halfToFloat(uint16_t half) {
  uint32_t word = uint32_t{half} << 16, sign = word & 0x80000000u, twice = word + word;
  float normal = std::bit_cast<float>((twice >> 4) + (uint32_t{0xE0} << 23)) * 0x1.0p-112f;
  float subnormal = std::bit_cast<float>((twice >> 17) | (uint32_t{126} << 23)) - 0.5f;
  uint32_t bits = twice < (uint32_t{1} << 27) ? std::bit_cast<uint32_t>(subnormal) : std::bit_cast<uint32_t>(normal);
  return std::bit_cast<float>(sign | bits);
}

/// Bits of the half nearest to a value, ties to even. From 65520 on that is an infinity; NaN is one too.
inline uint16_t floatToHalf(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value), sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
  if (!(std::bit_cast<float>(size) < 65520.0f))
    return static_cast<uint16_t>(sign | 0x7c00);
  if (size < uint32_t{113} << 23) // subnormal: the step of floats from 0.5 on is 2^-24
    return static_cast<uint16_t>(sign |
                                 (std::bit_cast<uint32_t>(std::bit_cast<float>(size) + 0.5f) - (uint32_t{126} << 23)));
  size += 0xfff + (size >> 13 & 1);
  return static_cast<uint16_t>(sign | ((size >> 13) - (112 << 10)));
}

inline float bf16ToFloat(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

/// Bits of the bf16 nearest to a value, ties to even; NaN stays NaN.
inline uint16_t floatToBf16(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value))
    return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

} // namespace lathe
