//===- Zip.h - the one form of zip that artifacts have --------------------===//
//
// Stored members, aligned by an extra field (id 0xd935, as Android's zipalign does), dates and
// attributes constant, zip64 records only where a number needs them. Format: PKWARE APPNOTE 6.3.10.
// The reader accepts exactly what the writer writes: it parses, encodes again and compares.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/support/Error.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lathe {

/// A stored member. Offsets are from the start of the file.
struct ZipEntry {
  std::string name;
  uint64_t header = 0; ///< of the local header
  uint64_t offset = 0; ///< of the data
  uint64_t bytes = 0;
  uint32_t crc = 0; ///< CRC-32 of the data
};

/// Where the data of a member begins whose local header is put at `header`, so that it is aligned and the
/// header has room for any size.
uint64_t zipDataOffset(uint64_t header, std::string_view name, uint64_t align);
/// The bytes from `header` up to the data.
std::string zipLocalHeader(const ZipEntry &entry);
/// The central directory and end records, to be written at `offset`; `entries` in the order that people see.
std::string zipDirectory(const std::vector<ZipEntry> &entries, uint64_t offset);
/// Continues a CRC-32 (0 to begin).
uint32_t zipCrc(uint32_t crc, std::span<const std::byte> data);

/// The members of a whole file. Headers, order of bytes and sizes are checked so that every byte of the file belongs to
/// exactly one header, member or record; CRCs are not (they cost a pass over the data).
Result<std::vector<ZipEntry>> readZip(std::span<const std::byte> file, const std::string &path);

} // namespace lathe
