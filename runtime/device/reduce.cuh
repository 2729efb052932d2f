//===- reduce.cuh - sums and maxima with a fixed order ----------------------===//
//
// The order is part of the result: halves are combined lane by lane (x[i] with x[i ^ 8], then ^ 4, ^ 2, ^ 1), as
// kern.reduce does on every target. All threads that call get the same bits.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "lathe/views.cuh"

namespace lathe::device {

/// NaN where x or y is one, so that a maximum hides none.
LATHE_DEVICE float maximum(float x, float y) { return x > y || x != x ? x : y; }

/// Over the 16 threads of the group.
LATHE_DEVICE float group_sum(float x LATHE_HERE) {
  LATHE_CALL;
#pragma unroll
  for (int mask = 8; mask > 0; mask /= 2)
    x = x + shuffle_xor(x, mask);
  return x;
}
LATHE_DEVICE float group_max(float x LATHE_HERE) {
  LATHE_CALL;
#pragma unroll
  for (int mask = 8; mask > 0; mask /= 2)
    x = maximum(x, shuffle_xor(x, mask));
  return x;
}

/// Over the block: groups, then the two of each warp, then the warps' results in order. `scratch` has one element a
/// warp and may be used again at once. All threads of the block.
template <int kWarps> LATHE_DEVICE float block_sum(float x, Shared<float, kWarps> &scratch LATHE_HERE) {
  LATHE_CALL;
  x = group_sum(x);
  x = x + shuffle_xor(x, 16);
  block_barrier();
  if (warp_lane() == 0)
    scratch(warp()) = x;
  block_barrier();
  float sum = scratch(0);
#pragma unroll
  for (int i = 1; i < kWarps; ++i)
    sum = sum + scratch(i);
  return sum;
}
template <int kWarps> LATHE_DEVICE float block_max(float x, Shared<float, kWarps> &scratch LATHE_HERE) {
  LATHE_CALL;
  x = group_max(x);
  x = maximum(x, shuffle_xor(x, 16));
  block_barrier();
  if (warp_lane() == 0)
    scratch(warp()) = x;
  block_barrier();
  float largest = scratch(0);
#pragma unroll
  for (int i = 1; i < kWarps; ++i)
    largest = maximum(largest, scratch(i));
  return largest;
}

} // namespace lathe::device
