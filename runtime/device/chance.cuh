//===- chance.cuh - how likely a token is drawn, in whole numbers -----------===//
//
// The likeliest token of a row has 2^44, a token e^x times as likely that many times as much, rounded down; the sum of
// a vocabulary of 2^19 still fits. Sums of whole numbers are the same in any order, so that a block of threads draws
// the token that the host's sampler draws (runtime/Sampler.cpp includes this text too). No fused multiply-add: both
// round twice.
//
//===----------------------------------------------------------------------===//
#pragma once

#if defined(__CUDACC__) || defined(LATHE_HOST)
#include "lathe/primitives.cuh"
#define LATHE_CHANCE LATHE_DEVICE
#else
#define LATHE_CHANCE inline
#endif

namespace lathe::device {

using Chance = unsigned long long;
inline constexpr int kChanceBits = 44;

/// Of a logit that is not above `best`; the temperature is above 0. NaN has none.
LATHE_CHANCE Chance chance_of(float logit, float best, float temperature) {
  if (logit == best)
    return Chance(1) << kChanceBits;
  const float x = (logit - best) / temperature;
  if (!(x > -32.0f))
    return 0; // e^-30.5 is 2^-44
  // e^x = 2^n (1 + r + r^2 p(r)) with the coefficients of expf of the Cephes library; adding 1.5 * 2^23 leaves no bits
  // for a fraction.
  const float n = (x * 1.44269504088896341f + 12582912.0f) - 12582912.0f;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const float y = p * (r * r) + (r + 1.0f); // within 0.7 and 1.42: all of its digits are above 2^-24
  const Chance digits = static_cast<Chance>(y * 16777216.0f);
  const int shift = kChanceBits - 24 + static_cast<int>(n);
  return shift >= 0 ? digits << shift : digits >> -shift;
}

/// What is asked of a row of logits.
struct Draw {
  int top_k;         ///< keep so many best; 0: all; -1: nothing is drawn
  float temperature; ///< 0: the best is taken
  Chance top_p;      ///< keep the fewest best that have this share, in 2^-64; 0: all
  Chance least;      ///< keep what has so much
  Chance number;     ///< drawn uniformly, in 2^-64
};

} // namespace lathe::device
