//===- views.h - views.cuh on the CPU ---------------------------------------===//
//
// An element is a proxy that tells loads from stores. Bounds are always checked; races and missing initialisation only
// where the launch asks for it.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "lathe/numbers.cuh"

namespace lathe::device {

namespace host {

template <class T> struct RemoveConst {
  using Type = T;
};
template <class T> struct RemoveConst<const T> {
  using Type = T;
};

/// The first index of an access, which brings along where the access stands.
struct Index {
  long long value;
  Where where;
  Index(long long value, const char *file = __builtin_FILE(), int line = __builtin_LINE())
      : value(value), where{file, line} {}
};

} // namespace host

/// An element that a kernel may write.
template <class T, class View> class Element {
public:
  Element(T *pointer, const View &view, Where where) : pointer(pointer), view(view), where(where) {}
  Element(const Element &) = default;

  operator T() const {
    view.track(pointer, false, where);
    return *pointer;
  }
  T operator=(T value) const {
    view.track(pointer, true, where);
    return *pointer = value;
  }
  T operator=(const Element &other) const { return *this = static_cast<T>(other); }
  T operator+=(T value) const { return *this = static_cast<T>(*this) + value; }

private:
  T *pointer;
  const View &view;
  Where where;
};

/// Where library functions read or write in global memory.
template <class T> struct GlobalAddress {
  T *pointer;
  const host::Extent *extent;
  Where where;

  GlobalAddress operator+(long long count) const { return {pointer + count, extent, where}; }
};

/// The same in shared memory: [begin, end) is the view.
template <class T> struct SharedAddress {
  T *pointer, *begin, *end;
  Where where;

  SharedAddress operator+(int count) const { return {pointer + count, begin, end, where}; }
};

template <class T, int... kInner> struct Global {
  using Value = typename host::RemoveConst<T>::Type;
  T *data;
  const host::Extent *extent;

  /// The view of a parameter of the launch that runs.
  static Global of(int parameter) {
    const host::Extent &extent = host::extent(parameter);
    return {reinterpret_cast<T *>(extent.begin), &extent};
  }

  template <class... Rest> auto operator()(host::Index first, Rest... rest) const {
    T *element = find(first, rest...);
    if constexpr (__is_same(T, Value)) {
      return Element<T, Global>(element, *this, first.where);
    } else {
      track(element, false, first.where);
      return Value(*element);
    }
  }
  template <class... Rest> GlobalAddress<T> at(host::Index first, Rest... rest) const {
    return {find(first, rest...), extent, first.where};
  }

  void track(const T *element, bool writes, Where where) const {
    if (host::executor.check)
      host::trackGlobal(*extent, element, sizeof(T), writes, where);
  }

private:
  template <class... Rest> T *find(host::Index first, Rest... rest) const {
    static_assert(sizeof...(Rest) == sizeof...(kInner), "one index a dimension");
    unsigned long long offset = static_cast<unsigned long long>(first.value);
    bool inside = offset < extent->bytes; // so that the products below cannot overflow
    ((inside &= static_cast<unsigned long long>(rest) < static_cast<unsigned long long>(kInner),
      offset = offset * kInner + static_cast<unsigned long long>(rest)),
     ...);
    if (!inside || (offset + 1) * sizeof(T) > extent->bytes) [[unlikely]] {
      const long long index[] = {first.value, static_cast<long long>(rest)...};
      const int dims[] = {-1, kInner...};
      host::outOfBounds("parameter", extent->parameter, index, dims, sizeof...(Rest) + 1, extent->bytes / sizeof(T),
                        first.where);
    }
    return data + offset;
  }
};

template <class T, int kFirst, int... kInner> struct alignas(16) Shared {
  T data[(kFirst * ... * kInner)];

  template <class... Rest> auto operator()(host::Index first, Rest... rest) {
    return Element<T, Shared>(data + find(first, rest...), *this, first.where);
  }
  template <class... Rest> T operator()(host::Index first, Rest... rest) const {
    const T *element = data + find(first, rest...);
    track(element, false, first.where);
    return *element;
  }
  template <class... Rest> SharedAddress<T> at(host::Index first, Rest... rest) {
    return {data + find(first, rest...), data, data + (kFirst * ... * kInner), first.where};
  }
  template <class... Rest> SharedAddress<const T> at(host::Index first, Rest... rest) const {
    return {data + find(first, rest...), data, data + (kFirst * ... * kInner), first.where};
  }

  void track(const T *element, bool writes, Where where) const {
    if (!host::executor.check)
      return;
    if (writes)
      host::trackShared(element, sizeof(T), true, where);
    else
      host::trackSharedRead(element, sizeof(T), where);
  }

private:
  template <class... Rest> static int find(host::Index first, Rest... rest) {
    static_assert(sizeof...(Rest) == sizeof...(kInner), "one index a dimension");
    unsigned long long offset = static_cast<unsigned long long>(first.value);
    bool inside = offset < kFirst;
    ((inside &= static_cast<unsigned long long>(rest) < static_cast<unsigned long long>(kInner),
      offset = offset * kInner + static_cast<unsigned long long>(rest)),
     ...);
    if (!inside) [[unlikely]] {
      const long long index[] = {first.value, static_cast<long long>(rest)...};
      const int dims[] = {kFirst, kInner...};
      host::outOfBounds("shared memory", 0, index, dims, sizeof...(Rest) + 1, 0, first.where);
    }
    return static_cast<int>(offset);
  }
};

//===--- What primitives.cuh has on addresses -------------------------------===//

namespace host {

[[noreturn]] LATHE_HIDDEN void outside16(const char *what, const void *pointer, const void *begin, const void *end,
                                         Where where);

template <class T> void check16(SharedAddress<T> at, bool writes) {
  const char *pointer = reinterpret_cast<const char *>(at.pointer);
  if (at.pointer < at.begin || pointer + 16 > reinterpret_cast<const char *>(at.end) ||
      reinterpret_cast<unsigned long long>(pointer) % 16 != 0) [[unlikely]]
    outside16("shared memory", at.pointer, at.begin, at.end, at.where);
  if (executor.check)
    for (int i = 0; i < static_cast<int>(16 / sizeof(T)); ++i)
      writes ? trackShared(at.pointer + i, sizeof(T), true, at.where)
             : trackSharedRead(at.pointer + i, sizeof(T), at.where);
}

template <class T> void check16(GlobalAddress<T> at, bool streams) {
  const char *pointer = reinterpret_cast<const char *>(at.pointer), *end = at.extent->begin + at.extent->bytes;
  if (pointer < at.extent->begin || pointer + 16 > end || reinterpret_cast<unsigned long long>(pointer) % 16 != 0)
      [[unlikely]]
    outside16("a parameter", pointer, at.extent->begin, end, at.where);
  if (!executor.check)
    return;
  if (streams && at.extent->cells)
    report(at.where, "load_streaming_16 of memory that this launch writes (parameter %d)", at.extent->parameter);
  if (streams && executor.dependent && !at.extent->weight)
    report(at.where, "load_streaming_16, which may go before dependency_wait, of parameter %d, which is no weight",
           at.extent->parameter);
  if (!streams)
    for (int i = 0; i < static_cast<int>(16 / sizeof(T)); ++i)
      trackGlobal(*at.extent, at.pointer + i, sizeof(T), false, at.where);
}

template <class T> Bytes16 bytesAt(const T *pointer) {
  Bytes16 x;
  __builtin_memcpy(&x, pointer, 16);
  return x;
}

/// What a thread brings to load_matrix_x4: a row, and where its registers are.
struct MatrixRow {
  unsigned *registers;
  const char *row;
  int elementBytes;
  Where where;
};

} // namespace host

template <class T> Bytes16 load_shared_16(SharedAddress<T> from) {
  host::check16(from, false);
  return host::bytesAt(from.pointer);
}
template <class T> Bytes16 load_global_16(GlobalAddress<T> from) {
  host::check16(from, false);
  return host::bytesAt(from.pointer);
}
template <class T> Bytes16 load_streaming_16(GlobalAddress<T> from) {
  host::check16(from, true);
  return host::bytesAt(from.pointer);
}

template <class T> Bytes16 load_cached_16(GlobalAddress<T> from) { return load_streaming_16(from); }

template <class T> void prefetch(GlobalAddress<T> from) {
  const char *pointer = reinterpret_cast<const char *>(from.pointer);
  if (pointer < from.extent->begin || pointer >= from.extent->begin + from.extent->bytes) [[unlikely]]
    host::outside16("a parameter", pointer, from.extent->begin, from.extent->begin + from.extent->bytes, from.where);
  if (!from.extent->weight && !host::executor.ready[host::executor.thread])
    host::expectReady("what is no weight", from.where);
}

template <class T> void load_matrix_x4(unsigned (&registers)[4], SharedAddress<T> row LATHE_HERE) {
  const bool check = host::executor.check;
  host::executor.check = false; // the lanes that get the bytes are those that read
  host::check16(row, false);
  host::executor.check = check;
  host::MatrixRow mine = {registers, reinterpret_cast<const char *>(row.pointer), sizeof(T), row.where};
  meet(host::Scope::warp, "load_matrix_x4", false, host::loadMatrices, &mine, where);
}

template <class T, class U> void async_copy_16(SharedAddress<T> to, GlobalAddress<U> from, bool valid) {
  static_assert(sizeof(T) == sizeof(U), "a copy changes no element");
  host::check16(to, true);
  if (valid)
    host::check16(from, false);
  host::startCopy(reinterpret_cast<char *>(to.pointer), sizeof(T),
                  valid ? reinterpret_cast<const char *>(from.pointer) : nullptr, to.where);
}
inline void async_commit() { host::closeCopies(); }
template <int kGroups> void async_wait() { host::finishCopies(kGroups); }

template <class Memory> Memory &shared_memory(LATHE_HERE_ONLY) {
  return *reinterpret_cast<Memory *>(host::sharedMemory(sizeof(Memory), where));
}

} // namespace lathe::device
