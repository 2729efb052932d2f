//===- fibers.h - the threads of a block ------------------------------------===//
#pragma once

#include "lathe/host/executor.h"

#include <string>

namespace lathe::device::host {

/// Runs all threads of the block that executor describes. False where some of them wait for ever; `report` says which,
/// or what `report()` was called with.
bool runBlock(void (*thread)(), std::string &report);

/// A generator of orders (xorshift); 0 gives 0 for ever.
class Order {
public:
  void seed(unsigned long long value) { state = value; }
  unsigned long long next() {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
  }
  unsigned below(unsigned count) { return static_cast<unsigned>((next() >> 16) % count); }

private:
  unsigned long long state = 0;
};
extern LATHE_HIDDEN Order order;

} // namespace lathe::device::host
