//===- Parallel.h - independent tasks on all processors --------------------===//
#pragma once

#include "runtime/support/Error.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace lathe {

inline int64_t processorCount() { return std::max(1u, std::thread::hardware_concurrency()); }

/// Calls `task`, a Result<void>(int64_t), for 0 to count - 1, begun in this order, on up to `threads` threads (0: as
/// many as there are processors), the caller's among them. All are called; of several errors, the first task's is
/// given.
template <typename Task> Result<void> inParallel(int64_t count, Task task, int64_t threads = 0) {
  std::vector<Result<void>> done(static_cast<size_t>(count));
  std::atomic<int64_t> next = 0;
  auto work = [&] {
    for (int64_t at; (at = next.fetch_add(1)) < count;)
      done[static_cast<size_t>(at)] = task(at);
  };
  {
    std::vector<std::jthread> others;
    for (int64_t thread = 1; thread < std::min(threads ? threads : processorCount(), count); ++thread)
      others.emplace_back(work);
    work();
  }
  for (Result<void> &result : done)
    if (!result)
      return std::move(result);
  return {};
}

} // namespace lathe
