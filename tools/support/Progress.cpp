#include "tools/support/Progress.h"

#include "tools/support/Terminal.h"

#include <algorithm>
#include <cstdio>
#include <fmt/format.h>
#include <unistd.h>

namespace lathe {

void Progress::operator()(const std::string &what, int64_t done, int64_t total) {
  auto now = Clock::now();
  if (!isTerminal(STDERR_FILENO) || seconds() < 1 || (what == last && now - shown < std::chrono::milliseconds(100)))
    return;
  shown = now, last = what, visible = true;
  constexpr int width = 24;
  std::string bar;
  if (total > 1) {
    double share = std::clamp(double(done) / double(total), 0.0, 1.0);
    int full = static_cast<int>(share * width);
    bar = fmt::format("[{:#<{}}{:.<{}}] {:3.0f} % ", "", full, "", width - full, share * 100);
  }
  // Cut to the line: one that wraps would not be written over.
  std::string line = fmt::format("{}{} ({:.1f} s)", bar, what, seconds());
  line.resize(std::min(line.size(), static_cast<size_t>(std::max(1, columnsOf(STDERR_FILENO) - 1))));
  fmt::print(stderr, "\r\033[K{}", line);
}

void Progress::clear() {
  if (visible)
    fmt::print(stderr, "\r\033[K");
  visible = false;
}

double Progress::seconds() const { return std::chrono::duration<double>(Clock::now() - start).count(); }

} // namespace lathe
