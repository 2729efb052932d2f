//===- Interrupt.h - ending cleanly on a signal ---------------------------===//
#pragma once

namespace lathe {

/// SIGINT, SIGTERM and SIGHUP from now on end the process at once with exit code 130 (128 + the signal's number for
/// the other two), after removing the files named by `removeOnInterrupt`. Standard output needs no
/// flush: Lathe writes it unbuffered.
void endOnInterrupt();

/// Files, and folders that are empty without them, that must not outlive an interrupted process. `path` must stay valid
/// until `keepOnInterrupt(path)`. At most eight at a time; more are ignored.
void removeOnInterrupt(const char *path);
void keepOnInterrupt(const char *path);

/// While one lives, SIGINT only sets a flag: what runs asks for it and ends itself. Signals that were ignored stay so.
class InterruptFlag {
public:
  InterruptFlag();
  ~InterruptFlag(); ///< what SIGINT did before, it does again
  InterruptFlag(const InterruptFlag &) = delete;
  InterruptFlag &operator=(const InterruptFlag &) = delete;
  bool raised() const;
  void clear();
};

} // namespace lathe
