//===- Arena.h - anonymous memory, in one piece ---------------------------===//
#pragma once

#include "runtime/support/Error.h"

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

namespace lathe {

/// Zero-filled memory whose pages appear when they are first touched, aligned to 4096 bytes.
class Arena {
public:
  Arena() = default;
  /// `what` names the memory in the error, which states the bytes wanted and those that are available. `huge` asks for
  /// huge pages (memory that is used in full soon; a first touch then costs 2 MiB).
  static Result<Arena> create(uint64_t bytes, std::string_view what, bool huge);
  Arena(Arena &&other) noexcept : base(std::exchange(other.base, nullptr)), length(std::exchange(other.length, 0)) {}
  Arena &operator=(Arena &&other) noexcept {
    std::swap(base, other.base);
    std::swap(length, other.length);
    return *this;
  }
  ~Arena();

  std::byte *data() const { return base; }
  uint64_t bytes() const { return length; }

private:
  Arena(std::byte *base, uint64_t length) : base(base), length(length) {}
  std::byte *base = nullptr;
  uint64_t length = 0;
};

} // namespace lathe
