//===- functions.cuh - functions of one number ------------------------------===//
#pragma once

#include "lathe/primitives.cuh"

namespace lathe::device {

/// exp, with the bits that it has on the CPU target (passes/kern/ExpandExp.cpp): n = round(x / ln 2), r = x - n ln 2,
/// exp(x) = 2^n (1 + r + r^2 p(r)), the coefficients those of expf of the Cephes library. 0 below -87; NaN gives NaN.
LATHE_DEVICE float exponential(float x) {
  const float low = x < -87.0f ? -87.0f : x, clamped = low > 88.0f ? 88.0f : low;
  // Adding 1.5 * 2^23 leaves no bits for a fraction: that rounds to nearest even.
  const float n = (clamped * 1.44269504088896341f + 12582912.0f) - 12582912.0f;
  const float r = fma(-n, -2.12194440e-4f, fma(-n, 0.693359375f, clamped));
  float p = 1.9875691500e-4f;
  p = fma(p, r, 1.3981999507e-3f);
  p = fma(p, r, 8.3334519073e-3f);
  p = fma(p, r, 4.1665795894e-2f);
  p = fma(p, r, 1.6666665459e-1f);
  p = fma(p, r, 5.0000001201e-1f);
  const float y = fma(p, r * r, r + 1.0f);
  const float power = float_of(static_cast<unsigned>((n == n ? static_cast<int>(n) : 0) + 127) << 23);
  return x < -87.0f ? 0.0f : y * power;
}

} // namespace lathe::device
