//===- Packing.h - weights in the order the kernels read them -------------===//
//
// One packed layout serves all ISA tiers and is mapped at run time as it is (dialects/kern/README.md). What a
// packed array holds is said by its kern.weight: sources, order of output features, part, shape.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Weights.h"
#include "dialects/kern/KernDialect.h"

#include <map>

namespace lathe {

/// A name for a packed array that is unique in an artifact and says what it is:
/// "layers.0.self_attn.q_proj+k_proj+v_proj.codes".
std::string packedName(kern::WeightOp op);
std::string packedName(kern::WeightOp op, kern::Part part);
/// "codes [30][144][32][4] i8 heads 64".
std::string packedLayout(kern::WeightOp op);
int64_t packedBytes(kern::WeightOp op);

class Packer {
public:
  Packer(const ModelConfig &config, const WeightSource &source) : config(config), source(source) {}

  /// Fills `out` (packedBytes long). Deterministic. A coded matrix is read and quantised once if all its parts are
  /// asked for one after another; memory beyond `out` is the parts that wait and a panel's rows a thread.
  Result<void> pack(kern::WeightOp op, std::span<std::byte> out);

private:
  const ModelConfig &config;
  const WeightSource &source;
  std::map<std::string, std::vector<std::byte>> waiting; ///< by packedName
};

} // namespace lathe
