//===- ToyModel.h - a model small enough to compute by hand ---------------===//
//
// Two layers over a KV store with more pages than sequences, one head for each column tile. Every logit is a
// chain of float operations over all tokens before it in their order, so that a wrong page, position, mask,
// chunk or copy changes bits.
//
//===----------------------------------------------------------------------===//
#pragma once

#include <cstdint>

namespace lathe::toy {

inline constexpr int64_t kVocab = 37, kStride = 40, kHeads = 2, kDim = 4, kPageTokens = 4, kLayers = 2, kContext = 64;
inline constexpr int64_t kAttentionRows = 3, kHeadTile = 8, kHeadTiles = 5;

inline float embed(int32_t token, int64_t head) { return float((token * 7 + head * 3) % 31) * 0.0625f - 0.9f; }
inline float key(float hidden, int64_t dim, int64_t position) {
  return hidden * (0.5f + 0.25f * float(dim)) + 0.01f * float(position);
}
inline float value(float hidden, int64_t dim) { return hidden * 0.75f - 0.125f * float(dim); }
/// One step of attention: order matters.
inline float attend(float sum, float query, float k, float v) { return sum * 0.96875f + (query + k) * v * 0.0625f; }

} // namespace lathe::toy

#ifndef TOY_KERNELS_ONLY
#include "runtime/Engine.h"

#include <span>
#include <string>
#include <vector>

namespace lathe::toy {

Plan plan();
/// The same for a device that draws tokens: "cuda-host", whose code is ToyDevice.cpp.
Plan devicePlan();
/// The value of head.weight [kVocab][kHeads].
std::vector<float> headWeight();
/// Writes an artifact with code for every known tier, or for the device. End of sequence is token 5.
Result<void> write(const std::string &path, const Plan &plan = toy::plan());
/// A fresh path below the test's temporary folder.
std::string temporaryPath(const std::string &name);
std::shared_ptr<const Artifact> artifact();
std::unique_ptr<Engine> engine(const EngineOptions &options = {});
std::unique_ptr<Engine> deviceEngine(EngineOptions options = {});

/// Logits after the last of `tokens`, bit for bit what the kernels compute.
std::vector<float> logits(std::span<const int32_t> tokens);
/// Greedy continuation.
std::vector<int32_t> continuation(std::vector<int32_t> tokens, int64_t count);
/// Tokens drawn from a seed.
std::vector<int32_t> drawTokens(uint64_t seed, int64_t count);

} // namespace lathe::toy
#endif
