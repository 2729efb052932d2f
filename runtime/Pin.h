//===- Pin.h - a worker kept on a CPU of its own --------------------------===//
#pragma once

#include <cstdint>
#include <memory>

namespace lathe {

/// While it lives, the thread that made it runs on one CPU only: the `worker`-th of those it may run on (from the start
/// again where there are fewer). Two workers that the system puts on one CPU would halve what a probe finds.
class Pin {
public:
  explicit Pin(int64_t worker);
  ~Pin();
  Pin(const Pin &) = delete;
  Pin &operator=(const Pin &) = delete;

private:
  struct Affinity;
  std::unique_ptr<Affinity> before; ///< null where the system did not say
};

} // namespace lathe
