#include "runtime/Zip.h"

#include <algorithm>
#include <cstring>
#include <zlib.h>

namespace lathe {
namespace {

constexpr uint32_t kLocal = 0x04034b50, kCentral = 0x02014b50, kEnd = 0x06054b50, kEnd64 = 0x06064b50,
                   kLocator = 0x07064b50;
constexpr uint64_t kLocalBytes = 30, kCentralBytes = 46, kEndBytes = 22, kEnd64Bytes = 56, kLocatorBytes = 20;
constexpr uint64_t kZip64Extra = 20, kAlignExtra = 6, kMaxName = 255, kMaxAlign = 4096;
constexpr uint16_t kAlignId = 0xd935, kZip64Id = 1, kDate = 0x0021; // 1980-01-01
constexpr uint32_t kBig = 0xffffffff;

void put(std::string &out, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i)
    out.push_back(static_cast<char>(value >> (8 * i)));
}

uint64_t get(std::span<const std::byte> file, uint64_t at, int bytes) {
  uint64_t value = 0;
  for (int i = 0; i < bytes; ++i)
    value |= std::to_integer<uint64_t>(file[at + i]) << (8 * i);
  return value;
}

bool needsZip64(uint64_t number) { return number >= kBig; }
uint32_t field(uint64_t number) { return static_cast<uint32_t>(std::min<uint64_t>(number, kBig)); }
uint16_t version(bool zip64) { return zip64 ? 45 : 20; }

/// The alignment that a data offset has, which the extra field records.
uint64_t alignmentOf(uint64_t offset) {
  return offset == 0 ? kMaxAlign : std::min<uint64_t>(offset & (~offset + 1), kMaxAlign);
}

std::unexpected<Error> damaged(const std::string &path, uint64_t byte, std::string_view why) {
  return fail(ExitCode::badInput, "{}: byte {}: {}: the file is no artifact, or truncated or altered; compile it again",
              path, byte, why);
}

bool matches(std::span<const std::byte> file, uint64_t at, std::string_view bytes) {
  return at <= file.size() && bytes.size() <= file.size() - at &&
         std::memcmp(file.data() + at, bytes.data(), bytes.size()) == 0;
}

struct Directory {
  uint64_t count, bytes, offset;
};

/// Finds the central directory from the end records, which stand at the very end.
Result<Directory> findDirectory(std::span<const std::byte> file, const std::string &path) {
  if (file.size() < kEndBytes || get(file, file.size() - kEndBytes, 4) != kEnd)
    return damaged(path, file.size(), "no zip end record before the end of the file");
  uint64_t end = file.size() - kEndBytes;
  Directory directory{get(file, end + 10, 2), get(file, end + 12, 4), get(file, end + 16, 4)};
  if (directory.count == 0xffff || directory.bytes == kBig || directory.offset == kBig) {
    if (end < kLocatorBytes + kEnd64Bytes || get(file, end - kLocatorBytes - kEnd64Bytes, 4) != kEnd64)
      return damaged(path, end, "no zip64 end record before the zip end record");
    end -= kLocatorBytes + kEnd64Bytes;
    directory = {get(file, end + 32, 8), get(file, end + 40, 8), get(file, end + 48, 8)};
  }
  if (directory.offset > end || end - directory.offset != directory.bytes ||
      directory.count > directory.bytes / kCentralBytes)
    return damaged(path, end,
                   fmt::format("a zip directory of {} members and {} bytes at {} does not fit", directory.count,
                               directory.bytes, directory.offset));
  return directory;
}

} // namespace

uint64_t zipDataOffset(uint64_t header, std::string_view name, uint64_t align) {
  uint64_t least = header + kLocalBytes + name.size() + kZip64Extra + kAlignExtra;
  return (least + align - 1) / align * align;
}

std::string zipLocalHeader(const ZipEntry &entry) {
  bool zip64 = needsZip64(entry.bytes);
  std::string out;
  put(out, kLocal, 4);
  put(out, version(zip64), 2);
  put(out, 0, 4); // flags, method: stored
  put(out, 0, 2);
  put(out, kDate, 2);
  put(out, entry.crc, 4);
  put(out, field(entry.bytes), 4);
  put(out, field(entry.bytes), 4);
  put(out, entry.name.size(), 2);
  uint64_t extra = entry.offset - entry.header - kLocalBytes - entry.name.size();
  put(out, extra, 2);
  out += entry.name;
  if (zip64) {
    put(out, kZip64Id, 2);
    put(out, 16, 2);
    put(out, entry.bytes, 8);
    put(out, entry.bytes, 8);
    extra -= kZip64Extra;
  }
  put(out, kAlignId, 2);
  put(out, extra - 4, 2);
  put(out, alignmentOf(entry.offset), 2);
  out.append(extra - kAlignExtra, '\0');
  return out;
}

