#include "compiler/importers/Dequantize.h"

#include "compiler/ConfigDiagnostics.h"
#include "compiler/Half.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

namespace lathe {
namespace {

constexpr int kBlock = 32;       // values of a block of Q8_0, Q4_0, Q4_1, Q5_0 and Q5_1
constexpr int kSuperBlock = 256; // of Q4_K, Q5_K and Q6_K

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

inline uint16_t halfBits(const std::byte *from) {
  uint16_t half;
  std::memcpy(&half, from, 2);
  return half;
}

inline const uint8_t *bytesAt(const std::byte *from, int64_t at) {
  return reinterpret_cast<const uint8_t *>(from + at);
}

// 16 bytes: low nibbles are values 0..15, high ones 16..31.
inline void unpackNibbles(const uint8_t *nibbles, uint8_t *to) {
  for (int i = 0; i < kBlock / 2; ++i) {
    to[i] = nibbles[i] & 15;
    to[i + kBlock / 2] = nibbles[i] >> 4;
  }
}

// 4 bytes: bit i is bit 4 of value i.
inline void addFifthBits(const uint8_t *bits, uint8_t *to) {
  for (int i = 0; i < kBlock; ++i)
    to[i] |= static_cast<uint8_t>((bits[i / 8] >> (i % 8) & 1) << 4);
}

// half scale; 32 int8.
void unpackQ8_0(const std::byte *from, Block &to) {
  to.scale = halfBits(from);
  const uint8_t *values = bytesAt(from, 2);
  for (int i = 0; i < kBlock; ++i)
    to.codes[i] = values[i] ^ 128; // + 128
}

// half scale; nibbles.
void unpackQ4_0(const std::byte *from, Block &to) {
  to.scale = halfBits(from);
  unpackNibbles(bytesAt(from, 2), to.codes.data());
}

// half scale, half minimum; nibbles.
void unpackQ4_1(const std::byte *from, Block &to) {
  to.scale = halfBits(from);
  to.minimum = halfBits(from + 2);
  unpackNibbles(bytesAt(from, 4), to.codes.data());
}

// half scale; fifth bits; nibbles.
void unpackQ5_0(const std::byte *from, Block &to) {
  to.scale = halfBits(from);
  unpackNibbles(bytesAt(from, 6), to.codes.data());
  addFifthBits(bytesAt(from, 2), to.codes.data());
}

// half scale, half minimum; fifth bits; nibbles.
void unpackQ5_1(const std::byte *from, Block &to) {
  to.scale = halfBits(from);
  to.minimum = halfBits(from + 2);
  unpackNibbles(bytesAt(from, 8), to.codes.data());
  addFifthBits(bytesAt(from, 4), to.codes.data());
}

// half scale of scales, half scale of minima, 12 bytes of 6-bit scales and minima: of groups 0..3 a byte each, above
// which are the high pairs of bits of groups 4..7, then a byte each with those groups' low nibbles.
void unpackSubScales(const std::byte *from, Block &to) {
  to.scale = halfBits(from);
  to.minimum = halfBits(from + 2);
  const uint8_t *packed = bytesAt(from, 4);
  for (int i = 0; i < 4; ++i) {
    to.subScales[i] = static_cast<int8_t>(packed[i] & 63);
    to.subMinima[i] = static_cast<int8_t>(packed[i + 4] & 63);
    to.subScales[i + 4] = static_cast<int8_t>((packed[i + 8] & 15) | packed[i] >> 6 << 4);
    to.subMinima[i + 4] = static_cast<int8_t>(packed[i + 8] >> 4 | packed[i + 4] >> 6 << 4);
  }
}

// scales; 128 bytes: of each 32, low nibbles are one group, high ones the next.
void unpackQ4_K(const std::byte *from, Block &to) {
  unpackSubScales(from, to);
  const uint8_t *nibbles = bytesAt(from, 16);
  for (int i = 0; i < kSuperBlock; ++i)
    to.codes[i] = nibbles[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15;
}

// scales; 32 bytes, of which bit g is bit 4 in group g; nibbles as in Q4_K.
void unpackQ5_K(const std::byte *from, Block &to) {
  unpackSubScales(from, to);
  const uint8_t *fifth = bytesAt(from, 16), *nibbles = bytesAt(from, 48);
  for (int i = 0; i < kSuperBlock; ++i)
    to.codes[i] = static_cast<uint8_t>((nibbles[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15) |
                                       (fifth[i % 32] >> (i / 32) & 1) << 4);
}

// 128 bytes of low nibbles, 64 bytes of high pairs of bits, 16 int8 scales, half scale of scales.
void unpackQ6_K(const std::byte *from, Block &to) {
  const uint8_t *low = bytesAt(from, 0), *high = bytesAt(from, 128);
  std::memcpy(to.subScales.data(), from + 192, 16);
  to.scale = halfBits(from + 208);
  for (int i = 0; i < kSuperBlock; ++i) {
    int half = i / 128, within = i % 128;
    int nibble = low[64 * half + within % 64] >> (within / 64 * 4) & 15;
    int pair = high[32 * half + within % 32] >> (within / 32 * 2) & 3;
    to.codes[i] = static_cast<uint8_t>(nibble | pair << 4);
  }
}

constexpr BlockFormat kQ8_0{.bits = 8, .group = 32, .bias = 128};
constexpr BlockFormat kQ4_0{.bits = 4, .group = 32, .bias = 8};
constexpr BlockFormat kQ4_1{.bits = 4, .group = 32, .minimum = true};
constexpr BlockFormat kQ5_0{.bits = 5, .group = 32, .bias = 16};
constexpr BlockFormat kQ5_1{.bits = 5, .group = 32, .minimum = true};
constexpr BlockFormat kQ4_K{.bits = 4, .group = 32, .super = kSuperBlock, .minimum = true};
constexpr BlockFormat kQ5_K{.bits = 5, .group = 32, .super = kSuperBlock, .minimum = true};
constexpr BlockFormat kQ6_K{.bits = 6, .group = 16, .super = kSuperBlock, .bias = 32};

template <const BlockFormat &format, int bytes, auto unpack>
void convertBlocks(const std::byte *from, int64_t blocks, float *to) {
  constexpr int values = format.super ? format.super : format.group;
  Block block;
  for (; blocks > 0; --blocks, from += bytes) {
    unpack(from, block);
    float scale = halfToFloat(block.scale), minimum = halfToFloat(block.minimum);
    for (int g = 0; g < values / format.group; ++g, to += format.group) {
      float step = scale, least = minimum;
      if constexpr (format.super != 0)
        step = scale * static_cast<float>(block.subScales[g]);
      if constexpr (format.super != 0 && format.minimum)
        least = -(minimum * static_cast<float>(block.subMinima[g]));
      for (int i = 0; i < format.group; ++i) {
        float value = step * static_cast<float>(block.codes[g * format.group + i] - format.bias);
        to[i] = format.minimum ? value + least : value;
      }
    }
  }
}

template <const BlockFormat &format, int bytes, auto unpack>
constexpr ElementLayout blockLayout(std::string_view name) {
  return {name,  format.super ? format.super : format.group, bytes, convertBlocks<format, bytes, unpack>, format,
          unpack};
}

constexpr std::array<ElementLayout, 11> kElements{{
    {"F32", 1, 4, convertF32},
    {"F16", 1, 2, convertF16},
    {"BF16", 1, 2, convertBf16},
    blockLayout<kQ8_0, 34, unpackQ8_0>("Q8_0"),
    blockLayout<kQ4_0, 18, unpackQ4_0>("Q4_0"),
    blockLayout<kQ4_1, 20, unpackQ4_1>("Q4_1"),
    blockLayout<kQ5_0, 22, unpackQ5_0>("Q5_0"),
    blockLayout<kQ5_1, 24, unpackQ5_1>("Q5_1"),
    blockLayout<kQ4_K, 144, unpackQ4_K>("Q4_K"),
    blockLayout<kQ5_K, 176, unpackQ5_K>("Q5_K"),
    blockLayout<kQ6_K, 210, unpackQ6_K>("Q6_K"),
}};

/// The bytes of rows [row, row + rows).
Result<std::span<const std::byte>> bytesOfRows(const SourceTensor &tensor, const ElementLayout &layout,
                                               std::span<const std::byte> data, const std::string &path, int64_t row,
                                               int64_t rows) {
  bool matrix = tensor.shape.size() == 2;
  if (!matrix && tensor.shape.size() != 1)
    return fail(ExitCode::badInput, "{}: tensor {}: expected one or two dimensions, found {}", path,
                inQuotes(tensor.name), tensor.shape.size());
  int64_t height = matrix ? tensor.shape[0] : 1, width = tensor.shape.back();
  if (row < 0 || rows < 0 || row > height || rows > height - row)
    return fail(ExitCode::internal, "{}: tensor {}: rows {} to {} of {} were asked for", path, inQuotes(tensor.name),
                row, row + rows, height);
  if (width % layout.block != 0)
    return fail(ExitCode::badInput, "{}: tensor {}: a row of {} values is no multiple of {}'s block of {}", path,
                inQuotes(tensor.name), width, layout.name, layout.block);
  int64_t rowBytes = width / layout.block * layout.bytes;
  if (data.size() != static_cast<size_t>(height) * static_cast<size_t>(rowBytes))
    return fail(ExitCode::internal, "{}: tensor {}: expected {} bytes, found {}", path, inQuotes(tensor.name),
                height * rowBytes, data.size());
  return data.subspan(static_cast<size_t>(row * rowBytes), static_cast<size_t>(rows * rowBytes));
}

bool finiteHalf(uint16_t bits) { return (bits & 0x7c00) != 0x7c00; }

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
  auto bytes = bytesOfRows(tensor, *layout, data, path, row, rows);
  if (!bytes)
    return propagate(bytes);
  int64_t width = tensor.shape.back();
  if (out.size() != static_cast<size_t>(rows) * static_cast<size_t>(width))
    return fail(ExitCode::internal, "{}: tensor {}: room for {} values, {} x {} asked for", path, inQuotes(tensor.name),
                out.size(), rows, width);
  if (!out.empty())
    layout->convert(bytes->data(), rows * (width / layout->block), out.data());
  return {};
}

Result<void> readBlockRows(const SourceTensor &tensor, std::span<const std::byte> data, const std::string &path,
                           int64_t row, int64_t rows, const BlockRows &out) {
  const ElementLayout *layout = findElement(tensor.element);
  if (!layout || !layout->unpack)
    return fail(ExitCode::internal, "{}: tensor {}: its element type {} has no blocks", path, inQuotes(tensor.name),
                tensor.element);
  auto bytes = bytesOfRows(tensor, *layout, data, path, row, rows);
  if (!bytes)
    return propagate(bytes);
  const BlockFormat &format = layout->format;
  size_t values = static_cast<size_t>(rows) * static_cast<size_t>(tensor.shape.back()),
         blocks = values / static_cast<size_t>(layout->block), groups = values / static_cast<size_t>(format.group),
         subScales = format.super ? groups : 0;
  if (out.codes.size() != values || out.scales.size() != blocks || out.minima.size() != (format.minimum ? blocks : 0) ||
      out.subScales.size() != subScales || out.subMinima.size() != (format.minimum ? subScales : 0))
    return fail(
        ExitCode::internal,
        "{}: tensor {}: room for {} codes, {} scales, {} minima, {} and {} of groups does not fit {} rows of {} "
        "values in {}",
        path, inQuotes(tensor.name), out.codes.size(), out.scales.size(), out.minima.size(), out.subScales.size(),
        out.subMinima.size(), rows, tensor.shape.back(), layout->name);
  Block block;
  size_t blockGroups = static_cast<size_t>(layout->block / format.group);
  for (size_t b = 0; b < blocks; ++b) {
    layout->unpack(bytes->data() + b * static_cast<size_t>(layout->bytes), block);
    if (!finiteHalf(block.scale) || (format.minimum && !finiteHalf(block.minimum)))
      return fail(ExitCode::badInput, "{}: tensor {}: row {}: a scale of {} that is not finite: the file is damaged",
                  path, inQuotes(tensor.name), row + static_cast<int64_t>(b) / (tensor.shape.back() / layout->block),
                  layout->name);
    std::copy_n(block.codes.begin(), layout->block, out.codes.begin() + static_cast<ptrdiff_t>(b) * layout->block);
    out.scales[b] = block.scale;
    if (format.minimum)
      out.minima[b] = block.minimum;
    if (format.super) {
      std::copy_n(block.subScales.begin(), blockGroups, &out.subScales[b * blockGroups]);
      if (format.minimum)
        std::copy_n(block.subMinima.begin(), blockGroups, &out.subMinima[b * blockGroups]);
    }
  }
  return {};
}

} // namespace lathe
