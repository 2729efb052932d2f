// Kernels with one defect each, and how each should have been. A defect stands in the line that says so; the executor
// has to report that line.
#include "lathe/kernel.cuh"

using namespace lathe::device;

namespace {

constexpr int kThreads = 64;

struct Memory {
  Shared<float, kThreads, 4> tile;
  Shared<bf16, 32, 32> rows;
  Shared<float, kThreads / 32> scratch;
  Shared<signed char, kThreads> bytes;
};

} // namespace

/// Each thread hands a number to the thread across: right with the barrier.
extern "C" __global__ __launch_bounds__(kThreads, 1) void hand_over(Batch batch, Global<const float> x,
                                                                    Global<float> y) {
  Memory &memory = shared_memory<Memory>();
  memory.tile(thread(), 0) = x(thread());
  block_barrier();
  y(thread()) = memory.tile(kThreads - 1 - thread(), 0);
}

extern "C" __global__ __launch_bounds__(kThreads, 1) void missing_barrier(Batch batch, Global<const float> x,
                                                                          Global<float> y) {
  Memory &memory = shared_memory<Memory>();
  memory.tile(thread(), 0) = x(thread());
  y(thread()) = memory.tile(kThreads - 1 - thread(), 0); // defect: missing_barrier
}

/// The first values are right; writing anew what others may still read is not.
extern "C" __global__ __launch_bounds__(kThreads, 1) void missing_second_barrier(Batch batch, Global<const float> x,
                                                                                 Global<float> y) {
  Memory &memory = shared_memory<Memory>();
  memory.tile(thread(), 0) = x(thread());
  block_barrier();
  const float first = memory.tile(kThreads - 1 - thread(), 0); // defect: missing_second_barrier, the read
  memory.tile(thread(), 0) = first + 1.0f;                     // defect: missing_second_barrier
  block_barrier();
  y(thread()) = memory.tile(kThreads - 1 - thread(), 0);
}

/// Many threads read what one then writes.
extern "C" __global__ __launch_bounds__(kThreads, 1) void write_after_many_reads(Batch batch, Global<const float> x,
                                                                                 Global<float> y) {
  Memory &memory = shared_memory<Memory>();
  if (thread() == 0)
    memory.tile(0, 0) = x(0);
  block_barrier();
  y(thread()) = memory.tile(0, 0); // defect: write_after_many_reads, the read
  if (thread() == 0)
    memory.tile(0, 0) = 2.0f; // defect: write_after_many_reads
}

/// A group's barrier orders the group, not the other one.
extern "C" __global__ __launch_bounds__(kThreads, 1) void group_only(Batch batch, Global<const float> x,
                                                                     Global<float> y) {
  Memory &memory = shared_memory<Memory>();
  memory.tile(thread(), 0) = x(thread());
  group_barrier();
  const float inside = memory.tile(thread() ^ 15, 0);
  y(thread()) = inside + memory.tile(thread() ^ 16, 0); // defect: group_only
}

extern "C" __global__ __launch_bounds__(kThreads, 1) void group_enough(Batch batch, Global<const float> x,
                                                                       Global<float> y) {
  Memory &memory = shared_memory<Memory>();
  memory.tile(thread(), 0) = x(thread());
  group_barrier();
  y(thread()) = memory.tile(thread() ^ 15, 0);
}

extern "C" __global__ __launch_bounds__(kThreads, 1) void warp_only(Batch batch, Global<const float> x,
                                                                    Global<float> y) {
  Memory &memory = shared_memory<Memory>();
  memory.tile(thread(), 0) = x(thread());
  warp_barrier();
  const float inside = memory.tile(thread() ^ 31, 0);
  y(thread()) = inside + memory.tile(thread() ^ 32, 0); // defect: warp_only
}

