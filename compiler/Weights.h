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
#include <span>
#include <string>
#include <vector>

namespace lathe {

/// A tensor as its source has it.
struct SourceTensor {
  std::string name;           ///< canonical
  std::string element;        ///< "F32" "F16" "BF16" "Q8_0" "Q4_0" "Q4_1" "Q6_K" or "random"
  std::vector<int64_t> shape; ///< row-major, [out, in] for a linear
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
