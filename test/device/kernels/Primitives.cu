// One primitive a kernel, with what each thread brings and gets in memory.
#include "lathe/kernel.cuh"

using namespace lathe::device;

namespace {

constexpr int kThreads = 64;

struct Rows {
  Shared<bf16, 32, 24> rows;
};
struct Copied {
  Shared<float, kThreads, 4> copy;
};
struct Reduced {
  Shared<float, kThreads / 32> scratch;
};

} // namespace

/// d = a b of bf16, from and to registers of the first warp's lanes.
extern "C" __global__ __launch_bounds__(kThreads, 1) void multiply_bf16(Batch batch, Global<const unsigned, 4> a,
                                                                        Global<const unsigned, 2> b,
                                                                        Global<float, 4> d) {
  if (warp() > 0)
    return;
  const unsigned a0[4] = {a(warp_lane(), 0), a(warp_lane(), 1), a(warp_lane(), 2), a(warp_lane(), 3)};
  const unsigned b0[2] = {b(warp_lane(), 0), b(warp_lane(), 1)};
  float d0[4] = {d(warp_lane(), 0), d(warp_lane(), 1), d(warp_lane(), 2), d(warp_lane(), 3)};
  mma_bf16(d0, a0, b0);
  for (int i = 0; i < 4; ++i)
    d(warp_lane(), i) = d0[i];
}

extern "C" __global__ __launch_bounds__(kThreads, 1) void multiply_bytes(Batch batch, Global<const unsigned, 4> a,
                                                                         Global<const unsigned, 2> b,
                                                                         Global<int, 4> d) {
  if (warp() > 0)
    return;
  const unsigned a0[4] = {a(warp_lane(), 0), a(warp_lane(), 1), a(warp_lane(), 2), a(warp_lane(), 3)};
  const unsigned b0[2] = {b(warp_lane(), 0), b(warp_lane(), 1)};
  int d0[4] = {d(warp_lane(), 0), d(warp_lane(), 1), d(warp_lane(), 2), d(warp_lane(), 3)};
  mma_s8(d0, a0, b0);
  for (int i = 0; i < 4; ++i)
    d(warp_lane(), i) = d0[i];
}

/// A number a thread.
extern "C" __global__ __launch_bounds__(kThreads, 1) void widen_halves(Batch batch, Global<const f16> half,
                                                                       Global<float> wide) {
  wide(block_x() * kThreads + thread()) = to_float(half(block_x() * kThreads + thread()));
}

/// Four matrices of 8 rows of 8 numbers, row i of all from thread i.
extern "C" __global__ __launch_bounds__(kThreads, 1) void load_matrices(Batch batch, Global<const bf16, 8> rows,
                                                                        Global<unsigned, 4> registers) {
  Rows &memory = shared_memory<Rows>();
  if (warp() > 0)
    return;
  for (int i = 0; i < 8; ++i)
    memory.rows(warp_lane(), i) = rows(warp_lane(), i);
  warp_barrier();
  unsigned loaded[4];
  load_matrix_x4(loaded, memory.rows.at(warp_lane(), 0));
  for (int i = 0; i < 4; ++i)
    registers(warp_lane(), i) = loaded[i];
}

extern "C" __global__ __launch_bounds__(kThreads, 1) void shuffle(Batch batch, Global<const float> x,
                                                                  Global<float, 5> floats, Global<int, 5> ints) {
  // Groups of a warp may go different ways.
  if (group() == 1)
    return;
  for (int i = 0; i < 4; ++i) {
    floats(thread(), i) = shuffle_xor(x(thread()), 1 << i);
    ints(thread(), i) = shuffle_xor(thread(), 1 << i);
  }
  if (warp() == 0)
    return;
  floats(thread(), 4) = shuffle_xor(x(thread()), 16);
  ints(thread(), 4) = shuffle_xor(thread(), 16);
}

/// Sums and maxima of the group and of the block, twice with the same scratch.
extern "C" __global__ __launch_bounds__(kThreads, 1) void reduce(Batch batch, Global<const float> x,
                                                                 Global<float, 5> out) {
  Reduced &memory = shared_memory<Reduced>();
  out(thread(), 0) = group_sum(x(thread()));
  out(thread(), 1) = group_max(x(thread()));
  out(thread(), 2) = block_sum(x(thread()), memory.scratch);
  out(thread(), 3) = block_max(x(thread()), memory.scratch);
  out(thread(), 4) = block_sum(x(thread()) * x(thread()), memory.scratch);
}

/// The threads of the second warp copy nothing: zeros.
extern "C" __global__ __launch_bounds__(kThreads, 1) void copy_async(Batch batch, Global<const float, 4> x,
                                                                     Global<float, 4> y) {
  Copied &memory = shared_memory<Copied>();
  async_copy_16(memory.copy.at(thread(), 0), x.at(thread() % 32, 0), thread() < 32);
  async_commit();
  async_wait<0>();
  block_barrier();
  for (int i = 0; i < 4; ++i)
    y(thread(), i) = memory.copy(kThreads - 1 - thread(), i);
}

extern "C" __global__ __launch_bounds__(kThreads, 1) void convert(Batch batch, Global<const float> x,
                                                                  Global<bf16> rounded, Global<float> back,
                                                                  Global<const unsigned> bytes,
                                                                  Global<unsigned, 2> wide) {
  const bf16 y = to_bf16(x(thread()));
  rounded(thread()) = y;
  back(thread()) = to_float(y);
  unsigned pairs[2];
  widen_bytes(bytes(thread()), pairs);
  wide(thread(), 0) = pairs[0];
  wide(thread(), 1) = pairs[1];
}

/// Each block's sum to a place of its own; the last one adds them up.
extern "C" __global__ __launch_bounds__(kThreads, 1) void join_blocks(Batch batch, Global<const float, kThreads> x,
                                                                      Global<float> partial, Global<float> total) {
  Reduced &memory = shared_memory<Reduced>();
  const float sum = block_sum(x(block_x(), thread()), memory.scratch);
  if (thread() == 0)
    partial(block_x()) = sum;
  if (arrive(batch.counter(0), batch.rows()) && thread() == 0) {
    float all = 0.0f;
    for (int i = 0; i < batch.rows(); ++i)
      all = all + partial(i);
    total(0) = all;
  }
}

/// Weights may be loaded before the kernels before this one have ended, their results not.
extern "C" __global__ __launch_bounds__(kThreads, 1) void wait_first(Batch batch, Global<const float, 4> weight,
                                                                     Global<const float> x, Global<float> y) {
  const Bytes16 w = load_streaming_16(weight.at(thread(), 0));
  dependency_wait();
  y(thread()) = x(thread()) * float_of(w.word[0]);
  dependency_trigger();
}
