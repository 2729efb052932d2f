//===- Fixtures.h - inputs of the front's tests ---------------------------===//
#pragma once

#include "compiler/Weights.h"

#include <cstdint>
#include <filesystem>
#include <gtest/gtest.h>
#include <string>
#include <string_view>
#include <vector>

namespace lathe::test {

/// A file of the repository, as "test/data/front/llama.gguf".
std::string repositoryFile(std::string_view name);
std::string readFile(const std::string &path);

/// A folder that is removed when the test ends.
class TemporaryFolder {
public:
  TemporaryFolder();
  ~TemporaryFolder();
  std::string path(std::string_view name = {}) const;
  /// Writes a file and gives its path.
  std::string write(std::string_view name, std::string_view content) const;

private:
  std::filesystem::path folder;
};

/// `text` with the one occurrence of `from` replaced; fails the test when there is not exactly one.
std::string replaced(std::string text, std::string_view from, std::string_view to);

/// The message of a failed result with every occurrence of `folder` + "/" left out; "" (and a failed test) when it
/// succeeded.
template <typename T> std::string messageOf(const Result<T> &result, const std::string &folder = {}) {
  if (result) {
    ADD_FAILURE() << "expected an error";
    return {};
  }
  EXPECT_EQ(result.error().code, ExitCode::badInput);
  EXPECT_EQ(result.error().message.find('\n'), std::string::npos) << "an error is one line";
  std::string message = result.error().message, prefix = folder + "/";
  for (size_t at; !folder.empty() && (at = message.find(prefix)) != std::string::npos;)
    message.erase(at, prefix.size());
  return message;
}

#define ASSERT_OK(result) ASSERT_TRUE(result.has_value()) << result.error().message

/// Writes GGUF bytes one field at a time, right or wrong.
class GgufBytes {
public:
  explicit GgufBytes(uint32_t version = 3) : version(version) {}
  GgufBytes &text(std::string_view key, std::string_view value);
  GgufBytes &integer(std::string_view key, uint32_t value);
  GgufBytes &number(std::string_view key, float value);
  GgufBytes &boolean(std::string_view key, bool value);
  GgufBytes &texts(std::string_view key, const std::vector<std::string> &values);
  GgufBytes &integers(std::string_view key, const std::vector<int32_t> &values);
  /// Bytes behind a key, from its type on.
  GgufBytes &raw(std::string_view key, std::string_view bytes);
  /// `shape` is row-major. Without an offset the data follow those of the tensor before.
  GgufBytes &tensor(std::string_view name, std::vector<uint64_t> shape, uint32_t type, std::string_view data,
                    std::optional<uint64_t> offset = {});
  /// A llama of one layer without tensors but the embedding: enough for its config.
  static GgufBytes llama();
  std::string bytes() const;

private:
  uint32_t version;
  uint64_t keys = 0, tensors = 0;
  std::string metadata, infos, data;
};
/// Little-endian bytes.
template <typename T> std::string littleEndian(T value) {
  return std::string(reinterpret_cast<const char *>(&value), sizeof(T));
}
std::string ggufString(std::string_view text);

/// A safetensors file of a header and as many zero bytes of data.
std::string safetensorsBytes(std::string_view header, size_t dataBytes);

} // namespace lathe::test
