//===- RopeFactors.h - divisors of rope's frequencies, back to parameters -===//
#pragma once

#include "compiler/Config.h"

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace lathe {

/// The llama3 scaling that divides the frequencies of `rope` by `factors`, one for each pair of a head: what GGUF files
/// of such models hold instead of its parameters. Only the ratios of original length, low and high frequency factor
/// show in them: low is taken as 1, and high, where one point is all there is, as 4 (as all Llama 3 have it). `lengths`
/// are original lengths to try first. Nothing where no parameters make these factors to 1e-6 of themselves.
std::optional<RopeConfig> fitLlama3(RopeConfig rope, const std::vector<float> &factors,
                                    std::span<const int64_t> lengths);

} // namespace lathe
