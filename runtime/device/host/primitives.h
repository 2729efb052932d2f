//===- primitives.h - primitives.cuh on the CPU -----------------------------===//
//
// The same functions with the same meanings, as strict as the hardware's documentation allows: a collective needs all
// of its threads, at the same place; an asynchronous copy lands only at the wait that covers it.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "lathe/host/executor.h"

#define LATHE_DEVICE inline
#define LATHE_HERE_ONLY ::lathe::device::Where where = {__builtin_FILE(), __builtin_LINE()}
#define LATHE_HERE , LATHE_HERE_ONLY
#define LATHE_THERE , where
#define LATHE_CALL const ::lathe::device::host::Call call(where)

#define __global__
#define __launch_bounds__(...)

namespace lathe::device {

struct alignas(16) Bytes16 {
  unsigned word[4];
};

inline int thread() { return host::executor.thread; }
inline int threads() { return host::executor.threads; }
inline int block_x() { return host::executor.blockX; }
inline int block_y() { return host::executor.blockY; }
inline int group() { return thread() / 16; }
inline int groups() { return threads() / 16; }
inline int lane() { return thread() % 16; }
inline int warp() { return thread() / 32; }
inline int warps() { return threads() / 32; }
inline int warp_lane() { return thread() % 32; }

inline unsigned bits_of(float x) { return __builtin_bit_cast(unsigned, x); }
inline float float_of(unsigned bits) { return __builtin_bit_cast(float, bits); }

// What CUDA's compiler brings along.
inline int min(int x, int y) { return y < x ? y : x; }
inline int max(int x, int y) { return x < y ? y : x; }
inline float fma(float x, float y, float z) { return __builtin_fmaf(x, y, z); }
inline float sqrtf(float x) { return __builtin_sqrtf(x); }
inline float fabsf(float x) { return __builtin_fabsf(x); }
inline float fmaxf(float x, float y) { return __builtin_fmaxf(x, y); }
inline float rintf(float x) { return __builtin_rintf(x); }

inline unsigned long long multiply_high(unsigned long long x, unsigned long long y) {
  return static_cast<unsigned long long>(static_cast<unsigned __int128>(x) * y >> 64);
}

inline unsigned round_bf16(float x) {
  const unsigned bits = bits_of(x);
  return x != x ? 0x7fffu : (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
}
inline unsigned pack_bf16(float low, float high) { return round_bf16(low) | round_bf16(high) << 16; }
inline float widen_f16(unsigned short bits) {
  const unsigned sign = (bits & 0x8000u) << 16, rest = bits & 0x7fffu;
  if (rest >= 0x7c00u) // an infinity or NaN
    return float_of(sign | 0x7f800000u | (rest & 0x3ffu) << 13);
  // The exponent's place, as that of a float whose exponents begin 112 lower.
  return float_of(sign | bits_of(float_of(rest << 13) * 0x1p112f));
}
inline void widen_bytes(unsigned bytes, unsigned (&pairs)[2]) {
  unsigned value[4];
  for (int i = 0; i < 4; ++i)
    value[i] = bits_of(static_cast<float>(static_cast<signed char>(bytes >> 8 * i))) >> 16;
  pairs[0] = value[0] | value[1] << 16;
  pairs[1] = value[2] | value[3] << 16;
}

inline void block_barrier(LATHE_HERE_ONLY) { meet(host::Scope::block, "block_barrier", true, nullptr, nullptr, where); }
inline void group_barrier(LATHE_HERE_ONLY) { meet(host::Scope::group, "group_barrier", true, nullptr, nullptr, where); }
inline void warp_barrier(LATHE_HERE_ONLY) { meet(host::Scope::warp, "warp_barrier", true, nullptr, nullptr, where); }

inline bool arrive(int &counter, int count LATHE_HERE) { return host::arriveAt(counter, count, where); }
inline int load_batch(const BatchData &batch, BatchArray array, long long index, Where where) {
  return host::loadBatch(batch, array, index, where);
}
inline int load_drawn(const BatchData &batch, int row, Where where) { return host::loadDrawn(batch, row, where); }
inline int &batch_counter(const BatchData &batch, int index, Where where) {
  return host::batchCounter(batch, index, where);
}

inline void dependency_wait() { host::executor.ready[thread()] = true; }
inline void dependency_trigger() {}

namespace host {
/// What a thread brings to a shuffle, and takes home.
struct Shuffled {
  unsigned value, result;
  int mask;
};
LATHE_HIDDEN void shuffleLanes(void *const *operands, int count);

struct Products {
  void *d;
  const unsigned *a, *b;
};
LATHE_HIDDEN void multiplyBf16(void *const *operands, int count);
LATHE_HIDDEN void multiplyBytes(void *const *operands, int count);
LATHE_HIDDEN void loadMatrices(void *const *operands, int count);
} // namespace host

inline unsigned shuffle_bits(unsigned value, int mask, Where where) {
  host::Shuffled mine = {value, 0, mask};
  meet(mask < 16 ? host::Scope::group : host::Scope::warp, "shuffle_xor", false, host::shuffleLanes, &mine, where);
  return mine.result;
}
inline float shuffle_xor(float x, int mask LATHE_HERE) { return float_of(shuffle_bits(bits_of(x), mask, where)); }
inline int shuffle_xor(int x, int mask LATHE_HERE) {
  return static_cast<int>(shuffle_bits(static_cast<unsigned>(x), mask, where));
}

inline void mma_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2] LATHE_HERE) {
  host::Products mine = {d, a, b};
  meet(host::Scope::warp, "mma_bf16", false, host::multiplyBf16, &mine, where);
}
inline void mma_s8(int (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2] LATHE_HERE) {
  host::Products mine = {d, a, b};
  meet(host::Scope::warp, "mma_s8", false, host::multiplyBytes, &mine, where);
}

} // namespace lathe::device
