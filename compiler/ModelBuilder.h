//===- ModelBuilder.h - a ModelConfig as lm IR, stage 00 ------------------===//
//
// One function, `@step(%batch, %kv0 … %kvN-1) -> (logits, kv0 … kvN-1)`: one KV value a layer, logits [?, vocab] of the
// rows that the batch asks for. Every op carries a model word ("q_rope", "attn") as NameLoc around the key and place in
// the config that caused it, so that a dump reads `%q_rope` and a kernel can name its config line:
// loc("gated"(fused<"hidden_act">["model.toml":9:1])); compiler/inspect/Provenance.h reads them.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Config.h"
#include "compiler/Weights.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

namespace lathe {

struct BuildOptions {
  int64_t page = 32;                     ///< positions a page of the KV store, a multiple of 16
  std::string kv = "f32";                ///< element of the KV store: f32 | bf16 | int8
  const WeightSource *weights = nullptr; ///< says which weights are stored in blocks; null: none
};

/// The config must have passed checkConfig. Loads the dialects that it needs into the context.
mlir::OwningOpRef<mlir::ModuleOp> buildModel(mlir::MLIRContext &context, const ModelConfig &config,
                                             const BuildOptions &options = {});

/// The factor that yarn multiplies cos and sin by. Source: Hugging Face modeling_rope_utils.py,
/// _compute_yarn_parameters: as given, else from mscale and mscale_all_dim where both are set, else 0.1 ln(factor) + 1.
double yarnAttentionFactor(const RopeConfig &rope);

} // namespace lathe
