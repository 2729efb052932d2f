#include "runtime/Abi.h"
#include "runtime/Artifact.h"
#include "runtime/Manifest.h"
#include "runtime/Zip.h"
#include "runtime/support/AtomicFile.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

namespace lathe {
namespace {

constexpr uint64_t kPage = 4096, kWeightAlign = 64;

struct HashState {
  XXH3_state_t *state = XXH3_createState();
  HashState() { XXH3_64bits_reset(state); }
  ~HashState() { XXH3_freeState(state); }
  HashState(const HashState &) = delete;
  HashState &operator=(const HashState &) = delete;
};

std::span<const std::byte> asBytes(std::string_view text) { return std::as_bytes(std::span(text)); }

} // namespace

struct ArtifactWriter::Impl {
  std::unique_ptr<AtomicFile> file;
  std::vector<ZipEntry> entries;
  std::vector<Member> members;
  std::vector<PackedWeight> weights;
  /// weights.bin while it is streamed: its entry, the hash so far, and the end of what was written.
  std::optional<ZipEntry> streamed;
  HashState hash;
  uint64_t end = 0;

  Result<void> add(std::string_view name, std::string_view data, uint64_t align);
  Result<void> endWeights();
  Result<void> fillWindow(uint64_t bytes, const std::function<Result<void>(std::span<std::byte>)> &fill);
  void digest(std::span<const std::byte> data) {
    XXH3_64bits_update(hash.state, data.data(), data.size());
    streamed->crc = zipCrc(streamed->crc, data);
  }
};

ArtifactWriter::ArtifactWriter(std::unique_ptr<Impl> impl) : impl(std::move(impl)) {}
ArtifactWriter::~ArtifactWriter() = default;

Result<std::unique_ptr<ArtifactWriter>> ArtifactWriter::create(const std::string &path) {
  auto file = AtomicFile::create(path);
  if (!file)
    return propagate(file);
  auto impl = std::make_unique<Impl>();
  impl->file = std::move(*file);
  return std::unique_ptr<ArtifactWriter>(new ArtifactWriter(std::move(impl)));
}

Result<void> ArtifactWriter::Impl::add(std::string_view name, std::string_view data, uint64_t align) {
  if (name.empty() || name.size() > 255 ||
      std::any_of(members.begin(), members.end(), [&](auto &m) { return m.name == name; }))
    return fail(ExitCode::internal, "{}: member '{}' is added twice or has no fitting name", file->path(), name);
  if (align == 0 || align > kPage || (align & (align - 1)))
    return fail(ExitCode::internal, "{}: member {}: alignment {} is no power of two up to {}", file->path(), name,
                align, kPage);
  ZipEntry entry{std::string(name), file->size(), zipDataOffset(file->size(), name, align), data.size(),
                 zipCrc(0, asBytes(data))};
  if (auto done = file->write(zipLocalHeader(entry)); !done)
    return done;
  if (auto done = file->write(data); !done)
    return done;
  members.push_back({entry.name, entry.offset, entry.bytes, XXH3_64bits(data.data(), data.size())});
  entries.push_back(std::move(entry));
  return {};
}

Result<void> ArtifactWriter::add(std::string_view name, std::string_view data, uint64_t align) {
  if (impl->streamed)
    return fail(ExitCode::internal, "{}: member {} is added after weights.bin, the last", impl->file->path(), name);
  return impl->add(name, data, align);
}

Result<void> ArtifactWriter::beginWeights() {
  if (impl->streamed)
    return fail(ExitCode::internal, "{}: weights.bin is begun twice", impl->file->path());
  // The header is written when size and CRC are known; its place does not depend on them.
  uint64_t header = impl->file->size(), offset = zipDataOffset(header, "weights.bin", kPage);
  impl->streamed = ZipEntry{"weights.bin", header, offset, 0, 0};
  impl->end = offset;
  return impl->file->resize(offset);
}

/// Maps the file's bytes [end, end + bytes) for `fill`, so that a tensor never needs memory of its own.
Result<void> ArtifactWriter::Impl::fillWindow(uint64_t bytes,
                                              const std::function<Result<void>(std::span<std::byte>)> &fill) {
  // Writing to a mapping without blocks behind it would be a SIGBUS on a full disk.
  if (auto room = file->reserve(end + bytes); !room)
    return room;
  uint64_t begin = end / kPage * kPage, size = end + bytes - begin;
  void *window = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file->descriptor(), static_cast<off_t>(begin));
  if (window == MAP_FAILED)
    return file->failure(fmt::format("map {} bytes", size), errno);
  std::span<std::byte> data(static_cast<std::byte *>(window) + (end - begin), bytes);
  Result<void> filled = fill(data);
  if (filled)
    digest(data);
  munmap(window, size);
  end += bytes;
  return filled;
}

Result<void> ArtifactWriter::addWeight(std::string_view name, uint64_t bytes, std::string_view layout,
                                       const std::function<Result<void>(std::span<std::byte>)> &fill) {
  if (!impl->streamed || bytes == 0 || bytes >> 48)
    return fail(ExitCode::internal, "{}: weight {} of {} bytes: expected 1 to 2^48 bytes after beginWeights",
                impl->file->path(), name, bytes);
  static constexpr std::array<std::byte, kWeightAlign> zeros{};
  uint64_t offset = impl->end - impl->streamed->offset, padding = (kWeightAlign - offset % kWeightAlign) % kWeightAlign;
  if (padding) // the bytes are there already, reserved as zeros; hash and CRC must see them
    impl->digest(std::span(zeros).first(padding));
  impl->end += padding;
  impl->weights.push_back({std::string(name), offset + padding, bytes, std::string(layout)});
  return impl->fillWindow(bytes, fill);
}

Result<void> ArtifactWriter::Impl::endWeights() {
  if (auto cut = file->resize(end); !cut)
    return cut;
  streamed->bytes = end - streamed->offset;
  if (auto done = file->writeAt(streamed->header, zipLocalHeader(*streamed)); !done)
    return done;
  members.push_back({streamed->name, streamed->offset, streamed->bytes, XXH3_64bits_digest(hash.state)});
  entries.push_back(*streamed);
  return {};
}

Result<void> ArtifactWriter::finish(Manifest manifest) {
  if (!impl->streamed)
    if (auto begun = beginWeights(); !begun)
      return begun;
  if (auto ended = impl->endWeights(); !ended)
    return ended;
  manifest.artifactVersion = kArtifactVersion;
  manifest.abiVersion = kAbiVersion;
  manifest.weights = std::move(impl->weights);
  // The manifest holds the weights' hash, so it is written behind them; people see it first.
  if (auto done = impl->add("manifest.json", printManifest(manifest, impl->members), kWeightAlign); !done)
    return done;
  std::rotate(impl->entries.begin(), impl->entries.end() - 1, impl->entries.end());
  if (auto done = impl->file->write(zipDirectory(impl->entries, impl->file->size())); !done)
    return done;
  return impl->file->commit();
}

} // namespace lathe
