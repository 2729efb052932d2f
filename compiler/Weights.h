//===- Weights.h - where a model's numbers come from ----------------------===//
//
// One interface over safetensors, GGUF and a seeded generator. Names are canonical (Config.h). Sources map
// their files and never trust a size or an offset.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Config.h"
#include "runtime/support/Error.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lathe {

/// A tensor as its source has it.
struct SourceTensor {
  std::string name;           ///< canonical
  std::string element;        ///< as findElement has it ("F32", "Q4_1", …) or "random"
  std::vector<int64_t> shape; ///< row-major, [out, in] for a linear
};

/// The decoder layer that a canonical name says its tensor belongs to, or -1.
int64_t layerOf(std::string_view tensor);

/// How a quantised GGUF tensor stores its values, a code of `bits` bits for each, along its rows (ggml-quants.c):
///   value = scale * (code - bias) + minimum                            a scale (and minimum) for each group, or
///   value = scale * subScale * (code - bias) - minimum * subMinimum    scale and minimum for `super` values,
///                                                                      subScale and subMinimum for each group,
/// rounded to float32 after each multiplication and addition, from the left.
struct BlockFormat {
  int bits = 8;
  int64_t group = 32;   ///< values that share a scale or subScale; divides the length of a row
  int64_t super = 0;    ///< values that share scale and minimum where there are subScales, else 0; divides a row too
  bool minimum = false; ///< whether there are minima (else they are 0)
  int bias = 0;
};
/// Of an element type whose blocks can be read: Q8_0 (whose code is its s8 + 128), Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K,
/// Q6_K.
std::optional<BlockFormat> blockFormat(std::string_view element);

/// Where readBlocks puts the parts of `rows` rows of k values; what the format does not have is empty.
struct BlockRows {
  std::span<uint8_t> codes;    ///< [rows][k], one a byte
  std::span<uint16_t> scales;  ///< [rows][k / group], or [rows][k / super]: bits of an f16
  std::span<uint16_t> minima;  ///< likewise
  std::span<int8_t> subScales; ///< [rows][k / group]; within 0..63 but for Q6_K
  std::span<int8_t> subMinima; ///< [rows][k / group]; within 0..63
};

class WeightSource {
public:
  virtual ~WeightSource() = default;
  /// Null when there is no tensor of that name.
  virtual const SourceTensor *find(const std::string &name) const = 0;
  virtual std::vector<SourceTensor> list() const = 0;
  /// Rows [row, row + rows) of a tensor as float32 (a 1-d tensor is one row). Exact for every element type but F64.
  /// Thread-safe. `out` holds rows x width floats.
  virtual Result<void> read(const std::string &name, int64_t row, int64_t rows, std::span<float> out) const = 0;
  /// Rows [row, row + rows) of a tensor in its own bits; recombined as BlockFormat says they are read()'s floats bit
  /// for bit. An error for a tensor without blocks (blockFormat), and for a scale or minimum that is not finite.
  /// Thread-safe.
  virtual Result<void> readBlocks(const std::string &name, int64_t row, int64_t rows, const BlockRows &out) const;
  /// The file that holds a tensor, or the file or folder of the source when there is no such tensor: for messages.
  virtual std::string origin(const std::string &name) const { return "weights"; }
};

/// Checks that every weight the config calls for is there with its shape; says which file, tensor, shapes.
Result<void> checkWeights(const ModelConfig &config, const WeightSource &source);

/// Values from a counter-based generator of (seed, name, index): the same on every machine. Linears and
/// embedding: normal, standard deviation 0.02; norm gains 1; biases 0 (as Hugging Face initialises).
std::shared_ptr<const WeightSource> randomWeights(const ModelConfig &config, uint64_t seed);

/// What an input turned out to be.
struct ImportedModel {
  ModelConfig config;
  std::shared_ptr<const WeightSource> weights; ///< null when the input has none (TOML, .cfg)
  std::string tokenizerJson;                   ///< empty when the input has none; form: runtime/Tokenizer.h
};

/// Reads a TOML file, a Hugging Face folder (or its config.json), a GGUF file, or an OSC-Transformers .cfg; what it is
/// is decided by content and name. `weights` is "" (take the input's own), a path (safetensors file, folder or GGUF) or
/// "random:SEED".
Result<ImportedModel> importModel(const std::string &path, const std::string &weights);

} // namespace lathe
