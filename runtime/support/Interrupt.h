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

} // namespace lathe
