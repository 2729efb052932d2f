// Launching kernels on the host with vectors as buffers.
#pragma once

#include "lathe/host/launch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace lathe::device::testing {

/// Memory on a 16-byte boundary.
template <class T> class Buffer {
public:
  explicit Buffer(size_t count = 0) : storage((count * sizeof(T) + 15) / 16), count(count) { poison(); }

  T *data() { return reinterpret_cast<T *>(storage.data()); }
  const T *data() const { return reinterpret_cast<const T *>(storage.data()); }
  T &operator[](size_t i) { return data()[i]; }
  const T &operator[](size_t i) const { return data()[i]; }
  size_t size() const { return count; }
  /// NaN in every type.
  void poison() {
    std::fill(storage.begin(), storage.end(), Line{{-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1}});
  }

private:
  struct alignas(16) Line {
    char bytes[16];
  };
  std::vector<Line> storage;
  size_t count;
};

inline uint16_t toBf16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
inline float fromBf16(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

/// Numbers around 0, the same for a seed.
Buffer<float> randomFloats(size_t count, unsigned seed);
/// The same rounded to bf16.
Buffer<uint16_t> randomBf16(size_t count, unsigned seed);

/// A launch; buffers in the order of the kernel's parameters.
class Launch {
public:
  Launch(const char *kernel, int gridX, int gridY) {
    launch.kernel = kernel;
    launch.gridX = gridX;
    launch.gridY = gridY;
    launch.check = true;
    array(kCounts, {0, 0, 0, 0});
  }

  template <class T> Launch &buffer(const Buffer<T> &buffer) {
    buffers.push_back(const_cast<T *>(buffer.data()));
    bytes.push_back(buffer.size() * sizeof(T));
    return *this;
  }
  Launch &array(BatchArray which, std::vector<int> values) {
    arrays[which] = std::move(values);
    return *this;
  }
  Launch &rows(int rows) { return array(kCounts, {rows, 1, rows, 0}); }
  Launch &counters(int count) {
    counterValues.assign(static_cast<size_t>(count), 0);
    return *this;
  }
  Launch &seed(unsigned long long seed) {
    launch.seed = seed;
    return *this;
  }
  Launch &pageStride(int stride) {
    launch.batch.pageStride = stride;
    return *this;
  }
  Launch &check(bool check) {
    launch.check = check;
    return *this;
  }
  Launch &dependent() {
    launch.dependent = true;
    return *this;
  }
  Launch &weights(std::vector<char> which) {
    weightFlags = std::move(which);
    return *this;
  }
  /// The report, or nothing.
  std::string run() {
    launch.buffers = buffers.data();
    launch.bytes = bytes.data();
    launch.bufferCount = static_cast<int>(buffers.size());
    launch.weights = weightFlags.empty() ? nullptr : reinterpret_cast<const bool *>(weightFlags.data());
    for (int i = 0; i < kBatchArrays; ++i) {
      launch.batch.arrays[i] = arrays[i].data();
      launch.batchBytes[i] = arrays[i].size() * sizeof(int);
    }
    launch.batch.counters = counterValues.data();
    launch.counterBytes = counterValues.size() * sizeof(int);
    const char *report = lathe_host_launch(&launch);
    return report ? report : "";
  }
  const std::vector<int> &counterState() const { return counterValues; }

private:
  HostLaunch launch{};
  std::vector<void *> buffers;
  std::vector<unsigned long long> bytes;
  std::vector<char> weightFlags; ///< of each buffer, 0 or 1
  std::vector<int> arrays[kBatchArrays], counterValues;
};

} // namespace lathe::device::testing
