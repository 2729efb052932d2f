//===- GgufFile.h - the header of a GGUF file -----------------------------===//
//
// Format: github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian. The file stays mapped;
// strings and arrays are views of it, checked once when the header is read.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/support/Error.h"
#include "runtime/support/MappedFile.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lathe {

enum class GgufType : uint32_t {
  uint8,
  int8,
  uint16,
  int16,
  uint32,
  int32,
  float32,
  boolean,
  string,
  array,
  uint64,
  int64,
  float64
};
inline constexpr size_t kGgufTypes = 13;

struct GgufValue {
  GgufType type = GgufType::uint8;
  uint64_t offset = 0;                ///< of the value, from the start of the file
  std::string_view bytes;             ///< a scalar's or string's bytes; an array's elements
  GgufType element = GgufType::uint8; ///< of an array
  uint64_t count = 0;                 ///< elements of an array
};

struct GgufTensor {
  std::string name;
  std::string element;        ///< "F32", "Q4_1", … as ggml names its types
  std::vector<int64_t> shape; ///< row-major: reversed from the file's order
  std::span<const std::byte> data;
  std::shared_ptr<const MappedFile> file; ///< that holds it: one of the shards of a split model
};

/// A GGUF file, or all shards of a split model as one: metadata of the first, tensors of every shard.
class GgufFile {
public:
  /// `path` may be any shard of a split model: "m-00002-of-00003.gguf" (GgufShards.cpp). The others are read beside it.
  static Result<std::shared_ptr<const GgufFile>> open(const std::string &path);
  static bool hasMagic(std::string_view bytes) { return bytes.starts_with("GGUF"); }

  const std::string &path() const { return file->path(); }
  /// The place of a byte in messages about metadata: "path: key 'k' (byte 24)".
  std::string place(const std::string &key) const;
  const std::map<std::string, GgufValue> &metadata() const { return values; }
  const std::vector<GgufTensor> &tensors() const { return tensorList; }
  const GgufTensor *tensor(std::string_view name) const;

  // Metadata. Empty when the key is absent; an error when its value has another type or does not fit.
  Result<std::optional<int64_t>> integer(const std::string &key) const;
  Result<std::optional<double>> number(const std::string &key) const;
  Result<std::optional<bool>> boolean(const std::string &key) const;
  Result<std::optional<std::string_view>> string(const std::string &key) const;
  /// Calls `each` with the index and text of every element of an array of strings; null when absent.
  Result<const GgufValue *> strings(const std::string &key) const;
  Result<void> eachString(const GgufValue &array,
                          const std::function<Result<void>(uint64_t, std::string_view)> &each) const;

private:
  friend class GgufReader;
  /// One file, its header read and checked (GgufReader.cpp).
  static Result<std::shared_ptr<GgufFile>> openOne(const std::string &path);
  static Result<std::shared_ptr<const GgufFile>> joinShards(std::shared_ptr<GgufFile> named, int64_t count);
  Result<int64_t> splitKey(const std::string &key) const;
  Result<void> checkShard(int64_t number, int64_t count) const;
  Result<void> checkMetadataOf(const GgufFile &first) const;
  std::shared_ptr<const MappedFile> file;
  std::map<std::string, GgufValue> values;
  std::vector<GgufTensor> tensorList;
};

/// An integer element of an array or a scalar; empty for other types and for values beyond int64.
std::optional<int64_t> ggufInteger(GgufType type, std::string_view bytes);
/// Bytes of a scalar type; 0 for strings and arrays.
size_t ggufBytes(GgufType type);
/// As the format's description names it: "uint8", "array".
std::string_view ggufTypeName(GgufType type);
/// A scalar of a file; what `bytes` lacks of it is 0.
template <typename T> T loadGguf(std::string_view bytes) {
  T value{};
  std::memcpy(&value, bytes.data(), std::min(sizeof(T), bytes.size()));
  return value;
}

} // namespace lathe
