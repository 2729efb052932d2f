//===- primitives.cuh - what the hardware does, and nothing above it --------===//
//
// The only place with PTX. host/primitives.h has the same functions for the CPU; nothing above these two files knows
// where it runs. A function that threads have to call together says which: the 16 of a group, the 32 of a warp, all of
// the block.
//
// Lane layouts are those of the PTX ISA, "Matrix Fragments for mma.m16n8k16" and "m16n8k32", and "ldmatrix".
//
//===----------------------------------------------------------------------===//
#pragma once

#ifdef LATHE_HOST
#include "lathe/host/primitives.h"
#else

#define LATHE_DEVICE __device__ __forceinline__
// Where a function was called from; on the host defects are reported with it.
#define LATHE_HERE
#define LATHE_HERE_ONLY
#define LATHE_THERE
#define LATHE_CALL

namespace lathe::device {

/// 16 bytes in four registers, as wide as one load gets.
struct alignas(16) Bytes16 {
  unsigned word[4];
};

//===--- Who am I -----------------------------------------------------------===//

LATHE_DEVICE int thread() { return static_cast<int>(threadIdx.x); }
/// Threads of the block, a multiple of 32.
LATHE_DEVICE int threads() { return static_cast<int>(blockDim.x); }
LATHE_DEVICE int block_x() { return static_cast<int>(blockIdx.x); }
LATHE_DEVICE int block_y() { return static_cast<int>(blockIdx.y); }
/// A group is 16 neighbouring threads, half a warp; a lane is a thread of it.
LATHE_DEVICE int group() { return thread() / 16; }
LATHE_DEVICE int groups() { return threads() / 16; }
LATHE_DEVICE int lane() { return thread() % 16; }
LATHE_DEVICE int warp() { return thread() / 32; }
LATHE_DEVICE int warps() { return threads() / 32; }
LATHE_DEVICE int warp_lane() { return thread() % 32; }

//===--- Numbers ------------------------------------------------------------===//

LATHE_DEVICE unsigned bits_of(float x) { return __float_as_uint(x); }
LATHE_DEVICE float float_of(unsigned bits) { return __uint_as_float(bits); }

/// Two floats rounded to bf16, to nearest even; `low` in the low half.
LATHE_DEVICE unsigned pack_bf16(float low, float high) {
  unsigned packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

/// The float that the bits of an f16 are. Exact.
LATHE_DEVICE float widen_f16(unsigned short bits) {
  float wide;
  asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(bits));
  return wide;
}

/// Four signed bytes as bf16: the first two in pairs[0], low half first. Exact.
LATHE_DEVICE void widen_bytes(unsigned bytes, unsigned (&pairs)[2]) {
  // A byte under the exponent of 2^23 is that many ones above it; taking away 2^23 + 128 leaves the signed value, whose
  // float ends in 16 zero bits.
  const unsigned biased = bytes ^ 0x80808080u;
  float value[4];
#pragma unroll
  for (int i = 0; i < 4; ++i)
    value[i] = float_of(__byte_perm(biased, 0x4B000000u, 0x7440u | static_cast<unsigned>(i))) - 8388736.0f;
  pairs[0] = __byte_perm(bits_of(value[0]), bits_of(value[1]), 0x7632u);
  pairs[1] = __byte_perm(bits_of(value[2]), bits_of(value[3]), 0x7632u);
}

/// The upper half of a product.
LATHE_DEVICE unsigned long long multiply_high(unsigned long long x, unsigned long long y) { return __umul64hi(x, y); }

//===--- Barriers: all threads of the block, group or warp ------------------===//

/// What the block's threads wrote before it, to shared or global memory, all of them see behind it.
LATHE_DEVICE void block_barrier() { __syncthreads(); }
LATHE_DEVICE unsigned group_mask() { return 0xffffu << (threadIdx.x & 16u); }
LATHE_DEVICE void group_barrier() { __syncwarp(group_mask()); }
LATHE_DEVICE void warp_barrier() { __syncwarp(); }

/// Counts the blocks that come here; true for the last of `count`, which sees all that the others wrote before. The
/// counter is 0 before and after. All threads of the block.
LATHE_DEVICE bool arrive(int &counter, int count) {
  __threadfence();
  __syncthreads();
  int last = 0;
  if (threadIdx.x == 0) {
    last = atomicAdd(&counter, 1) == count - 1;
    if (last)
      atomicExch(&counter, 0);
    __threadfence();
  }
  return __syncthreads_or(last) != 0;
}

/// Waits until the kernels before this one have ended, where it was launched to overlap with them. What they wrote may
/// be read behind it only. Does nothing before sm_90.
LATHE_DEVICE void dependency_wait() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/// The next kernel may be started; it waits by itself for what this one writes.
LATHE_DEVICE void dependency_trigger() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

//===--- Shuffles: a mask below 16: the threads of the group; 16: of the warp ===//

LATHE_DEVICE float shuffle_xor(float x, int mask) {
  return __shfl_xor_sync(mask < 16 ? group_mask() : 0xffffffffu, x, mask);
}
LATHE_DEVICE int shuffle_xor(int x, int mask) {
  return __shfl_xor_sync(mask < 16 ? group_mask() : 0xffffffffu, x, mask);
}

//===--- Matrix products: the warp ------------------------------------------===//

/// d[16][8] += a[16][16] b[16][8]. With g = warp_lane() / 4 and q = warp_lane() % 4, low half first:
///   a: rows g, g + 8, g, g + 8; columns 2q, 2q + 1 of the first two, 2q + 8, 2q + 9 of the others
///   b: rows 2q, 2q + 1 and 2q + 8, 2q + 9; column g
///   d: row g, columns 2q and 2q + 1; row g + 8, the same
LATHE_DEVICE void mma_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/// d[16][8] += a[16][32] b[32][8] of signed bytes, exactly. As mma_bf16, with four columns of a (rows of b) in a
/// register: 4q to 4q + 3, and 4q + 16 to 4q + 19.
LATHE_DEVICE void mma_s8(int (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

//===--- Memory -------------------------------------------------------------===//

LATHE_DEVICE unsigned shared_address(const void *pointer) {
  return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}

/// Four matrices of 8 rows of 16 bytes: threads 8i to 8i + 7 of the warp give the rows of matrix i in shared memory,
/// and register i of every thread gets bytes 4q to 4q + 3 of its row g. The warp.
template <class T> LATHE_DEVICE void load_matrix_x4(unsigned (&registers)[4], const T *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
               : "r"(shared_address(row))
               : "memory");
}

template <class T> LATHE_DEVICE Bytes16 load_shared_16(const T *from) {
  return *reinterpret_cast<const Bytes16 *>(__builtin_assume_aligned(from, 16));
}

/// 16 bytes of global memory that kernels before this one wrote.
template <class T> LATHE_DEVICE Bytes16 load_global_16(const T *from) {
  Bytes16 x;
  asm volatile("ld.global.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(x.word[0]), "=r"(x.word[1]), "=r"(x.word[2]), "=r"(x.word[3])
               : "l"(from)
               : "memory");
  return x;
}

/// 16 bytes of global memory that no kernel writes (weights): may be loaded before dependency_wait.
template <class T> LATHE_DEVICE Bytes16 load_streaming_16(const T *from) {
  Bytes16 x;
  asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
      : "=r"(x.word[0]), "=r"(x.word[1]), "=r"(x.word[2]), "=r"(x.word[3])
      : "l"(from));
  return x;
}

/// The same where other threads of the block load them too, at about this time.
template <class T> LATHE_DEVICE Bytes16 load_cached_16(const T *from) {
  Bytes16 x;
  asm("ld.global.nc.v4.u32 {%0, %1, %2, %3}, [%4];"
      : "=r"(x.word[0]), "=r"(x.word[1]), "=r"(x.word[2]), "=r"(x.word[3])
      : "l"(from));
  return x;
}

/// Asks for 128 bytes of global memory to come to L2 while dependency_wait waits. Does nothing before sm_90, where
/// there is nothing to wait for.
template <class T> LATHE_DEVICE void prefetch(const T *from) {
#if __CUDA_ARCH__ >= 900
  asm volatile("prefetch.global.L2 [%0];" ::"l"(from));
#endif
}

/// Starts copying 16 bytes from global to shared memory, or writes zeros where not `valid`. The thread that started the
/// copy sees it behind the async_wait that covers it, others behind a barrier after that.
template <class T, class U> LATHE_DEVICE void async_copy_16(T *to, const U *from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(valid ? 16 : 0)
               : "memory");
}
/// Closes a group of the thread's copies.
LATHE_DEVICE void async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/// Waits until at most the youngest kGroups groups of the thread are under way.
template <int kGroups> LATHE_DEVICE void async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kGroups) : "memory");
}

/// What the block shares: dynamic shared memory, sizeof(Memory) bytes of it.
template <class Memory> LATHE_DEVICE Memory &shared_memory() {
  extern __shared__ __align__(128) unsigned char latheSharedMemory[];
  return *reinterpret_cast<Memory *>(latheSharedMemory);
}

} // namespace lathe::device

#endif