/// A shuffle gives values to others but orders no memory.
extern "C" __global__ __launch_bounds__(kThreads, 1) void shuffle_is_no_barrier(Batch batch, Global<const float> x,
                                                                                Global<float> y) {
  Memory &memory = shared_memory<Memory>();
  memory.tile(thread(), 0) = x(thread());
  const float sum = group_sum(x(thread()));
  y(thread()) = sum + memory.tile(thread() ^ 1, 0); // defect: shuffle_is_no_barrier
}

/// Bytes beside each other are elements of their own.
extern "C" __global__ __launch_bounds__(kThreads, 1) void bytes_apart(Batch batch, Global<float> y) {
  Memory &memory = shared_memory<Memory>();
  memory.bytes(thread()) = static_cast<signed char>(thread());
  block_barrier();
  y(thread()) = static_cast<float>(memory.bytes(thread() ^ 1));
}

extern "C" __global__ __launch_bounds__(kThreads, 1) void bytes_race(Batch batch, Global<float> y) {
  Memory &memory = shared_memory<Memory>();
  memory.bytes(thread()) = static_cast<signed char>(thread());
  y(thread()) = static_cast<float>(memory.bytes(thread() ^ 1)); // defect: bytes_race
}

extern "C" __global__ __launch_bounds__(kThreads, 1) void divergent_barrier(Batch batch, Global<float> y) {
  if (thread() < 48)
    block_barrier(); // defect: divergent_barrier
  y(thread()) = 1.0f;
}

extern "C" __global__ __launch_bounds__(kThreads, 1) void barriers_apart(Batch batch, Global<float> y) {
  if (thread() < 32)
    block_barrier(); // defect: barriers_apart
  else
    block_barrier(); // defect: barriers_apart, the other
  y(thread()) = 1.0f;
}

extern "C" __global__ __launch_bounds__(kThreads, 1) void divergent_shuffle(Batch batch, Global<const float> x,
                                                                            Global<float> y) {
  float sum = x(thread());
  if (thread() != 20)
    sum = group_sum(sum); // defect: divergent_shuffle
  y(thread()) = sum;
}

extern "C" __global__ __launch_bounds__(kThreads, 1) void sums_apart(Batch batch, Global<const float> x,
                                                                     Global<float> y) {
  Memory &memory = shared_memory<Memory>();
  float sum = x(thread());
  if (thread() < 32)
    sum = block_sum(sum, memory.scratch); // defect: sums_apart
  else
    sum = block_sum(sum, memory.scratch); // defect: sums_apart, the other
  y(thread()) = sum;
}

extern "C" __global__ __launch_bounds__(kThreads, 1) void uninitialised(Batch batch, Global<float> y) {
  Memory &memory = shared_memory<Memory>();
  if (thread() != 9)
    memory.tile(thread(), 1) = 1.0f;
  block_barrier();
  y(thread()) = memory.tile(thread() / 2, 1); // defect: uninitialised
}

/// Indices come from memory: (first, second) of x, then of y, then of shared memory.
extern "C" __global__ __launch_bounds__(kThreads, 1) void out_of_bounds(Batch batch, Global<const int> at,
                                                                        Global<const float, 4> x, Global<float, 4> y) {
  Memory &memory = shared_memory<Memory>();
  if (thread() > 0)
    return;
  memory.tile(at(4), at(5)) = x(at(0), at(1)); // defect: out_of_bounds
  y(at(2), at(3)) = 1.0f;                      // defect: out_of_bounds of y
}

extern "C" __global__ __launch_bounds__(kThreads, 1) void wide_load(Batch batch, Global<const int> at,
                                                                    Global<const float, 4> x, Global<float> y) {
  const Bytes16 four = load_streaming_16(x.at(at(0), at(1))); // defect: wide_load
  y(thread()) = float_of(four.word[0]);
}

extern "C" __global__ __launch_bounds__(kThreads, 1) void batch_bounds(Batch batch, Global<const int> at,
                                                                       Global<float> y) {
  y(thread()) = static_cast<float>(batch.row_position(at(0))); // defect: batch_bounds
}

