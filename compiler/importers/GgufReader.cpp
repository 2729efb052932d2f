//===- GgufReader.cpp - the header of a GGUF file, read and checked -----------===//
#include "compiler/ConfigDiagnostics.h"
#include "compiler/importers/GgufFile.h"

#include <algorithm>
#include <array>
#include <bit>

namespace lathe {

namespace {

// Far more than any model has; together they bound the memory of a header.
constexpr uint64_t kMaxKeys = 1 << 16;
constexpr uint64_t kMaxTensors = 1 << 18;
constexpr uint64_t kMaxNameBytes = 256;
constexpr int kMaxArrayDepth = 4;
constexpr uint64_t kMaxAlignment = 1 << 20;

/// ggml's tensor types: id, name, values of a block, bytes of a block (ggml.h, gguf/constants.py).
struct TensorType {
  uint32_t id;
  std::string_view name;
  uint64_t block, bytes;
};
constexpr std::array<TensorType, 31> kTensorTypes{{
    {0, "F32", 1, 4},         {1, "F16", 1, 2},         {2, "Q4_0", 32, 18},      {3, "Q4_1", 32, 20},
    {6, "Q5_0", 32, 22},      {7, "Q5_1", 32, 24},      {8, "Q8_0", 32, 34},      {9, "Q8_1", 32, 40},
    {10, "Q2_K", 256, 84},    {11, "Q3_K", 256, 110},   {12, "Q4_K", 256, 144},   {13, "Q5_K", 256, 176},
    {14, "Q6_K", 256, 210},   {15, "Q8_K", 256, 292},   {16, "IQ2_XXS", 256, 66}, {17, "IQ2_XS", 256, 74},
    {18, "IQ3_XXS", 256, 98}, {19, "IQ1_S", 256, 50},   {20, "IQ4_NL", 32, 18},   {21, "IQ3_S", 256, 110},
    {22, "IQ2_S", 256, 82},   {23, "IQ4_XS", 256, 136}, {24, "I8", 1, 1},         {25, "I16", 1, 2},
    {26, "I32", 1, 4},        {27, "I64", 1, 8},        {28, "F64", 1, 8},        {29, "IQ1_M", 256, 56},
    {30, "BF16", 1, 2},       {34, "TQ1_0", 256, 54},   {35, "TQ2_0", 256, 66},
}};

} // namespace

/// Reads the header; every read is checked against the end of the file.
class GgufReader {
public:
  explicit GgufReader(std::shared_ptr<const MappedFile> mapped) : text(mapped->text()) {
    gguf->file = std::move(mapped);
  }
  Result<std::shared_ptr<GgufFile>> read();

private:
  std::unexpected<Error> wrong(uint64_t byte, const std::string &what) const {
    return fail(ExitCode::badInput, "{}: byte {}: {}", gguf->path(), byte, what);
  }
  Result<std::string_view> take(uint64_t bytes, std::string_view what) {
    if (bytes > text.size() - offset)
      return wrong(offset, fmt::format("{} of {} bytes goes beyond the file's end ({} bytes): truncated or damaged",
                                       what, bytes, text.size()));
    std::string_view result = text.substr(offset, bytes);
    offset += bytes;
    return result;
  }
  template <typename T> Result<T> scalar(std::string_view what) {
    auto bytes = take(sizeof(T), what);
    if (!bytes)
      return propagate(bytes);
    return loadGguf<T>(*bytes);
  }
  Result<std::string_view> string(std::string_view what) {
    auto length = scalar<uint64_t>(what);
    if (!length)
      return propagate(length);
    return take(*length, what);
  }
  Result<GgufType> type() {
    auto id = scalar<uint32_t>("a value type");
    if (!id)
      return propagate(id);
    if (*id >= kGgufTypes)
      return wrong(offset - 4, fmt::format("unknown metadata type {}", *id));
    return static_cast<GgufType>(*id);
  }
  Result<void> skip(GgufType type, uint64_t count, int depth);
  Result<void> keyValue();
  Result<void> tensorInfo(std::vector<uint64_t> &offsets);
  Result<void> placeTensors(const std::vector<uint64_t> &offsets);

