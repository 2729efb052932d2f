//===- MappedFile.h - a file mapped read-only -----------------------------===//
#pragma once

#include "runtime/support/Error.h"

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace lathe {

/// Owns a read-only mapping of a whole regular file. An empty file has empty bytes.
class MappedFile {
public:
  static Result<std::shared_ptr<const MappedFile>> open(const std::string &path);
  ~MappedFile();
  MappedFile(const MappedFile &) = delete;
  MappedFile &operator=(const MappedFile &) = delete;

  std::span<const std::byte> bytes() const { return {data, size}; }
  std::string_view text() const { return {reinterpret_cast<const char *>(data), size}; }
  const std::string &path() const { return name; }

private:
  MappedFile(std::string name, const std::byte *data, size_t size) : name(std::move(name)), data(data), size(size) {}
  std::string name;
  const std::byte *data;
  size_t size;
};

/// "config.json", not "/home/me/x/config.json": what may go into artifacts and locations.
std::string baseName(std::string_view path);

} // namespace lathe