extern "C" __global__ __launch_bounds__(kThreads, 1) void missing_wait(Batch batch, Global<const float, 4> x,
                                                                       Global<float> y) {
  Memory &memory = shared_memory<Memory>();
  async_copy_16(memory.tile.at(thread(), 0), x.at(thread(), 0), true);
  async_commit();
  block_barrier();
  y(thread()) = memory.tile(thread(), 0); // defect: missing_wait
}

extern "C" __global__ __launch_bounds__(kThreads, 1) void missing_commit(Batch batch, Global<const float, 4> x,
                                                                         Global<float> y) {
  Memory &memory = shared_memory<Memory>();
  async_copy_16(memory.tile.at(thread(), 0), x.at(thread(), 0), true);
  async_wait<0>();
  block_barrier();
  y(thread()) = memory.tile(thread(), 0); // defect: missing_commit
}

/// Two copies under way: waiting for all but one leaves the younger.
extern "C" __global__ __launch_bounds__(kThreads, 1) void wait_too_short(Batch batch, Global<const float, 4> x,
                                                                         Global<float> y) {
  Memory &memory = shared_memory<Memory>();
  if (thread() >= 32)
    return;
  async_copy_16(memory.tile.at(thread(), 0), x.at(thread(), 0), true);
  async_commit();
  async_copy_16(memory.tile.at(thread() + 32, 0), x.at(thread() + 32, 0), true);
  async_commit();
  async_wait<1>();
  y(thread()) = memory.tile(thread(), 0);
  y(thread() + 32) = memory.tile(thread() + 32, 0); // defect: wait_too_short
}

extern "C" __global__ __launch_bounds__(kThreads, 1) void write_under_copy(Batch batch, Global<const float, 4> x,
                                                                           Global<float> y) {
  Memory &memory = shared_memory<Memory>();
  async_copy_16(memory.tile.at(thread(), 0), x.at(thread(), 0), true);
  async_commit();
  memory.tile(thread(), 2) = 1.0f; // defect: write_under_copy
  async_wait<0>();
  y(thread()) = memory.tile(thread(), 2);
}

/// Copies that nobody waits for end with their block.
extern "C" __global__ __launch_bounds__(kThreads, 1) void copies_left(Batch batch, Global<const float, 4> x,
                                                                      Global<float, kThreads> y) {
  Memory &memory = shared_memory<Memory>();
  memory.tile(thread(), 0) = x(thread(), 0);
  y(block_x(), thread()) = memory.tile(thread(), 0);
  async_copy_16(memory.tile.at(thread(), 0), x.at(thread(), 0), true);
  async_commit();
}

/// A thread waits for its own copies only.
extern "C" __global__ __launch_bounds__(kThreads, 1) void wait_without_barrier(Batch batch, Global<const float, 4> x,
                                                                               Global<float> y) {
  Memory &memory = shared_memory<Memory>();
  async_copy_16(memory.tile.at(thread(), 0), x.at(thread(), 0), true);
  async_commit();
  async_wait<0>();
  y(thread()) = memory.tile(kThreads - 1 - thread(), 0); // defect: wait_without_barrier
}

extern "C" __global__ __launch_bounds__(kThreads, 1) void matrix_without_barrier(Batch batch, Global<unsigned, 4> y) {
  Memory &memory = shared_memory<Memory>();
  if (warp() > 0)
    return;
  for (int i = 0; i < 8; ++i)
    memory.rows(warp_lane(), i) = to_bf16(1.0f);
  unsigned loaded[4];
  load_matrix_x4(loaded, memory.rows.at(warp_lane(), 0)); // defect: matrix_without_barrier
  y(warp_lane(), 0) = loaded[0];
}

/// All blocks add to one place.
extern "C" __global__ __launch_bounds__(kThreads, 1) void blocks_race(Batch batch, Global<float> y) {
  if (thread() == 3)
    y(0) = y(0) + 1.0f; // defect: blocks_race
}