  std::string_view text;
  uint64_t offset = 0;
  std::vector<uint64_t> sizes; ///< bytes of each tensor
  std::shared_ptr<GgufFile> gguf = std::make_shared<GgufFile>();
};

Result<void> GgufReader::skip(GgufType type, uint64_t count, int depth) {
  if (uint64_t bytes = ggufBytes(type)) {
    if (count > (text.size() - offset) / bytes)
      return wrong(offset, fmt::format("an array of {} {} goes beyond the file's end ({} bytes)", count,
                                       ggufTypeName(type), text.size()));
    offset += count * bytes;
    return {};
  }
  if (depth > kMaxArrayDepth)
    return wrong(offset, fmt::format("arrays nest deeper than {}", kMaxArrayDepth));
  for (uint64_t i = 0; i < count; ++i) {
    if (type == GgufType::string) {
      if (auto text = string("a string"); !text)
        return propagate(text);
      continue;
    }
    auto inner = this->type();
    if (!inner)
      return propagate(inner);
    auto innerCount = scalar<uint64_t>("an array's length");
    if (!innerCount)
      return propagate(innerCount);
    if (auto skipped = skip(*inner, *innerCount, depth + 1); !skipped)
      return skipped;
  }
  return {};
}

Result<void> GgufReader::keyValue() {
  uint64_t start = offset;
  auto key = string("a key");
  if (!key)
    return propagate(key);
  if (key->size() > kMaxNameBytes)
    return wrong(start, fmt::format("expected a key of at most {} bytes, found {}", kMaxNameBytes, key->size()));
  auto type = this->type();
  if (!type)
    return propagate(type);
  GgufValue value;
  value.type = *type;
  value.offset = offset;
  if (*type == GgufType::array) {
    auto element = this->type();
    if (!element)
      return propagate(element);
    auto count = scalar<uint64_t>("an array's length");
    if (!count)
      return propagate(count);
    value.element = *element;
    value.count = *count;
    uint64_t begin = offset;
    if (auto skipped = skip(*element, *count, 1); !skipped)
      return skipped;
    value.bytes = text.substr(begin, offset - begin);
  } else {
    auto bytes = *type == GgufType::string ? string("a string") : take(ggufBytes(*type), "a value");
    if (!bytes)
      return propagate(bytes);
    value.bytes = *bytes;
  }
  if (!gguf->values.emplace(std::string(*key), value).second)
    return wrong(start, fmt::format("key {} appears twice", inQuotes(*key)));
  return {};
}

Result<void> GgufReader::tensorInfo(std::vector<uint64_t> &offsets) {
  uint64_t start = offset;
  auto name = string("a tensor's name");
  if (!name)
    return propagate(name);
  if (name->size() > kMaxNameBytes)
    return wrong(start,
                 fmt::format("expected a tensor name of at most {} bytes, found {}", kMaxNameBytes, name->size()));
  GgufTensor tensor;
  tensor.name = *name;
  auto tensorWrong = [&](const std::string &what) {
    return wrong(start, fmt::format("tensor {}: {}", inQuotes(*name), what));
  };
  auto dimensions = scalar<uint32_t>("a tensor's rank");
  if (!dimensions)
    return propagate(dimensions);
  if (*dimensions < 1 || *dimensions > 4)
    return tensorWrong(fmt::format("expected 1 to 4 dimensions, found {}", *dimensions));
  uint64_t values = 1;
  for (uint32_t i = 0; i < *dimensions; ++i) {
    auto extent = scalar<uint64_t>("a tensor's shape");
    if (!extent)
      return propagate(extent);
    if (*extent == 0 || *extent > (uint64_t{1} << 48) || __builtin_mul_overflow(values, *extent, &values) ||
        values > uint64_t{1} << 48)
      return tensorWrong(fmt::format("dimension {} of {} is not possible", i, *extent));
    tensor.shape.insert(tensor.shape.begin(), static_cast<int64_t>(*extent));
  }
  auto id = scalar<uint32_t>("a tensor's type");
  if (!id)
    return propagate(id);
  auto type =
      std::find_if(kTensorTypes.begin(), kTensorTypes.end(), [&](const TensorType &known) { return known.id == *id; });
  if (type == kTensorTypes.end())
    return tensorWrong(fmt::format("unknown element type {}", *id));
  tensor.element = type->name;
  if (static_cast<uint64_t>(tensor.shape.back()) % type->block != 0)
    return tensorWrong(fmt::format("a row of {} values is no multiple of {}'s block of {}", tensor.shape.back(),
                                   type->name, type->block));
  auto place = scalar<uint64_t>("a tensor's offset");
  if (!place)
    return propagate(place);
  offsets.push_back(*place);
  sizes.push_back(values / type->block * type->bytes);
  gguf->tensorList.push_back(std::move(tensor));
  return {};
}

Result<void> GgufReader::placeTensors(const std::vector<uint64_t> &offsets) {
  uint64_t alignment = 32;
  auto stated = gguf->integer("general.alignment");
  if (!stated)
    return propagate(stated);
  if (*stated) {
    alignment = static_cast<uint64_t>(**stated);
    if (**stated < 1 || alignment > kMaxAlignment || !std::has_single_bit(alignment))
      return fail(ExitCode::badInput, "{}: expected a power of two up to {}, found {}",
                  gguf->place("general.alignment"), kMaxAlignment, **stated);
  }
  uint64_t base = (offset + alignment - 1) / alignment * alignment;
  std::span<const std::byte> bytes = gguf->file->bytes();
  std::vector<const GgufTensor *> order;
  for (size_t i = 0; i < offsets.size(); ++i) {
    GgufTensor &tensor = gguf->tensorList[i];
    uint64_t room = base <= bytes.size() ? bytes.size() - base : 0;
    if (offsets[i] % alignment != 0)
      return fail(ExitCode::badInput, "{}: tensor {}: its offset {} is no multiple of the alignment {}", gguf->path(),
                  inQuotes(tensor.name), offsets[i], alignment);
    if (offsets[i] > room || sizes[i] > room - offsets[i])
      return fail(
          ExitCode::badInput,
          "{}: tensor {}: {} bytes at offset {} go beyond the {} bytes of data: the file is truncated or damaged",
          gguf->path(), inQuotes(tensor.name), sizes[i], offsets[i], room);
    tensor.data = bytes.subspan(base + offsets[i], sizes[i]);
    tensor.file = gguf->file;
  }
  for (const GgufTensor &tensor : gguf->tensorList)
    order.push_back(&tensor);
  std::sort(order.begin(), order.end(), [](auto a, auto b) { return a->data.data() < b->data.data(); });
  for (size_t i = 1; i < order.size(); ++i)
    if (order[i - 1]->data.data() + order[i - 1]->data.size() > order[i]->data.data())
      return fail(ExitCode::badInput, "{}: tensors {} and {} overlap", gguf->path(), inQuotes(order[i - 1]->name),
                  inQuotes(order[i]->name));
  std::sort(order.begin(), order.end(), [](auto a, auto b) { return a->name < b->name; });
  for (size_t i = 1; i < order.size(); ++i)
    if (order[i - 1]->name == order[i]->name)
      return fail(ExitCode::badInput, "{}: tensor {} appears twice", gguf->path(), inQuotes(order[i]->name));
  return {};
}

Result<std::shared_ptr<GgufFile>> GgufReader::read() {
  if (!GgufFile::hasMagic(text))
    return wrong(0, "expected the magic \"GGUF\", found " + inQuotes(text.substr(0, 4)));
  offset = 4;
  auto version = scalar<uint32_t>("the version");
  if (!version)
    return propagate(version);
  if (*version == __builtin_bswap32(2) || *version == __builtin_bswap32(3))
    return wrong(4, "the file is big-endian: convert it to little-endian (gguf-convert-endian)");
  if (*version != 2 && *version != 3)
    return wrong(4, fmt::format("expected GGUF version 2 or 3, found {}", *version));
  auto tensors = scalar<uint64_t>("the number of tensors"), keys = scalar<uint64_t>("the number of keys");
  if (!tensors)
    return propagate(tensors);
  if (!keys)
    return propagate(keys);
  if (*tensors > kMaxTensors)
    return wrong(8, fmt::format("expected at most {} tensors, found {}", kMaxTensors, *tensors));
  if (*keys > kMaxKeys)
    return wrong(16, fmt::format("expected at most {} metadata keys, found {}", kMaxKeys, *keys));
  for (uint64_t i = 0; i < *keys; ++i)
    if (auto read = keyValue(); !read)
      return propagate(read);
  std::vector<uint64_t> offsets;
  for (uint64_t i = 0; i < *tensors; ++i)
    if (auto read = tensorInfo(offsets); !read)
      return propagate(read);
  if (auto placed = placeTensors(offsets); !placed)
    return propagate(placed);
  return std::move(gguf);
}

Result<std::shared_ptr<GgufFile>> GgufFile::openOne(const std::string &path) {
  auto file = MappedFile::open(path);
  if (!file)
    return propagate(file);
  return GgufReader(std::move(*file)).read();
}

} // namespace lathe
