#include "runtime/Artifact.h"

#include "runtime/Manifest.h"
#include "runtime/Zip.h"
#include "runtime/support/MappedFile.h"

#include <unordered_map>
#include <xxhash.h>

namespace lathe {
namespace {

constexpr std::string_view kManifest = "manifest.json", kWeights = "weights.bin";
/// Far above what the largest models need, so that parsing stays within memory that is known beforehand.
constexpr uint64_t kMostManifestBytes = 16 << 20;

} // namespace

struct Artifact::Impl {
  std::shared_ptr<const MappedFile> file;
  Manifest manifest;
  std::vector<Member> members;
  std::unordered_map<std::string_view, const Member *> byName;
  std::unordered_map<std::string_view, const PackedWeight *> weights;

  std::span<const std::byte> bytes(const Member &member) const {
    return file->bytes().subspan(member.offset, member.bytes);
  }
  Result<void> read();
  Result<void> readManifest(const ZipEntry &entry);
  Result<void> checkHash(const Member &member, ExitCode code) const;
};

Artifact::Artifact(std::unique_ptr<Impl> impl) : impl(std::move(impl)) {}
Artifact::~Artifact() = default;

Result<void> Artifact::Impl::checkHash(const Member &member, ExitCode code) const {
  std::span<const std::byte> data = bytes(member);
  uint64_t hash = XXH3_64bits(data.data(), data.size());
  if (hash != member.hash)
    return fail(code, "{}: member {}: expected the hash {:016x}, found {:016x}: the file was altered; compile it again",
                file->path(), member.name, member.hash, hash);
  return {};
}

/// Fills the manifest and gives every member the hash it must have.
Result<void> Artifact::Impl::readManifest(const ZipEntry &entry) {
  std::string where = fmt::format("{}: {}", file->path(), kManifest);
  std::span<const std::byte> data = file->bytes().subspan(entry.offset, entry.bytes);
  if (data.size() > kMostManifestBytes)
    return fail(ExitCode::badInput, "{}: expected at most {} bytes, found {}", where, kMostManifestBytes, data.size());
  if (uint32_t crc = zipCrc(0, data); crc != entry.crc)
    return fail(ExitCode::badInput, "{}: expected the CRC {:08x}, found {:08x}: the file was altered; compile it again",
                where, entry.crc, crc);
  auto parsed = parseManifest({reinterpret_cast<const char *>(data.data()), data.size()}, where);
  if (!parsed)
    return propagate(parsed);
  manifest = std::move(parsed->manifest);
  std::unordered_map<std::string_view, const Member *> declared;
  for (const Member &member : parsed->members)
    declared.emplace(member.name, &member);
  for (Member &member : members) {
    if (member.name == kManifest) {
      member.hash = XXH3_64bits(data.data(), data.size());
      continue;
    }
    auto found = declared.find(member.name);
    if (found == declared.end())
      return fail(ExitCode::badInput, "{}: the manifest does not list the member {}", file->path(), member.name);
    if (found->second->bytes != member.bytes)
      return fail(ExitCode::badInput, "{}: member {}: expected {} bytes, found {}", file->path(), member.name,
                  found->second->bytes, member.bytes);
    member.hash = found->second->hash;
  }
  if (declared.size() + 1 != members.size())
    return fail(ExitCode::badInput, "{}: the manifest lists {} members, the file has {}", file->path(), declared.size(),
                members.size() - 1);
  return {};
}

Result<void> Artifact::Impl::read() {
  auto entries = readZip(file->bytes(), file->path());
  if (!entries)
    return propagate(entries);
  const ZipEntry *manifestEntry = nullptr;
  members.reserve(entries->size()); // byName points into it
  for (const ZipEntry &entry : *entries) {
    members.push_back({.name = entry.name, .offset = entry.offset, .bytes = entry.bytes});
    byName.emplace(members.back().name, &members.back());
    if (entry.name == kManifest)
      manifestEntry = &entry;
  }
  if (!manifestEntry)
    return fail(ExitCode::badInput, "{}: a zip without {}: expected an artifact of lathe compile", file->path(),
                kManifest);
  if (auto done = readManifest(*manifestEntry); !done)
    return done;
  for (const Member &member : members)
    if (member.name != kWeights)
      if (auto same = checkHash(member, ExitCode::badInput); !same)
        return same;
  auto packed = byName.find(kWeights);
  if (packed == byName.end())
    return fail(ExitCode::badInput, "{}: no member {}", file->path(), kWeights);
  if (auto fits = checkWeightDirectory(manifest, packed->second->bytes, file->path()); !fits)
    return fits;
  for (const PackedWeight &weight : manifest.weights)
    weights.emplace(weight.name, &weight);
  return {};
}

Result<std::shared_ptr<const Artifact>> Artifact::open(const std::string &path) {
  auto impl = std::make_unique<Impl>();
  auto file = MappedFile::open(path);
  if (!file)
    return propagate(file);
  impl->file = std::move(*file);
  if (auto done = impl->read(); !done)
    return propagate(done);
  return std::shared_ptr<const Artifact>(new Artifact(std::move(impl)));
}

const Manifest &Artifact::manifest() const { return impl->manifest; }
const std::vector<Member> &Artifact::members() const { return impl->members; }

std::optional<std::span<const std::byte>> Artifact::member(std::string_view name) const {
  auto found = impl->byName.find(name);
  if (found == impl->byName.end())
    return std::nullopt;
  return impl->bytes(*found->second);
}

Result<std::span<const std::byte>> Artifact::weight(std::string_view name) const {
  auto found = impl->weights.find(name);
  if (found == impl->weights.end())
    return fail(ExitCode::badInput, "{}: no weight {} in weights.bin, which has {}", impl->file->path(), name,
                impl->weights.size());
  return impl->bytes(*impl->byName.at(kWeights)).subspan(found->second->offset, found->second->bytes);
}

Result<void> Artifact::verifyWeights() const {
  return impl->checkHash(*impl->byName.at(kWeights), ExitCode::checkFailed);
}

} // namespace lathe
