//===- ReferenceTensor.h - the values that the reference computes with ----===//
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <variant>
#include <vector>

namespace lathe {

/// Smallest bf16 that is not below `x` / the bf16 nearest to `x`, ties to even. As float; NaN stays NaN.
float ceilToBf16(float x);
float roundToBf16(float x);

/// A tensor of rank 1 (one row) or 2, row-major: `values`, or with `group` > 0 codes and scales as #lm.quant says.
template <typename T> struct ReferenceTensor {
  std::vector<int64_t> shape = {};
  std::vector<T> values = {};
  int64_t group = 0;              ///< elements that share a scale, along the row; 0: not quantised
  std::vector<int8_t> codes = {}; ///< like values
  std::vector<float> scales = {}; ///< [rows, groups()]; the last group of a row may be short

  int64_t rows() const { return shape.size() == 2 ? shape[0] : 1; }
  int64_t width() const { return shape.empty() ? 0 : shape.back(); }
  int64_t groups() const { return (width() + group - 1) / group; }
  const T *row(int64_t r) const { return values.data() + r * width(); }
  T *row(int64_t r) { return values.data() + r * width(); }
  /// The element's value, of either form.
  T at(int64_t r, int64_t c) const {
    return group ? T(codes[r * width() + c]) * T(scales[r * groups() + c / group]) : values[r * width() + c];
  }

  static ReferenceTensor zeros(std::vector<int64_t> shape) {
    int64_t count = 1;
    for (int64_t size : shape)
      count *= size;
    return {.shape = std::move(shape), .values = std::vector<T>(count)};
  }
};

/// One step: new tokens of some sequences, in row order, and the rows whose logits are wanted.
struct ReferenceBatch {
  struct Sequence {
    int64_t id = 0;
    std::vector<int64_t> tokens;
    int64_t start = 0; ///< position of tokens[0]; what the sequence had from there on is forgotten
  };
  std::vector<Sequence> sequences;
  std::vector<int64_t> wanted; ///< row numbers of the step

  struct Row {
    int64_t token, sequence, position;
  };
  std::vector<Row> rows() const {
    std::vector<Row> result;
    for (const Sequence &sequence : sequences)
      for (size_t i = 0; i < sequence.tokens.size(); ++i)
        result.push_back({sequence.tokens[i], sequence.id, sequence.start + int64_t(i)});
    return result;
  }
};

/// int8: codes of -127 to 127 with one f32 scale = absmax / 127 for a head's key or value of one position.
enum class KvElement { f32, bf16, int8 };

/// The keys and values of one layer, rounded to the KV element: per sequence [positions, heads * dim].
template <typename T> struct ReferenceKv {
  int64_t heads = 0, dim = 0;
  KvElement element = KvElement::f32;
  struct Sequence {
    std::vector<T> keys, values;
  };
  std::map<int64_t, Sequence> sequences = {};
};

/// What a value of the IR holds. Values never change once made.
template <typename T>
using ReferenceValue = std::variant<std::shared_ptr<const ReferenceTensor<T>>, std::shared_ptr<const ReferenceKv<T>>,
                                    std::shared_ptr<const ReferenceBatch>>;

} // namespace lathe
