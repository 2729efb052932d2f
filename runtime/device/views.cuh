//===- views.cuh - the only way from kernels to memory ----------------------===//
//
// Row-major views. view(i, j, …) is an element, view.at(i, j, …) its address for the library's functions. On the host
// (host/views.h) an element is a proxy that checks bounds, initialisation and races.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "lathe/numbers.cuh"

#ifdef LATHE_HOST
#include "lathe/host/views.h"
#else

namespace lathe::device {

/// A kernel's parameter: a pointer to global memory, 16-byte aligned. The first dimension is unknown and its index is
/// widened to 64 bits before it is multiplied.
template <class T, int... kInner> struct Global {
  T *data;

  template <class... Rest> LATHE_DEVICE T &operator()(long long first, Rest... rest) const {
    return *at(first, rest...);
  }
  template <class... Rest> LATHE_DEVICE T *at(long long first, Rest... rest) const {
    static_assert(sizeof...(Rest) == sizeof...(kInner), "one index a dimension");
    long long row = first;
    ((row *= kInner), ...);
    int inner = 0;
    ((inner = inner * kInner + static_cast<int>(rest)), ...);
    return data + row + inner;
  }
};

/// A member of what the block shares; sizeof(T) times its elements, 16-byte aligned.
template <class T, int kFirst, int... kInner> struct alignas(16) Shared {
  T data[(kFirst * ... * kInner)];

  template <class... Rest> LATHE_DEVICE T &operator()(int first, Rest... rest) { return *at(first, rest...); }
  template <class... Rest> LATHE_DEVICE const T &operator()(int first, Rest... rest) const {
    return *at(first, rest...);
  }
  template <class... Rest> LATHE_DEVICE T *at(int first, Rest... rest) { return data + offset(first, rest...); }
  template <class... Rest> LATHE_DEVICE const T *at(int first, Rest... rest) const {
    return data + offset(first, rest...);
  }

private:
  template <class... Rest> LATHE_DEVICE static int offset(int first, Rest... rest) {
    static_assert(sizeof...(Rest) == sizeof...(kInner), "one index a dimension");
    int index = first;
    ((index = index * kInner + static_cast<int>(rest)), ...);
    return index;
  }
};

} // namespace lathe::device

#endif
