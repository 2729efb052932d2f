//===- Dequantize.h - stored elements -> float32, or their codes and scales ---===//
//
// Floats are bit for bit what the PyPI package `gguf` computes (gguf/quants.py): one rounding for each multiply and
// add.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Weights.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace lathe {

/// A block with its parts apart (BlockFormat): of the arrays, as much as the format has.
struct Block {
  uint16_t scale = 0, minimum = 0;
  std::array<int8_t, 16> subScales, subMinima;
  std::array<uint8_t, 256> codes;
};

/// How an element type is stored: `block` values take `bytes` bytes.
struct ElementLayout {
  std::string_view name;
  int64_t block;
  int64_t bytes;
  /// Converts `blocks` blocks; the input need not be aligned.
  void (*convert)(const std::byte *from, int64_t blocks, float *to);
  BlockFormat format{};
  /// Takes one block apart; null for an element type without codes.
  void (*unpack)(const std::byte *from, Block &to) = nullptr;
};

/// Null for an element type that is not read. listElements() are.
const ElementLayout *findElement(std::string_view name);
/// "F32, F16, …" for messages.
std::string listElements();

/// Rows [row, row + rows) of a tensor whose bytes are `data` (WeightSource::read); `path` is for messages.
Result<void> readRows(const SourceTensor &tensor, std::span<const std::byte> data, const std::string &path, int64_t row,
                      int64_t rows, std::span<float> out);
/// The same rows in their own bits (WeightSource::readBlocks).
Result<void> readBlockRows(const SourceTensor &tensor, std::span<const std::byte> data, const std::string &path,
                           int64_t row, int64_t rows, const BlockRows &out);

} // namespace lathe
