//===- Quantizer.h - floats -> 4-bit codes with group scales --------------===//
//
// Needs no calibration text: what is known of a matrix's inputs is taken from the weights before it, or from any
// activations that the caller measured. Mean KL to f32 on SmolLM2-135M (the GGUF file in Q4_1), inputs in 8 bits in
// groups of 32, on a mixed text (the 213 tokens of the reference's `text_ids`) and on 512 tokens of licences and
// Python; bytes of all matrices with their scales. "Plain" is rounding to nearest, groups are of 64, 8-bit groups too:
//
//   all matrices at 8 bits                                         138.7 MB   0.005   0.008
//   plain, absmax / 7                                               71.4 MB   0.717   0.678
//   plain, absmax / -8 (Q4_0)                                       71.4 MB   0.541   0.513
//   plain, between minimum and maximum (Q4_1)                       75.6 MB   0.445   0.445
//   fitted with minima, all at 4 bits                               75.6 MB   0.261   0.304
//     the head at 8 bits (--quant int4; the next would part q, k    88.9 MB   0.170   0.229
//     and v, which are one product)
//     the head and v_proj at 8 bits                                 90.5 MB   0.127   0.171
//     down_proj at 8 bits too                                      102.9 MB   0.077   0.096
//   those, no importance                                         90.5 MB   0.166   0.225
//   those, importance measured on 16 random tokens               90.5 MB   0.073   0.090
//   those, importance measured on the second text                90.5 MB   0.074   0.070
//   those, without minima                                        87.3 MB   0.267   0.323
//   those, groups of 128                                         87.3 MB   0.213   0.266
//   those, groups of 32 (those of the file)                      96.9 MB   0.004   0.005
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Weights.h"

namespace lathe {

/// 4-bit codes in groups along k: value = scale * code + minimum, or scale * (code - 8) without minima.
constexpr BlockFormat int4Format(int64_t group, bool minimum) {
  return {.bits = 4, .group = group, .minimum = minimum, .bias = minimum ? 0 : 8};
}

/// For each input of a linear, the mean square that it is expected to have: how much an error in that column of the
/// weight matters. Taken from the weights before it, as if those had inputs of independent unit variance:
///   after a norm          gain^2 (+ bias^2)
///   o_proj                ||row of v_proj * gain||^2 of the value that reaches the input
///   down_proj             E[(g u)^2] = |g|^2 |u|^2 + 2 (g.u)^2 with g, u the rows of gate_proj and up_proj, * gain
/// The last finds the few neurons with the massive activations that first tokens cause. Empty for a name that is none
/// of these. Deterministic; holds a few rows at a time; an error is that of WeightSource::read.
Result<std::vector<float>> inputImportance(const ModelConfig &config, const WeightSource &source,
                                           const std::string &name);

/// Quantises rows of k floats to an int4Format of a group up to 256. A group's scale and minimum are chosen to minimise
///   sum of importance[i] * (value[i] - x[i])^2
/// over its values: ranges that are shrunk by steps from [min, max], each refined by least squares for the codes it
/// gives (as make_qkx2_quants of ggml-quants.c). Both are rounded to f16 before codes are chosen, so the error
/// is never above that of rounding to nearest between min and max (without minima: within the largest size).
/// `importance` has k values, none negative, or none at all (then all are 1); each is taken as at least a thousandth of
/// their mean, so that no column is without a say. Tails of k are a short last group. Of `out`, scales and
/// minima are [rows][ceil(k / group)]; a group of zeros has scale 0. Deterministic, the same bits on every machine;
/// thread-safe; takes no memory to speak of. Not finite values, and groups beyond the range of f16, are errors that
/// name the tensor and the row, counted from `row`.
Result<void> quantizeRows(const std::string &name, int64_t row, std::span<const float> rows, int64_t k,
                          const BlockFormat &format, std::span<const float> importance, const BlockRows &out);

} // namespace lathe
