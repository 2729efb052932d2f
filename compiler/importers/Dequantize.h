//===- Dequantize.h - stored elements -> float32 --------------------------===//
//
// Bit for bit what the PyPI package `gguf` computes (gguf/quants.py): one rounding for each multiply and add.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Weights.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace lathe {

/// How an element type is stored: `block` values take `bytes` bytes.
struct ElementLayout {
  std::string_view name;
  int64_t block;
  int64_t bytes;
  /// Converts `blocks` blocks; the input need not be aligned.
  void (*convert)(const std::byte *from, int64_t blocks, float *to);
};

/// Null for an element type that is not read. F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q6_K are.
const ElementLayout *findElement(std::string_view name);
/// "F32, F16, …" for messages.
std::string listElements();

/// Rows [row, row + rows) of a tensor whose bytes are `data` (WeightSource::read); `path` is for messages.
Result<void> readRows(const SourceTensor &tensor, std::span<const std::byte> data, const std::string &path, int64_t row,
                      int64_t rows, std::span<float> out);

} // namespace lathe
