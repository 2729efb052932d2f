#include "runtime/CodeObject.h"

#include <cerrno>
#include <cstring>
#include <dlfcn.h>
#include <elf.h>
#include <sys/mman.h>
#include <unistd.h>

namespace lathe {
namespace {

Result<void> writeAll(int fd, std::span<const std::byte> image, const std::string &name) {
  while (!image.empty()) {
    ssize_t count = write(fd, image.data(), image.size());
    if (count < 0 && errno == EINTR)
      continue;
    if (count < 0)
      return fail(ExitCode::resource, "{}: cannot copy {} bytes into memory: {}", name, image.size(),
                  std::strerror(errno));
    image = image.subspan(static_cast<size_t>(count));
  }
  return {};
}

bool isObjectForThisMachine(std::span<const std::byte> image) {
  Elf64_Ehdr header;
  if (image.size() < sizeof header)
    return false;
  std::memcpy(&header, image.data(), sizeof header);
  return std::memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 && header.e_ident[EI_CLASS] == ELFCLASS64 &&
         header.e_type == ET_DYN && header.e_machine == EM_X86_64;
}

} // namespace

Result<std::unique_ptr<CodeObject>> CodeObject::load(std::span<const std::byte> image, const std::string &name) {
  if (!isObjectForThisMachine(image))
    return fail(ExitCode::badInput, "{}: expected a shared object for x86-64", name);
  int fd = memfd_create("lathe-kernels", MFD_CLOEXEC);
  if (fd < 0)
    return fail(ExitCode::resource, "{}: cannot make a file in memory: {}", name, std::strerror(errno));
  if (auto written = writeAll(fd, image, name); !written) {
    ::close(fd);
    return propagate(written);
  }
  void *handle = dlopen(fmt::format("/proc/self/fd/{}", fd).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    std::string why = dlerror();
    ::close(fd);
    return fail(ExitCode::badInput, "{}: cannot load the code: {}", name, why);
  }
  // The descriptor stays open: the loader takes two objects of one path for the same, and a number that is free again
  // would make that path once more.
  return std::unique_ptr<CodeObject>(new CodeObject(handle, fd, name));
}

CodeObject::~CodeObject() {
  dlclose(handle);
  ::close(fd);
}

Result<void *> CodeObject::address(const std::string &symbol) const {
  void *address = dlsym(handle, symbol.c_str());
  if (!address)
    return fail(ExitCode::badInput, "{}: no symbol {}, which plan.json calls for", name, symbol);
  return address;
}

Result<KernelFn> CodeObject::kernel(const std::string &symbol) const {
  auto found = address(symbol);
  if (!found)
    return propagate(found);
  return reinterpret_cast<KernelFn>(*found);
}

} // namespace lathe
