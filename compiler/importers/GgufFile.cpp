//===- GgufFile.cpp - the metadata and tensors of a GGUF file, by name --------===//
#include "compiler/importers/GgufFile.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace lathe {

static constexpr std::array<std::string_view, kGgufTypes> kTypeNames{"uint8",  "int8",    "uint16", "int16",  "uint32",
                                                                     "int32",  "float32", "bool",   "string", "array",
                                                                     "uint64", "int64",   "float64"};

std::string_view ggufTypeName(GgufType type) { return kTypeNames[static_cast<size_t>(type)]; }

size_t ggufBytes(GgufType type) {
  switch (type) {
  case GgufType::uint8:
  case GgufType::int8:
  case GgufType::boolean:
    return 1;
  case GgufType::uint16:
  case GgufType::int16:
    return 2;
  case GgufType::uint32:
  case GgufType::int32:
  case GgufType::float32:
    return 4;
  case GgufType::uint64:
  case GgufType::int64:
  case GgufType::float64:
    return 8;
  case GgufType::string:
  case GgufType::array:
    return 0;
  }
  return 0;
}

std::optional<int64_t> ggufInteger(GgufType type, std::string_view bytes) {
  switch (type) {
  case GgufType::uint8:
    return loadGguf<uint8_t>(bytes);
  case GgufType::int8:
    return loadGguf<int8_t>(bytes);
  case GgufType::uint16:
    return loadGguf<uint16_t>(bytes);
  case GgufType::int16:
    return loadGguf<int16_t>(bytes);
  case GgufType::uint32:
    return loadGguf<uint32_t>(bytes);
  case GgufType::int32:
    return loadGguf<int32_t>(bytes);
  case GgufType::int64:
    return loadGguf<int64_t>(bytes);
  case GgufType::uint64: {
    auto value = loadGguf<uint64_t>(bytes);
    return value > uint64_t{INT64_MAX} ? std::nullopt : std::optional<int64_t>(static_cast<int64_t>(value));
  }
  default:
    return std::nullopt;
  }
}

std::string GgufFile::place(const std::string &key) const {
  auto value = values.find(key);
  return value == values.end() ? fmt::format("{}: key '{}'", path(), key)
                               : fmt::format("{}: key '{}' (byte {})", path(), key, value->second.offset);
}

const GgufTensor *GgufFile::tensor(std::string_view name) const {
  auto found =
      std::find_if(tensorList.begin(), tensorList.end(), [&](const GgufTensor &tensor) { return tensor.name == name; });
  return found == tensorList.end() ? nullptr : &*found;
}

Result<std::optional<int64_t>> GgufFile::integer(const std::string &key) const {
  auto found = values.find(key);
  if (found == values.end())
    return std::optional<int64_t>();
  if (auto value = ggufInteger(found->second.type, found->second.bytes))
    return value;
  return fail(ExitCode::badInput, "{}: expected an integer, found a value of type {}", place(key),
              ggufTypeName(found->second.type));
}

Result<std::optional<double>> GgufFile::number(const std::string &key) const {
  auto found = values.find(key);
  if (found == values.end())
    return std::optional<double>();
  const GgufValue &value = found->second;
  if (value.type == GgufType::float64) {
    auto found = loadGguf<double>(value.bytes);
    if (!std::isfinite(found))
      return fail(ExitCode::badInput, "{}: expected a finite number, found {}", place(key), found);
    return found;
  }
  if (value.type == GgufType::float32) {
    // A float was rounded from the decimal number in a config: the shortest decimal that rounds to it is that number.
    auto single = loadGguf<float>(value.bytes);
    if (!std::isfinite(single))
      return fail(ExitCode::badInput, "{}: expected a finite number, found {}", place(key), single);
    return std::strtod(fmt::format("{}", single).c_str(), nullptr);
  }
  if (auto whole = ggufInteger(value.type, value.bytes))
    return static_cast<double>(*whole);
  return fail(ExitCode::badInput, "{}: expected a number, found a value of type {}", place(key),
              ggufTypeName(value.type));
}

Result<std::optional<bool>> GgufFile::boolean(const std::string &key) const {
  auto found = values.find(key);
  if (found == values.end())
    return std::optional<bool>();
  if (found->second.type != GgufType::boolean)
    return fail(ExitCode::badInput, "{}: expected a bool, found a value of type {}", place(key),
                ggufTypeName(found->second.type));
  return loadGguf<uint8_t>(found->second.bytes) != 0;
}

Result<std::optional<std::string_view>> GgufFile::string(const std::string &key) const {
  auto found = values.find(key);
  if (found == values.end())
    return std::optional<std::string_view>();
  if (found->second.type != GgufType::string)
    return fail(ExitCode::badInput, "{}: expected a string, found a value of type {}", place(key),
                ggufTypeName(found->second.type));
  return found->second.bytes;
}

Result<const GgufValue *> GgufFile::strings(const std::string &key) const {
  auto found = values.find(key);
  if (found == values.end())
    return nullptr;
  if (found->second.type != GgufType::array || found->second.element != GgufType::string)
    return fail(ExitCode::badInput, "{}: expected an array of strings, found a value of type {}", place(key),
                ggufTypeName(found->second.type));
  return &found->second;
}

Result<void> GgufFile::eachString(const GgufValue &array,
                                  const std::function<Result<void>(uint64_t, std::string_view)> &each) const {
  std::string_view rest = array.bytes;
  for (uint64_t i = 0; i < array.count; ++i) {
    auto length = loadGguf<uint64_t>(rest.substr(0, 8));
    if (auto done = each(i, rest.substr(8, length)); !done)
      return done;
    rest.remove_prefix(8 + length);
  }
  return {};
}

} // namespace lathe
