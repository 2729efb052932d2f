//===- Packing.h - weights in the order the kernels read them -------------===//
//
// One packed layout serves all ISA tiers and is mapped at run time as it is (dialects/kern/README.md). What a
// packed array holds is said by its kern.weight: sources, order of output features, part, shape.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Weights.h"
#include "dialects/kern/KernDialect.h"

namespace lathe {

/// A name for a packed array that is unique in an artifact and says what it is:
/// "layers.0.self_attn.q_proj+k_proj+v_proj.codes".
std::string packedName(kern::WeightOp op);
/// "codes [30][144][32][4] i8 heads 64".
std::string packedLayout(kern::WeightOp op);
int64_t packedBytes(kern::WeightOp op);

/// Fills `out` (packedBytes long). Deterministic; memory beyond `out` is one panel's rows.
/// The scale of a group: absmax / 127, rounded up to bf16, so that no code leaves [-127, 127].
Result<void> packWeight(kern::WeightOp op, const WeightSource &source, std::span<std::byte> out);

} // namespace lathe
