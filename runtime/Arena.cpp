#include "runtime/Arena.h"

#include "runtime/CpuFeatures.h"

#include <cerrno>
#include <cstring>
#include <sys/mman.h>

namespace lathe {

Result<Arena> Arena::create(uint64_t bytes, std::string_view what, bool huge) {
  if (bytes == 0)
    return Arena();
  // The kernel grants more than there is and kills later; refuse while there is somebody to tell.
  if (uint64_t available = availableMemory(); bytes > available)
    return fail(ExitCode::resource, "{} takes {} bytes, {} are available", what, bytes, available);
  void *base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED)
    return fail(ExitCode::resource, "{} takes {} bytes: {}", what, bytes, std::strerror(errno));
  if (huge)
    madvise(base, bytes, MADV_HUGEPAGE);
  return Arena(static_cast<std::byte *>(base), bytes);
}

Arena::~Arena() {
  if (base)
    munmap(base, length);
}

} // namespace lathe
