#include "test/front/Fixtures.h"

#include <algorithm>
#include <atomic>
#include <fstream>
#include <sstream>
#include <unistd.h>

namespace lathe::test {

std::string repositoryFile(std::string_view name) { return std::string(LATHE_ROOT) + "/" + std::string(name); }

std::string readFile(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

TemporaryFolder::TemporaryFolder() {
  static std::atomic<int> count = 0;
  folder = std::filesystem::temp_directory_path() / fmt::format("lathe-front-{}-{}", getpid(), ++count);
  std::filesystem::create_directories(folder);
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
}

std::string TemporaryFolder::path(std::string_view name) const {
  return name.empty() ? folder.string() : (folder / name).string();
}

std::string TemporaryFolder::write(std::string_view name, std::string_view content) const {
  // Rewriting a file in place makes some file systems flush it to the disk first.
  std::filesystem::remove(folder / name);
  std::ofstream file(folder / name, std::ios::binary);
  file << content;
  return path(name);
}

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from << " is not in the text";
  if (at == std::string::npos)
    return text;
  EXPECT_EQ(text.find(from, at + 1), std::string::npos) << from << " is in the text twice";
  return text.replace(at, from.size(), to);
}

std::string ggufString(std::string_view text) { return littleEndian<uint64_t>(text.size()) + std::string(text); }

GgufBytes &GgufBytes::raw(std::string_view key, std::string_view bytes) {
  metadata += ggufString(key) + std::string(bytes);
  ++keys;
  return *this;
}
GgufBytes &GgufBytes::text(std::string_view key, std::string_view value) {
  return raw(key, littleEndian<uint32_t>(8) + ggufString(value));
}
GgufBytes &GgufBytes::integer(std::string_view key, uint32_t value) {
  return raw(key, littleEndian<uint32_t>(4) + littleEndian(value));
}
GgufBytes &GgufBytes::number(std::string_view key, float value) {
  return raw(key, littleEndian<uint32_t>(6) + littleEndian(value));
}
GgufBytes &GgufBytes::boolean(std::string_view key, bool value) {
  return raw(key, littleEndian<uint32_t>(7) + std::string(1, value));
}
GgufBytes &GgufBytes::texts(std::string_view key, const std::vector<std::string> &values) {
  std::string bytes = littleEndian<uint32_t>(9) + littleEndian<uint32_t>(8) + littleEndian<uint64_t>(values.size());
  for (const std::string &value : values)
    bytes += ggufString(value);
  return raw(key, bytes);
}
GgufBytes &GgufBytes::integers(std::string_view key, const std::vector<int32_t> &values) {
  std::string bytes = littleEndian<uint32_t>(9) + littleEndian<uint32_t>(5) + littleEndian<uint64_t>(values.size());
  for (int32_t value : values)
    bytes += littleEndian(value);
  return raw(key, bytes);
}

GgufBytes &GgufBytes::tensor(std::string_view name, std::vector<uint64_t> shape, uint32_t type,
                             std::string_view content, std::optional<uint64_t> offset) {
  data.resize((data.size() + 31) / 32 * 32);
  infos += ggufString(name) + littleEndian<uint32_t>(static_cast<uint32_t>(shape.size()));
  for (auto extent = shape.rbegin(); extent != shape.rend(); ++extent)
    infos += littleEndian(*extent);
  infos += littleEndian(type) + littleEndian<uint64_t>(offset.value_or(data.size()));
  data += content;
  ++tensors;
  return *this;
}

GgufBytes GgufBytes::llama() {
  GgufBytes file;
  file.text("general.architecture", "llama")
      .integer("llama.context_length", 64)
      .integer("llama.embedding_length", 32)
      .integer("llama.block_count", 1)
      .integer("llama.feed_forward_length", 48)
      .integer("llama.attention.head_count", 4)
      .integer("llama.attention.head_count_kv", 2)
      .number("llama.attention.layer_norm_rms_epsilon", 1e-5f)
      .tensor("token_embd.weight", {5, 32}, 0, std::string(5 * 32 * 4, '\0'));
  return file;
}

std::string GgufBytes::bytes() const {
  std::string header = "GGUF" + littleEndian(version) + littleEndian(tensors) + littleEndian(keys) + metadata + infos;
  header.resize((header.size() + 31) / 32 * 32);
  return header + data;
}

std::string safetensorsBytes(std::string_view header, size_t dataBytes) {
  return littleEndian<uint64_t>(header.size()) + std::string(header) + std::string(dataBytes, '\0');
}

} // namespace lathe::test