/// What other blocks wrote is read without arriving.
extern "C" __global__ __launch_bounds__(kThreads, 1) void join_without_arrive(Batch batch, Global<float> partial,
                                                                              Global<float> total) {
  if (thread() == 0)
    partial(block_x()) = 1.0f; // defect: join_without_arrive, the write
  block_barrier();
  if (block_x() == 2 && thread() == 0)
    total(0) = partial(0) + partial(1); // defect: join_without_arrive
}

extern "C" __global__ __launch_bounds__(kThreads, 1) void arrive_before_writing(Batch batch, Global<float> partial,
                                                                                Global<float> total) {
  const bool last = arrive(batch.counter(0), 3);
  if (thread() == 0)
    partial(block_x()) = 1.0f;
  if (last && thread() == 0)
    total(0) = partial(0) + partial(1) + partial(2); // defect: arrive_before_writing
}

extern "C" __global__ __launch_bounds__(kThreads, 1) void threads_race(Batch batch, Global<float> y) {
  y(thread()) = 1.0f;                   // defect: threads_race, the write
  y(thread()) = y(thread() ^ 1) + 1.0f; // defect: threads_race
}

extern "C" __global__ __launch_bounds__(kThreads, 1) void read_before_wait(Batch batch, Global<const float> x,
                                                                           Global<float> y) {
  const float x0 = x(thread()); // defect: read_before_wait
  dependency_wait();
  y(thread()) = x0;
}

extern "C" __global__ __launch_bounds__(kThreads, 1) void batch_before_wait(Batch batch, Global<float> y) {
  const int rows = batch.rows(); // defect: batch_before_wait
  dependency_wait();
  y(thread()) = static_cast<float>(rows);
}

extern "C" __global__ __launch_bounds__(kThreads, 1) void never_waits(Batch batch, Global<const float, 4> weight) {
  load_streaming_16(weight.at(thread(), 0));
}

/// Asking for what kernels before still write.
extern "C" __global__ __launch_bounds__(kThreads, 1) void prefetch_before_wait(Batch batch, Global<const float> x,
                                                                               Global<float> y) {
  prefetch(x.at(thread())); // defect: prefetch_before_wait
  dependency_wait();
  y(thread()) = x(thread());
}

/// Only what no kernel writes may be streamed.
extern "C" __global__ __launch_bounds__(kThreads, 1) void streams_output(Batch batch, Global<const float, 4> x,
                                                                         Global<float, 4> y) {
  const Bytes16 four = load_streaming_16(x.at(thread(), 0)); // defect: streams_output
  y(thread(), 0) = float_of(four.word[0]);
}

/// A library function's inside is reported with the kernel's line.
extern "C" __global__ __launch_bounds__(kThreads, 1) void inside_of_library(Batch batch, Global<const float> x,
                                                                            Global<float> y) {
  Memory &memory = shared_memory<Memory>();
  y(thread()) = block_sum(x(thread()), memory.scratch); // defect: inside_of_library
  if (thread() == 5)
    memory.scratch(1) = 1.0f; // defect: inside_of_library, last
}

/// Lanes of a fragment swapped: no report, other numbers.
extern "C" __global__ __launch_bounds__(kThreads, 1) void swapped_lanes(Batch batch, Global<const unsigned, 4> a,
                                                                        Global<const unsigned, 2> b, Global<float, 4> d,
                                                                        Global<const int> swap) {
  if (warp() > 0)
    return;
  int source = warp_lane();
  if (source == swap(0) || source == swap(1))
    source = swap(0) + swap(1) - source;
  const unsigned a0[4] = {a(source, 0), a(source, 1), a(source, 2), a(source, 3)};
  const unsigned b0[2] = {b(warp_lane(), 0), b(warp_lane(), 1)};
  float d0[4] = {0.0f, 0.0f, 0.0f, 0.0f};
  mma_bf16(d0, a0, b0);
  for (int i = 0; i < 4; ++i)
    d(warp_lane(), i) = d0[i];
}
