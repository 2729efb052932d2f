//===- Progress.h - a bar for what takes long -----------------------------===//
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace lathe {

/// A line on standard error that is written over: what goes on, and how much of it is done. Only on a terminal, and
/// only once a second has gone by; a file or a pipe gets nothing.
class Progress {
public:
  /// `total` at most 1: nobody knows how much there is.
  void operator()(const std::string &what, int64_t done, int64_t total);
  /// Takes the line away, before something else is written.
  void clear();
  double seconds() const;

private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start = Clock::now(), shown = start;
  std::string last;
  bool visible = false;
};

} // namespace lathe
