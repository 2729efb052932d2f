//===- Safetensors.cpp - weights in safetensors files ---------------------===//
//
// A file is a little-endian u64 length, that many bytes of JSON {name: {dtype, shape, data_offsets}},
// and the data (github.com/huggingface/safetensors). Every number in it is checked before use.
//
//===----------------------------------------------------------------------===//
#include "compiler/ConfigDiagnostics.h"
#include "compiler/importers/Importers.h"
#include "compiler/importers/Json.h"
#include "compiler/importers/MappedWeights.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <set>

namespace lathe {
namespace {

using nlohmann::json;

// A header of 100,000 tensors takes about 12 MB.
constexpr uint64_t kMaxHeader = uint64_t{32} << 20;
constexpr size_t kMaxIndexBytes = size_t{16} << 20;

constexpr std::array<std::pair<std::string_view, uint64_t>, 14> kElements{{{"F64", 8},
                                                                           {"F32", 4},
                                                                           {"F16", 2},
                                                                           {"BF16", 2},
                                                                           {"I64", 8},
                                                                           {"I32", 4},
                                                                           {"I16", 2},
                                                                           {"I8", 1},
                                                                           {"U64", 8},
                                                                           {"U32", 4},
                                                                           {"U16", 2},
                                                                           {"U8", 1},
                                                                           {"BOOL", 1},
                                                                           {"F8_E4M3", 1}}};

Result<MappedWeights::Entry> readEntry(const std::string &name, const json &value, std::span<const std::byte> data,
                                       const std::string &path) {
  auto wrong = [&](const std::string &what) {
    return fail(ExitCode::badInput, "{}: tensor {}: {}", path, inQuotes(name), what);
  };
  if (!value.is_object() || !value.contains("dtype") || !value.contains("shape") || !value.contains("data_offsets"))
    return wrong("expected an object with dtype, shape and data_offsets, found " + describeJson(value));
  const json &dtype = value["dtype"], &shape = value["shape"], &offsets = value["data_offsets"];
  auto element =
      std::find_if(kElements.begin(), kElements.end(), [&](const auto &known) { return dtype == known.first; });
  if (element == kElements.end())
    return wrong("unknown dtype: " + describeJson(dtype));
  auto isCount = [](const json &number) { return number.is_number_unsigned(); };
  if (!shape.is_array() || shape.size() > 8 || !std::all_of(shape.begin(), shape.end(), isCount))
    return wrong("shape: expected at most 8 sizes, found " + describeJson(shape));
  if (!offsets.is_array() || offsets.size() != 2 || !std::all_of(offsets.begin(), offsets.end(), isCount))
    return wrong("data_offsets: expected two byte offsets, found " + describeJson(offsets));
  MappedWeights::Entry entry;
  entry.tensor.name = name;
  entry.tensor.element = element->first;
  uint64_t bytes = element->second;
  for (const json &extent : shape) {
    if (extent.get<uint64_t>() > uint64_t{INT64_MAX} || __builtin_mul_overflow(bytes, extent.get<uint64_t>(), &bytes))
      return wrong("shape: the size overflows");
    entry.tensor.shape.push_back(extent.get<int64_t>());
  }
  uint64_t begin = offsets[0].get<uint64_t>(), end = offsets[1].get<uint64_t>();
  if (begin > end || end > data.size())
    return wrong(fmt::format(
        "data_offsets: bytes {} to {} are not within the {} bytes of data: the file is truncated or damaged", begin,
        end, data.size()));
  if (end - begin != bytes)
    return wrong(fmt::format("its shape and dtype take {} bytes, its data_offsets {}", bytes, end - begin));
  entry.data = data.subspan(begin, bytes);
  return entry;
}

Result<void> addFile(MappedWeights &weights, std::shared_ptr<const MappedFile> file) {
  const std::string &path = file->path();
  std::span<const std::byte> bytes = file->bytes();
  if (bytes.size() < 8)
    return fail(ExitCode::badInput, "{}: expected a safetensors file, found {} bytes", path, bytes.size());
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  if (uint64_t most = std::min<uint64_t>(bytes.size() - 8, kMaxHeader); length > most)
    return fail(ExitCode::badInput,
                "{}: byte 0: expected a header of at most {} bytes, found {}: not a safetensors file, or truncated",
                path, most, length);
  std::string_view header = file->text().substr(8, length);
  auto root = parseJson(header, path + " (header)");
  if (!root)
    return propagate(root);
  if (!root->is_object())
    return fail(ExitCode::badInput, "{}: byte 8: expected a JSON object, found {}", path, describeJson(*root));
  std::span<const std::byte> data = bytes.subspan(8 + length);
  std::vector<std::pair<std::span<const std::byte>, std::string>> extents;
  for (const auto &[name, value] : root->items()) {
    if (name == "__metadata__")
      continue;
    auto entry = readEntry(name, value, data, path);
    if (!entry)
      return propagate(entry);
    entry->file = file;
    if (!entry->data.empty())
      extents.emplace_back(entry->data, name);
    if (!weights.add(std::move(*entry)))
      return fail(ExitCode::badInput, "{}: tensor {} is also in {}", path, inQuotes(name), weights.origin(name));
  }
  std::sort(extents.begin(), extents.end(),
            [](const auto &a, const auto &b) { return a.first.data() < b.first.data(); });
  for (size_t i = 1; i < extents.size(); ++i)
    if (extents[i - 1].first.data() + extents[i - 1].first.size() > extents[i].first.data())
      return fail(ExitCode::badInput, "{}: tensors {} and {} overlap", path, inQuotes(extents[i - 1].second),
                  inQuotes(extents[i].second));
  return {};
}

// The file names that an index says hold the weights.
Result<std::set<std::string>> readIndex(const std::string &path) {
  auto file = MappedFile::open(path);
  if (!file)
    return propagate(file);
  std::string_view text = (*file)->text();
  if (text.size() > kMaxIndexBytes)
    return fail(ExitCode::badInput, "{}: expected at most {} bytes, found {}", path, kMaxIndexBytes, text.size());
  auto root = parseJson(text, path);
  if (!root)
    return propagate(root);
  if (!root->is_object() || !root->contains("weight_map") || !(*root)["weight_map"].is_object())
    return fail(ExitCode::badInput, "{}: expected an object 'weight_map' of tensor and file names",
                placeInJson(text, path, "weight_map"));
  std::set<std::string> names;
  for (const auto &[tensor, name] : (*root)["weight_map"].items()) {
    // A name with a folder in it could lead out of the model.
    if (!name.is_string() || name.get_ref<const std::string &>().find('/') != std::string::npos ||
        !name.get_ref<const std::string &>().ends_with(".safetensors"))
      return fail(ExitCode::badInput,
                  "{}: weight_map: tensor {}: expected the name of a safetensors file beside the index, found {}",
                  placeInJson(text, path, "weight_map"), inQuotes(tensor), describeJson(name));
    names.insert(name.get<std::string>());
  }
  return names;
}

} // namespace

Result<std::shared_ptr<const WeightSource>> openSafetensors(const std::string &path) {
  std::error_code ignored;
  auto weights = std::make_shared<MappedWeights>(path);
  std::vector<std::string> files;
  if (std::filesystem::is_directory(path, ignored)) {
    std::filesystem::path folder(path);
    std::string index = (folder / "model.safetensors.index.json").string(),
                single = (folder / "model.safetensors").string();
    if (std::filesystem::exists(index, ignored)) {
      auto names = readIndex(index);
      if (!names)
        return propagate(names);
      for (const std::string &name : *names)
        files.push_back((folder / name).string());
    } else if (std::filesystem::exists(single, ignored)) {
      files.push_back(single);
    } else {
      return std::shared_ptr<const WeightSource>();
    }
  } else {
    files.push_back(path);
  }
  for (const std::string &name : files) {
    auto file = MappedFile::open(name);
    if (!file)
      return propagate(file);
    if (auto added = addFile(*weights, std::move(*file)); !added)
      return propagate(added);
  }
  return std::shared_ptr<const WeightSource>(std::move(weights));
}

} // namespace lathe
