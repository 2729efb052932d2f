//===- entry.h - from a launch to a kernel's parameters ---------------------===//
#pragma once

#include "lathe/batch.cuh"
#include "lathe/views.cuh"

namespace lathe::device::host {

template <class View> struct Described;
template <class T, int... kInner> struct Described<Global<T, kInner...>> {
  static constexpr Parameter parameter = {sizeof(T), __is_same(T, typename RemoveConst<T>::Type)};
};

template <int... kIndex> struct Indices {};
template <int kCount, int... kIndex> struct MakeIndices : MakeIndices<kCount - 1, kCount - 1, kIndex...> {};
template <int... kIndex> struct MakeIndices<0, kIndex...> {
  using Type = Indices<kIndex...>;
};

/// Calls a kernel with the buffers of the launch that runs.
template <class Function, Function kKernel> struct Entry;
template <class... Views, void (*kKernel)(Batch, Views...)> struct Entry<void (*)(Batch, Views...), kKernel> {
  static constexpr Parameter parameters[sizeof...(Views) + 1] = {Described<Views>::parameter..., {}};

  template <int... kIndex> static void call(const Batch &batch, Indices<kIndex...>) {
    kKernel(batch, Views::of(kIndex)...);
  }
  static void run() {
    Batch batch;
    static_cast<BatchData &>(batch) = executor.launch->batch;
    call(batch, typename MakeIndices<sizeof...(Views)>::Type());
  }
  static Kernel kernel(const char *name, int threads) {
    return Kernel(name, threads, parameters, sizeof...(Views), run);
  }
};

} // namespace lathe::device::host

/// Behind a kernel's text: makes it known to lathe_host_launch. The text defines kThreads.
#define LATHE_HOST_KERNEL(NAME)                                                                                        \
  static ::lathe::device::host::Kernel latheHostKernel_##NAME =                                                        \
      ::lathe::device::host::Entry<decltype(&NAME), &NAME>::kernel(#NAME, kThreads);