std::string zipDirectory(const std::vector<ZipEntry> &entries, uint64_t offset) {
  std::string out;
  for (const ZipEntry &entry : entries) {
    bool bigSize = needsZip64(entry.bytes), bigOffset = needsZip64(entry.header);
    std::string extra;
    if (bigSize || bigOffset) {
      put(extra, kZip64Id, 2);
      put(extra, (bigSize ? 16 : 0) + (bigOffset ? 8 : 0), 2);
      if (bigSize) {
        put(extra, entry.bytes, 8);
        put(extra, entry.bytes, 8);
      }
      if (bigOffset)
        put(extra, entry.header, 8);
    }
    put(out, kCentral, 4);
    put(out, 3 << 8 | 45, 2); // made on Unix, so that the attributes below are a mode
    put(out, version(!extra.empty()), 2);
    put(out, 0, 6); // flags, method, time
    put(out, kDate, 2);
    put(out, entry.crc, 4);
    put(out, field(entry.bytes), 4);
    put(out, field(entry.bytes), 4);
    put(out, entry.name.size(), 2);
    put(out, extra.size(), 2);
    put(out, 0, 6); // comment, disk, internal attributes
    put(out, 0100644u << 16, 4);
    put(out, field(entry.header), 4);
    out += entry.name + extra;
  }
  uint64_t bytes = out.size(), count = entries.size();
  if (count >= 0xffff || needsZip64(bytes) || needsZip64(offset)) {
    put(out, kEnd64, 4);
    put(out, kEnd64Bytes - 12, 8);
    put(out, 3 << 8 | 45, 2);
    put(out, 45, 2);
    put(out, 0, 8); // disks
    put(out, count, 8);
    put(out, count, 8);
    put(out, bytes, 8);
    put(out, offset, 8);
    put(out, kLocator, 4);
    put(out, 0, 4);
    put(out, offset + bytes, 8);
    put(out, 1, 4);
  }
  put(out, kEnd, 4);
  put(out, 0, 4); // disks
  put(out, std::min<uint64_t>(count, 0xffff), 2);
  put(out, std::min<uint64_t>(count, 0xffff), 2);
  put(out, field(bytes), 4);
  put(out, field(offset), 4);
  put(out, 0, 2);
  return out;
}

uint32_t zipCrc(uint32_t crc, std::span<const std::byte> data) {
  return static_cast<uint32_t>(crc32_z(crc, reinterpret_cast<const Bytef *>(data.data()), data.size()));
}

Result<std::vector<ZipEntry>> readZip(std::span<const std::byte> file, const std::string &path) {
  auto directory = findDirectory(file, path);
  if (!directory)
    return propagate(directory);
  uint64_t at = directory->offset, end = directory->offset + directory->bytes;
  std::vector<ZipEntry> entries;
  for (uint64_t i = 0; i < directory->count; ++i) {
    if (end - at < kCentralBytes || get(file, at, 4) != kCentral)
      return damaged(path, at, fmt::format("no directory record of member {}", i));
    uint64_t nameBytes = get(file, at + 28, 2), extraBytes = get(file, at + 30, 2);
    if (nameBytes == 0 || nameBytes > kMaxName || nameBytes + extraBytes > end - at - kCentralBytes)
      return damaged(path, at, fmt::format("member {} has a name of {} bytes", i, nameBytes));
    ZipEntry entry;
    entry.name.assign(reinterpret_cast<const char *>(file.data() + at + kCentralBytes), nameBytes);
    entry.crc = static_cast<uint32_t>(get(file, at + 16, 4));
    entry.bytes = get(file, at + 24, 4);
    entry.header = get(file, at + 42, 4);
    uint64_t extra = at + kCentralBytes + nameBytes, extraEnd = extra + extraBytes;
    bool bigSize = entry.bytes == kBig, bigOffset = entry.header == kBig;
    if (extraBytes < (bigSize || bigOffset ? 4u : 0u) + (bigSize ? 16u : 0u) + (bigOffset ? 8u : 0u))
      return damaged(path, at, fmt::format("member {} lacks its zip64 field", i));
    extra += 4;
    if (bigSize)
      entry.bytes = get(file, extra, 8);
    if (bigOffset)
      entry.header = get(file, extra + (bigSize ? 16 : 0), 8);
    at = extraEnd;
    if (entry.header > directory->offset || directory->offset - entry.header < kLocalBytes)
      return damaged(
          path, at,
          fmt::format("member {} begins at {}, behind the directory at {}", i, entry.header, directory->offset));
    entry.offset = entry.header + kLocalBytes + nameBytes + get(file, entry.header + 28, 2);
    uint64_t least = entry.header + kLocalBytes + nameBytes + kAlignExtra + (needsZip64(entry.bytes) ? kZip64Extra : 0);
    if (entry.offset < least || entry.offset > directory->offset || entry.bytes > directory->offset - entry.offset)
      return damaged(path, entry.header,
                     fmt::format("member {} of {} bytes at {} does not fit", i, entry.bytes, entry.offset));
    if (!matches(file, entry.header, zipLocalHeader(entry)))
      return damaged(path, entry.header, fmt::format("the header of member {} is not as Lathe writes it", i));
    entries.push_back(std::move(entry));
  }
  std::string expected = zipDirectory(entries, directory->offset);
  if (expected.size() != file.size() - directory->offset || !matches(file, directory->offset, expected))
    return damaged(path, directory->offset, "the zip directory is not as Lathe writes it");
  std::vector<const ZipEntry *> inOrder;
  for (const ZipEntry &entry : entries)
    inOrder.push_back(&entry);
  std::sort(inOrder.begin(), inOrder.end(), [](auto *a, auto *b) { return a->header < b->header; });
  uint64_t next = 0;
  for (const ZipEntry *entry : inOrder) {
    if (entry->header != next)
      return damaged(path, entry->header, fmt::format("expected the next member at {}", next));
    next = entry->offset + entry->bytes;
  }
  if (next != directory->offset)
    return damaged(path, next, fmt::format("expected the directory here, found it at {}", directory->offset));
  std::sort(inOrder.begin(), inOrder.end(), [](auto *a, auto *b) { return a->name < b->name; });
  for (size_t i = 1; i < inOrder.size(); ++i)
    if (inOrder[i]->name == inOrder[i - 1]->name)
      return damaged(path, inOrder[i]->header, fmt::format("two members have the name {}", inOrder[i]->name));
  return entries;
}

} // namespace lathe
