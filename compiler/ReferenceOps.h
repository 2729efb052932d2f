//===- ReferenceOps.h - the meaning of each lm op on plain values ---------===//
//
// Straight from the formulas in dialects/lm/LmOps.td, in arithmetic T (double or float). Shapes that only the run
// decides (row counts, positions) are checked here; what the IR's verifiers hold is taken for granted.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/ReferenceTensor.h"
#include "dialects/lm/LmDialect.h"
#include "runtime/support/Error.h"

#include <span>

namespace lathe {

template <typename T> struct ReferenceOps {
  using Tensor = ReferenceTensor<T>;
  using Kv = ReferenceKv<T>;

  /// scale = absmax / 127 as f32, or that rounded up to bf16; codes round half to even, within ±127.
  static Tensor quantize(const Tensor &x, int64_t group, bool bf16Scale);
  static Tensor stack(std::span<const Tensor *const> inputs, int64_t interleave); ///< interleave 0: one after another
  static std::vector<Tensor> split(const Tensor &x, std::span<const int64_t> widths, int64_t interleave);

  static Result<Tensor> embed(const Tensor &table, const ReferenceBatch &batch);
  static Result<Tensor> selectRows(const Tensor &x, const ReferenceBatch &batch);
  static Tensor norm(lm::NormKind kind, const Tensor &x, const Tensor &gain, const Tensor *bias, double eps,
                     int64_t per);
  static Tensor linear(const Tensor &x, const Tensor &weight, const Tensor *bias);
  static Result<Tensor> rope(const Tensor &x, const ReferenceBatch &batch, int64_t dim, lm::RopeAttr rope);
  static Result<Kv> append(const Tensor &key, const Tensor &value, const Kv &kv, const ReferenceBatch &batch);
  /// window 0: all positions before the row's and its own.
  static Result<Tensor> attention(const Tensor &query, const Kv &kv, const ReferenceBatch &batch, double scale,
                                  int64_t window);
  static T activation(lm::ActivationKind kind, T x);
};

extern template struct ReferenceOps<float>;
extern template struct ReferenceOps<double>;

} // namespace lathe
