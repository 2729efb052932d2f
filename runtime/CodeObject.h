//===- CodeObject.h - the kernels of one ISA tier, ready to call ----------===//
#pragma once

#include "runtime/Abi.h"
#include "runtime/support/Error.h"

#include <memory>
#include <span>
#include <string>

namespace lathe {

/// A shared object that was loaded from memory: its pages are mapped read-only, the code then executable.
class CodeObject {
public:
  /// `name` ("kernels/avx512vnni.so") is for errors. The code comes from the compiler and is trusted as a program is.
  static Result<std::unique_ptr<CodeObject>> load(std::span<const std::byte> image, const std::string &name);
  ~CodeObject();
  CodeObject(const CodeObject &) = delete;
  CodeObject &operator=(const CodeObject &) = delete;

  /// The kernel behind a symbol; valid while the object lives.
  Result<KernelFn> kernel(const std::string &symbol) const;
  /// What any other symbol stands for.
  Result<void *> address(const std::string &symbol) const;

private:
  CodeObject(void *handle, int fd, std::string name) : handle(handle), fd(fd), name(std::move(name)) {}
  void *handle;
  int fd; ///< of the image in memory
  std::string name;
};

} // namespace lathe
