//===- GgufShards.cpp - a model that is split over several GGUF files -------===//
//
// llama.cpp's gguf-split and the package gguf write "PREFIX-00001-of-00003.gguf" and so on. Every shard says which it
// is (split.no, from 0), how many there are (split.count) and how many tensors they hold together
// (split.tensors.count); the rest of the metadata stands in the first (llama-model-loader.cpp). Whichever is named, the
// files that are opened are the same, so that an artifact does not depend on it.
//
//===----------------------------------------------------------------------===//
#include "compiler/ConfigDiagnostics.h"
#include "compiler/importers/GgufFile.h"

#include <filesystem>
#include <unordered_map>

namespace lathe {

namespace {

const std::string kNumber = "split.no", kCount = "split.count", kTensors = "split.tensors.count";

std::string shardSuffix(int64_t number, int64_t count) {
  return fmt::format("-{:05}-of-{:05}.gguf", number + 1, count);
}

} // namespace

Result<int64_t> GgufFile::splitKey(const std::string &key) const {
  auto value = integer(key);
  if (!value)
    return propagate(value);
  if (!*value)
    return fail(ExitCode::badInput, "{}: missing key '{}': expected an integer in every shard of a split model", path(),
                key);
  return **value;
}

/// Whether the file says of itself that it is this shard of so many.
Result<void> GgufFile::checkShard(int64_t number, int64_t count) const {
  auto ownCount = splitKey(kCount), own = splitKey(kNumber);
  if (!ownCount)
    return propagate(ownCount);
  if (!own)
    return propagate(own);
  if (*ownCount != count)
    return fail(ExitCode::badInput, "{}: expected one of {} shards, found one of {}", place(kCount), count, *ownCount);
  if (*own != number)
    return fail(ExitCode::badInput, "{}: expected {}, because the file is named shard {} of {}, found {}",
                place(kNumber), number, number + 1, count, *own);
  return {};
}

/// A shard may repeat what the first says, and not differ from it; how its bytes are laid out is its own affair.
Result<void> GgufFile::checkMetadataOf(const GgufFile &first) const {
  for (const auto &[key, value] : values) {
    auto stated = first.values.find(key);
    if (stated == first.values.end() || key == kNumber || key == "general.alignment")
      continue;
    if (stated->second.type != value.type || stated->second.element != value.element ||
        stated->second.bytes != value.bytes)
      return fail(ExitCode::badInput, "{}: differs from that of {}: shards of different models?", place(key),
                  first.path());
  }
  return {};
}

Result<std::shared_ptr<const GgufFile>> GgufFile::joinShards(std::shared_ptr<GgufFile> named, int64_t count) {
  auto number = named->splitKey(kNumber);
  if (!number)
    return propagate(number);
  if (*number < 0 || *number >= count)
    return fail(ExitCode::badInput, "{}: expected a number from 0 to {}, found {}", named->place(kNumber), count - 1,
                *number);
  std::string suffix = shardSuffix(*number, count);
  if (!named->path().ends_with(suffix))
    return fail(ExitCode::badInput,
                "{}: shard {} of {}: expected a name that ends in {}, by which the other shards are found",
                named->path(), *number + 1, count, suffix);
  std::string prefix = named->path().substr(0, named->path().size() - suffix.size());
  int64_t own = *number;
  std::shared_ptr<GgufFile> first;
  std::unordered_map<std::string, const MappedFile *> holders;
  for (int64_t i = 0; i < count; ++i) {
    std::string path = prefix + shardSuffix(i, count);
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored))
      return fail(ExitCode::badInput, "{}: missing: shard {} of {} of a split model, whose shards lie in one folder",
                  path, i + 1, count);
    Result<std::shared_ptr<GgufFile>> shard = named;
    if (i != own)
      shard = openOne(path);
    if (!shard)
      return propagate(shard);
    if (auto fine = (*shard)->checkShard(i, count); !fine)
      return propagate(fine);
    if (i == 0)
      first = *shard;
    else if (auto same = (*shard)->checkMetadataOf(*first); !same)
      return propagate(same);
    for (const GgufTensor &tensor : (*shard)->tensorList) {
      auto [holder, added] = holders.emplace(tensor.name, (*shard)->file.get());
      if (!added)
        return fail(ExitCode::badInput, "{}: tensor {} is in {} too", path, inQuotes(tensor.name),
                    holder->second->path());
    }
    if (i > 0)
      first->tensorList.insert(first->tensorList.end(), (*shard)->tensorList.begin(), (*shard)->tensorList.end());
  }
  auto tensors = first->splitKey(kTensors);
  if (!tensors)
    return propagate(tensors);
  if (*tensors != static_cast<int64_t>(first->tensorList.size()))
    return fail(ExitCode::badInput, "{}: expected {} tensors in {} shards, found {}", first->place(kTensors), *tensors,
                count, first->tensorList.size());
  return std::shared_ptr<const GgufFile>(std::move(first));
}

Result<std::shared_ptr<const GgufFile>> GgufFile::open(const std::string &path) {
  auto file = openOne(path);
  if (!file)
    return propagate(file);
  auto count = (*file)->integer(kCount);
  if (!count)
    return propagate(count);
  constexpr int64_t most = 99999; // five digits of a name
  if (*count && (**count < 0 || **count > most))
    return fail(ExitCode::badInput, "{}: expected at most {} shards, found {}", (*file)->place(kCount), most, **count);
  if (*count && **count > 1)
    return joinShards(std::move(*file), **count);
  return std::shared_ptr<const GgufFile>(std::move(*file));
}

} // namespace lathe
