#include "compiler/importers/Dequantize.h"

#include "compiler/ConfigDiagnostics.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

namespace lathe {
namespace {

constexpr int kBlock = 32;       // values of a Q8_0, Q4_0 or Q4_1 block
constexpr int kSuperBlock = 256; // values of a Q6_K block

// IEEE half to single without branches, so that loops over it vectorise: normals are rescaled by 2^-112, subnormals
// come out of an exact subtraction (github.com/Maratyszcza/FP16).
inline float halfToFloat(uint16_t half) {
  uint32_t word = uint32_t{half} << 16, sign = word & 0x80000000u, twice = word + word;
  float normal = std::bit_cast<float>((twice >> 4) + (uint32_t{0xE0} << 23)) * 0x1.0p-112f;
  float subnormal = std::bit_cast<float>((twice >> 17) | (uint32_t{126} << 23)) - 0.5f;
  uint32_t bits = twice < (uint32_t{1} << 27) ? std::bit_cast<uint32_t>(subnormal) : std::bit_cast<uint32_t>(normal);
  return std::bit_cast<float>(sign | bits);
}

inline float readHalf(const std::byte *from) {
  uint16_t half;
  std::memcpy(&half, from, 2);
  return halfToFloat(half);
}

void convertF32(const std::byte *from, int64_t blocks, float *to) {
  std::memcpy(to, from, static_cast<size_t>(blocks) * 4);
}

void convertF16(const std::byte *from, int64_t blocks, float *to) {
  for (int64_t i = 0; i < blocks; ++i)
    to[i] = readHalf(from + 2 * i);
}

void convertBf16(const std::byte *from, int64_t blocks, float *to) {
  for (int64_t i = 0; i < blocks; ++i) {
    uint16_t high;
    std::memcpy(&high, from + 2 * i, 2);
    to[i] = std::bit_cast<float>(uint32_t{high} << 16);
  }
}

// half scale; 32 int8.
void convertQ8_0(const std::byte *from, int64_t blocks, float *to) {
  for (; blocks > 0; --blocks, from += 34, to += kBlock) {
    float scale = readHalf(from);
    const auto *values = reinterpret_cast<const int8_t *>(from + 2);
    for (int i = 0; i < kBlock; ++i)
      to[i] = scale * static_cast<float>(values[i]);
  }
}

// half scale; 16 bytes, low nibbles are values 0..15, high ones 16..31; zero is 8.
void convertQ4_0(const std::byte *from, int64_t blocks, float *to) {
  for (; blocks > 0; --blocks, from += 18, to += kBlock) {
    float scale = readHalf(from);
    const auto *nibbles = reinterpret_cast<const uint8_t *>(from + 2);
    for (int i = 0; i < kBlock / 2; ++i) {
      to[i] = scale * static_cast<float>((nibbles[i] & 15) - 8);
      to[i + kBlock / 2] = scale * static_cast<float>((nibbles[i] >> 4) - 8);
    }
  }
}

// half scale, half minimum; nibbles as in Q4_0.
void convertQ4_1(const std::byte *from, int64_t blocks, float *to) {
  for (; blocks > 0; --blocks, from += 20, to += kBlock) {
    float scale = readHalf(from), least = readHalf(from + 2);
    const auto *nibbles = reinterpret_cast<const uint8_t *>(from + 4);
    for (int i = 0; i < kBlock / 2; ++i) {
      to[i] = scale * static_cast<float>(nibbles[i] & 15) + least;
      to[i + kBlock / 2] = scale * static_cast<float>(nibbles[i] >> 4) + least;
    }
  }
}

// 128 bytes of low nibbles, 64 bytes of high pairs of bits, 16 int8 scales (one for 16 values), half scale of scales;
// zero is 32.
void convertQ6_K(const std::byte *from, int64_t blocks, float *to) {
  for (; blocks > 0; --blocks, from += 210, to += kSuperBlock) {
    const auto *low = reinterpret_cast<const uint8_t *>(from);
    const auto *high = reinterpret_cast<const uint8_t *>(from + 128);
    const auto *scales = reinterpret_cast<const int8_t *>(from + 192);
    float scale = readHalf(from + 208);
    for (int i = 0; i < kSuperBlock; ++i) {
      int half = i / 128, within = i % 128;
      int nibble = (low[64 * half + within % 64] >> (within / 64 * 4)) & 15;
      int pair = (high[32 * half + within % 32] >> (within / 32 * 2)) & 3;
      float step = scale * static_cast<float>(scales[i / 16]);
      to[i] = step * static_cast<float>((nibble | pair << 4) - 32);
    }
  }
}

constexpr std::array<ElementLayout, 7> kElements{{
    {"F32", 1, 4, convertF32},
    {"F16", 1, 2, convertF16},
    {"BF16", 1, 2, convertBf16},
    {"Q8_0", kBlock, 34, convertQ8_0},
    {"Q4_0", kBlock, 18, convertQ4_0},
    {"Q4_1", kBlock, 20, convertQ4_1},
    {"Q6_K", kSuperBlock, 210, convertQ6_K},
}};

} // namespace

const ElementLayout *findElement(std::string_view name) {
  auto found = std::find_if(kElements.begin(), kElements.end(),
                            [&](const ElementLayout &layout) { return layout.name == name; });
  return found == kElements.end() ? nullptr : found;
}

std::string listElements() {
  std::vector<std::string_view> names;
  for (const ElementLayout &layout : kElements)
    names.push_back(layout.name);
  return listed(names);
}

Result<void> readRows(const SourceTensor &tensor, std::span<const std::byte> data, const std::string &path, int64_t row,
                      int64_t rows, std::span<float> out) {
  const ElementLayout *layout = findElement(tensor.element);
  if (!layout)
    return fail(ExitCode::badInput, "{}: tensor {}: element type {} is not read; supported: {}", path,
                inQuotes(tensor.name), tensor.element, listElements());
  bool matrix = tensor.shape.size() == 2;
  if (!matrix && tensor.shape.size() != 1)
    return fail(ExitCode::badInput, "{}: tensor {}: expected one or two dimensions, found {}", path,
                inQuotes(tensor.name), tensor.shape.size());
  int64_t height = matrix ? tensor.shape[0] : 1, width = tensor.shape.back();
  if (row < 0 || rows < 0 || row > height || rows > height - row)
    return fail(ExitCode::internal, "{}: tensor {}: rows {} to {} of {} were asked for", path, inQuotes(tensor.name),
                row, row + rows, height);
  if (width % layout->block != 0)
    return fail(ExitCode::badInput, "{}: tensor {}: a row of {} values is no multiple of {}'s block of {}", path,
                inQuotes(tensor.name), width, layout->name, layout->block);
  if (out.size() != static_cast<size_t>(rows) * static_cast<size_t>(width))
    return fail(ExitCode::internal, "{}: tensor {}: room for {} values, {} x {} asked for", path, inQuotes(tensor.name),
                out.size(), rows, width);
  int64_t rowBytes = width / layout->block * layout->bytes;
  if (out.empty())
    return {};
  if (data.size() != static_cast<size_t>(height) * static_cast<size_t>(rowBytes))
    return fail(ExitCode::internal, "{}: tensor {}: expected {} bytes, found {}", path, inQuotes(tensor.name),
                height * rowBytes, data.size());
  layout->convert(data.data() + row * rowBytes, rows * (width / layout->block), out.data());
  return {};
}

} // namespace lathe
