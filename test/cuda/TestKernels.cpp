#include "test/cuda/TestKernels.h"

namespace lathe::cuda {

const std::vector<KernelHeader> &testHeaders() {
  static const std::vector<KernelHeader> headers{{"lathe/primitives.cuh", R"(#pragma once
namespace lathe::device {
__device__ inline int thread() { return threadIdx.x; }
__device__ inline int block_x() { return blockIdx.x; }
__device__ inline int block_y() { return blockIdx.y; }
__device__ inline int group() { return threadIdx.x / 16; }
__device__ inline int lane() { return threadIdx.x % 16; }
__device__ inline void block_barrier() { __syncthreads(); }
__device__ inline float shuffle_xor(float x, int mask) { return __shfl_xor_sync(0xffffffffu, x, mask); }
__device__ inline void mma_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
} // namespace lathe::device
)"},
                                                 {"lathe/kernel.cuh", R"(#pragma once
#include "lathe/primitives.cuh"
namespace lathe::device {
struct Batch { const int *counts; __device__ int rows() const { return counts[0]; } };
template <typename T, int... D> struct Global;
template <typename T> struct Global<T> {
  T *data;
  __device__ T &operator()(int i) const { return data[i]; }
};
template <typename T, int D1> struct Global<T, D1> {
  T *data;
  __device__ T &operator()(int i, int j) const { return data[static_cast<long long>(i) * D1 + j]; }
};
template <typename M> __device__ M &shared_memory() {
  extern __shared__ __align__(16) unsigned char bytes[];
  return *reinterpret_cast<M *>(bytes);
}
template <int N> __device__ float block_sum(float x, float (&scratch)[N]) {
  for (int mask = 16; mask > 0; mask /= 2)
    x = x + shuffle_xor(x, mask);
  if (thread() % 32 == 0)
    scratch[thread() / 32] = x;
  block_barrier();
  x = 0;
  for (int i = 0; i < N; ++i)
    x = x + scratch[i];
  block_barrier();
  return x;
}
} // namespace lathe::device
)"}};
  return headers;
}

KernelSource normKernel(int number, int width) {
  std::string name = fmt::format("norm_{}", number);
  return {name, fmt::format(R"(// {0}: norm, linear
#include "lathe/kernel.cuh"
using namespace lathe::device;
namespace {{
constexpr int kThreads = 256;
constexpr int kRows = 8;
struct Memory {{
  float input[kRows][{1}];
  float reduce[kThreads / 32];
}};
}} // namespace

extern "C" __global__ __launch_bounds__(kThreads) void {0}(Batch batch, Global<const float, {1}> x,
                                                           Global<const float> gain, Global<const float, {1}> weight,
                                                           Global<float, 64> y) {{
  Memory &memory = shared_memory<Memory>();
  const int first = block_y() * kRows;
  const int last = min(first + kRows, batch.rows());
  for (int row = first; row < last; row += 1) {{
    float squares = 0.0f;
    for (int column = 0; column < {1}; column += kThreads) {{
      const float x0 = x(row, column + thread());
      squares = squares + x0 * x0;
    }}
    const float inverse = 1.0f / sqrtf(block_sum(squares, memory.reduce) / {1}.0f + 1e-05f);
    for (int column = 0; column < {1}; column += kThreads)
      memory.input[row - first][column + thread()] = x(row, column + thread()) * inverse * gain(column + thread());
  }}
  block_barrier();
  for (int row = first + group(); row < last; row += kThreads / 16) {{
    float sum = {2}.0f;
    for (int k = 0; k < {1}; k += 1)
      sum = fma(memory.input[row - first][k], weight(block_x() * 16 + lane(), k), sum);
    y(row, block_x() * 16 + lane()) = sum;
  }}
}}
)",
                            name, width, number)};
}

std::vector<KernelSource> normKernels(int count) {
  std::vector<KernelSource> kernels;
  for (int i = 0; i < count; ++i)
    kernels.push_back(normKernel(i, 512 + 256 * (i % 8)));
  return kernels;
}

} // namespace lathe::cuda
