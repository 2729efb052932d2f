// The plan of a small decoder for CUDA, as the compiler would write it.
#pragma once

#include "runtime/CudaPlan.h"
#include "runtime/Plan.h"

namespace lathe::cuda {

inline constexpr int64_t kHidden = 64, kGated = 128, kVocab = 100, kStride = 112, kHeads = 2, kDim = 32, kPage = 32;

/// `layers` of norm_qkv, attention, o_residual, norm_gate_up, down_residual, between embed and head; all kernels wait
/// and trigger, for sm_80, sm_90a and compute_80; launches are chained.
Plan testPlan(int64_t layers = 2);

/// The same with a launch behind the head that draws tokens, which embed takes in the next step.
Plan sampledPlan(int64_t layers = 2);

/// Sizes of its weights.
std::optional<int64_t> testWeight(const std::string &tensor);

inline constexpr CudaUnits kMostUnits{512, 64, 1024, 2048};

} // namespace lathe::cuda
