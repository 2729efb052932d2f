//===- AtomicFile.h - a file that appears whole or not at all -------------===//
//
// Writing goes to `.NAME.PID.partial` in the same folder; `commit` syncs it and renames it over
// the final name. A process that is killed leaves at most that file, and the next AtomicFile
// for the same name removes it (its writer held a lock on it, which died with it).
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/support/Error.h"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace lathe {

class AtomicFile {
public:
  /// A symbolic link is followed; anything but a regular file under the name is refused.
  static Result<std::unique_ptr<AtomicFile>> create(const std::string &path);
  ~AtomicFile(); ///< removes the temporary file unless committed
  AtomicFile(const AtomicFile &) = delete;
  AtomicFile &operator=(const AtomicFile &) = delete;

  /// Appends. A full disk, quota or file size limit is ExitCode::resource.
  Result<void> write(std::string_view data);
  Result<void> writeAt(uint64_t offset, std::string_view data);
  /// Makes sure that [0, size) has room on disk, so that a mapping of it can be written.
  Result<void> reserve(uint64_t size);
  /// Cuts or extends to `size` bytes; appending goes on there.
  Result<void> resize(uint64_t size);
  Result<void> commit();

  int descriptor() const { return fd; }
  uint64_t size() const { return position; }
  const std::string &path() const { return target; }
  /// What an errno of a failed call on this file means to people.
  std::unexpected<Error> failure(std::string_view what, int number) const;

private:
  AtomicFile(std::string target, std::string temporary, int fd)
      : target(std::move(target)), temporary(std::move(temporary)), fd(fd) {}
  std::string target, temporary;
  int fd;
  uint64_t position = 0, reserved = 0;
  bool committed = false;
};

} // namespace lathe
