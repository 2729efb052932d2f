#include "runtime/support/AtomicFile.h"

#include "runtime/support/Interrupt.h"
#include "runtime/support/MappedFile.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace lathe {
namespace {

constexpr std::string_view kSuffix = ".partial";

std::unexpected<Error> describe(const std::string &path, std::string_view what, int number) {
  bool full = number == ENOSPC || number == EDQUOT || number == EFBIG || number == ENOMEM || number == EIO;
  return fail(full ? ExitCode::resource : ExitCode::badInput, "{}: cannot {}: {}", path, what, std::strerror(number));
}

std::string folderOf(const std::string &path) {
  size_t slash = path.rfind('/');
  if (slash == std::string::npos)
    return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

/// Removes what killed writers of the same file left: nobody holds the lock any more.
void removeStale(const std::string &folder, const std::string &prefix) {
  DIR *entries = opendir(folder.c_str());
  if (!entries)
    return;
  while (const dirent *entry = readdir(entries)) {
    std::string_view name = entry->d_name;
    if (!name.starts_with(prefix) || !name.ends_with(kSuffix) || name.size() <= prefix.size() + kSuffix.size())
      continue;
    std::string_view owner = name.substr(prefix.size(), name.size() - prefix.size() - kSuffix.size());
    if (owner.find_first_not_of("0123456789") != std::string_view::npos)
      continue;
    int fd = openat(dirfd(entries), entry->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
      continue;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
      unlinkat(dirfd(entries), entry->d_name, 0);
    ::close(fd);
  }
  closedir(entries);
}

} // namespace

std::unexpected<Error> AtomicFile::failure(std::string_view what, int number) const {
  return describe(target, what, number);
}

Result<std::unique_ptr<AtomicFile>> AtomicFile::create(const std::string &path) {
  std::string target = path;
  mode_t mode = 0;
  struct stat info;
  if (stat(path.c_str(), &info) == 0) {
    if (!S_ISREG(info.st_mode))
      return fail(ExitCode::badInput, "{}: expected a regular file or a new name", path);
    mode = info.st_mode & 0777;
    if (char *real = realpath(path.c_str(), nullptr)) {
      target = real;
      std::free(real);
    }
  }
  if (target.empty() || target.back() == '/')
    return fail(ExitCode::badInput, "'{}': expected the name of a file", path);
  std::string folder = folderOf(target), prefix = fmt::format(".{}.", baseName(target));
  removeStale(folder, prefix);
  for (int attempt = 0; attempt < 100; ++attempt) {
    std::string temporary =
        fmt::format("{}/{}{}{}{}", folder, prefix, getpid(), attempt ? std::to_string(attempt) : "", kSuffix);
    int fd = open(temporary.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0 && errno == EEXIST)
      continue;
    if (fd < 0)
      return describe(path, "write in its folder", errno);
    // Another process may have taken the file for a stale one before the lock was ours.
    if (flock(fd, LOCK_EX) != 0 || fstat(fd, &info) != 0 || info.st_nlink == 0) {
      ::close(fd);
      continue;
    }
    if (mode)
      (void)!fchmod(fd, mode);
    std::unique_ptr<AtomicFile> file(new AtomicFile(target, temporary, fd));
    removeOnInterrupt(file->temporary.c_str());
    return file;
  }
  return fail(ExitCode::badInput, "{}: cannot make a temporary file beside it: 100 names are taken", path);
}

AtomicFile::~AtomicFile() {
  if (!committed)
    unlink(temporary.c_str());
  keepOnInterrupt(temporary.c_str());
  ::close(fd);
}

Result<void> AtomicFile::write(std::string_view data) {
  if (auto done = writeAt(position, data); !done)
    return done;
  position += data.size();
  return {};
}

Result<void> AtomicFile::writeAt(uint64_t offset, std::string_view data) {
  while (!data.empty()) {
    ssize_t count = pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR)
      continue;
    if (count < 0)
      return failure("write", errno);
    data.remove_prefix(static_cast<size_t>(count));
    offset += static_cast<uint64_t>(count);
  }
  return {};
}

Result<void> AtomicFile::reserve(uint64_t size) {
  if (size <= std::max(position, reserved))
    return {};
  // Large steps keep a file's blocks together; the exact size is for a disk that has room for no more.
  uint64_t ahead = size + std::min<uint64_t>(size, 64 << 20);
  for (uint64_t end : {ahead, size}) {
    uint64_t begin = std::max(position, reserved);
    int error = EINTR;
    while (error == EINTR)
      error = posix_fallocate(fd, static_cast<off_t>(begin), static_cast<off_t>(end - begin));
    if (error == 0) {
      reserved = end;
      return {};
    }
    if (end == size)
      return failure(fmt::format("reserve {} bytes", size), error);
    // What a failed attempt got must not stand in the way of the smaller one.
    if (ftruncate(fd, static_cast<off_t>(begin)) != 0)
      return failure("cut", errno);
  }
  return {};
}

Result<void> AtomicFile::resize(uint64_t size) {
  if (ftruncate(fd, static_cast<off_t>(size)) != 0)
    return failure(fmt::format("resize to {} bytes", size), errno);
  position = reserved = size;
  return {};
}

Result<void> AtomicFile::commit() {
  if (fsync(fd) != 0)
    return failure("sync", errno);
  if (rename(temporary.c_str(), target.c_str()) != 0)
    return failure("rename the finished file", errno);
  committed = true;
  int folder = open(folderOf(target).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder >= 0) { // the name itself must survive a power cut as well; not every file system can
    (void)fsync(folder);
    ::close(folder);
  }
  return {};
}

} // namespace lathe
