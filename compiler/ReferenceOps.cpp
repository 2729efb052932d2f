//===- ReferenceOps.cpp - the meaning of each lm op on plain values -------===//
#include "compiler/ReferenceOps.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numbers>

namespace lathe {

float ceilToBf16(float x) {
  if (std::isnan(x))
    return x;
  uint32_t bits = std::bit_cast<uint32_t>(x), kept = bits & 0xffff0000u;
  // Dropping bits moves towards zero: up for negative numbers already.
  if (kept != bits && x > 0)
    kept += 0x10000u;
  return std::bit_cast<float>(kept);
}

float roundToBf16(float x) {
  if (std::isnan(x))
    return x;
  uint32_t bits = std::bit_cast<uint32_t>(x);
  bits += 0x7fffu + ((bits >> 16) & 1);
  return std::bit_cast<float>(bits & 0xffff0000u);
}

namespace {

/// Eight partial sums: fixed order whatever the vector width, and the compiler may use one.
template <typename T> T dot(const T *a, const T *b, int64_t n) {
  T lanes[8] = {};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (int64_t l = 0; l < 8; ++l)
      lanes[l] += a[i + l] * b[i + l];
  T sum = 0;
  for (; i < n; ++i)
    sum += a[i] * b[i];
  for (T lane : lanes)
    sum += lane;
  return sum;
}

Result<std::vector<ReferenceBatch::Row>> checkedRows(const ReferenceBatch &batch, int64_t rows) {
  std::vector<ReferenceBatch::Row> result = batch.rows();
  if (int64_t(result.size()) != rows)
    return fail(ExitCode::badInput, "expected one row for each of the batch's {} tokens, found {}", result.size(),
                rows);
  return result;
}

} // namespace

template <typename T> ReferenceTensor<T> ReferenceOps<T>::quantize(const Tensor &x, int64_t group, bool bf16Scale) {
  Tensor result{.shape = x.shape, .group = group};
  int64_t width = x.width(), groups = result.groups();
  result.codes.resize(x.values.size());
  result.scales.resize(x.rows() * groups);
  for (int64_t r = 0; r < x.rows(); ++r)
    for (int64_t g = 0; g < groups; ++g) {
      int64_t begin = r * width + g * group, end = r * width + std::min(width, (g + 1) * group);
      T absmax = 0;
      for (int64_t i = begin; i < end; ++i)
        absmax = std::max(absmax, std::abs(x.values[i]));
      float scale = float(absmax / T(127));
      if (bf16Scale)
        scale = ceilToBf16(scale);
      result.scales[r * groups + g] = scale;
      for (int64_t i = begin; i < end; ++i) {
        T code = absmax == 0 ? T(0) : std::nearbyint(x.values[i] / T(scale));
        result.codes[i] = code >= 127 ? 127 : code >= -127 ? int8_t(code) : -127; // NaN too
      }
    }
  return result;
}

template <typename T>
ReferenceTensor<T> ReferenceOps<T>::stack(std::span<const Tensor *const> inputs, int64_t interleave) {
  const Tensor &first = *inputs[0];
  // A vector stacks its elements as a matrix stacks its rows.
  bool vector = first.shape.size() == 1;
  int64_t width = vector ? 1 : first.shape[1], scales = first.group ? first.groups() : 0, total = 0;
  Tensor result{.shape = first.shape, .group = first.group};
  auto append = [&](const Tensor &from, int64_t begin, int64_t end) {
    auto take = [&](auto &to, const auto &source, int64_t size) {
      to.insert(to.end(), source.begin() + begin * size, source.begin() + end * size);
    };
    if (!from.group)
      return take(result.values, from.values, width);
    take(result.codes, from.codes, width);
    take(result.scales, from.scales, scales);
  };
  for (const Tensor *input : inputs)
    total += input->shape[0];
  if (interleave == 0)
    for (const Tensor *input : inputs)
      append(*input, 0, input->shape[0]);
  else
    for (int64_t begin = 0; begin < first.shape[0]; begin += interleave)
      for (const Tensor *input : inputs)
        append(*input, begin, std::min(begin + interleave, first.shape[0]));
  result.shape[0] = total;
  return result;
}

template <typename T>
std::vector<ReferenceTensor<T>> ReferenceOps<T>::split(const Tensor &x, std::span<const int64_t> widths,
                                                       int64_t interleave) {
  std::vector<Tensor> results;
  for (int64_t width : widths)
    results.push_back(Tensor::zeros({x.rows(), width}));
  for (int64_t r = 0; r < x.rows(); ++r) {
    const T *from = x.row(r);
    auto take = [&](Tensor &to, int64_t begin, int64_t end) {
      std::copy(from, from + (end - begin), to.row(r) + begin);
      from += end - begin;
    };
    if (interleave == 0)
      for (Tensor &result : results)
        take(result, 0, result.width());
    else
      for (int64_t begin = 0; begin < widths[0]; begin += interleave)
        for (Tensor &result : results)
          take(result, begin, std::min(begin + interleave, widths[0]));
  }
  return results;
}

template <typename T>
Result<ReferenceTensor<T>> ReferenceOps<T>::embed(const Tensor &table, const ReferenceBatch &batch) {
  std::vector<ReferenceBatch::Row> rows = batch.rows();
  Tensor result = Tensor::zeros({int64_t(rows.size()), table.width()});
  for (size_t r = 0; r < rows.size(); ++r) {
    if (rows[r].token < 0 || rows[r].token >= table.rows())
      return fail(ExitCode::badInput, "expected a token below {}, found {} in row {}", table.rows(), rows[r].token, r);
    for (int64_t c = 0; c < table.width(); ++c)
      result.row(r)[c] = table.at(rows[r].token, c);
  }
  return result;
}

template <typename T>
Result<ReferenceTensor<T>> ReferenceOps<T>::selectRows(const Tensor &x, const ReferenceBatch &batch) {
  if (auto rows = checkedRows(batch, x.rows()); !rows)
    return propagate(rows);
  Tensor result = Tensor::zeros({int64_t(batch.wanted.size()), x.width()});
  for (size_t r = 0; r < batch.wanted.size(); ++r) {
    if (batch.wanted[r] < 0 || batch.wanted[r] >= x.rows())
      return fail(ExitCode::badInput, "expected a wanted row below {}, found {}", x.rows(), batch.wanted[r]);
    std::copy_n(x.row(batch.wanted[r]), x.width(), result.row(r));
  }
  return result;
}

template <typename T>
ReferenceTensor<T> ReferenceOps<T>::norm(lm::NormKind kind, const Tensor &x, const Tensor &gain, const Tensor *bias,
                                         double eps, int64_t per) {
  Tensor result = Tensor::zeros(x.shape);
  for (int64_t begin = 0; begin < int64_t(x.values.size()); begin += per) {
    const T *in = x.values.data() + begin;
    T *out = result.values.data() + begin;
    T mean = 0, square = 0;
    if (kind == lm::NormKind::layer) {
      for (int64_t c = 0; c < per; ++c)
        mean += in[c];
      mean /= T(per);
    }
    for (int64_t c = 0; c < per; ++c)
      square += (in[c] - mean) * (in[c] - mean);
    T factor = T(1) / std::sqrt(square / T(per) + T(eps));
    for (int64_t c = 0; c < per; ++c)
      out[c] = (in[c] - mean) * factor * gain.values[c] + (bias ? bias->values[c] : T(0));
  }
  return result;
}

template <typename T>
ReferenceTensor<T> ReferenceOps<T>::linear(const Tensor &x, const Tensor &weight, const Tensor *bias) {
  int64_t rows = x.rows(), in = x.width(), out = weight.rows();
  Tensor result = Tensor::zeros({rows, out});
  for (int64_t n = 0; n < out; ++n)
    for (int64_t m = 0; m < rows; ++m) {
      T sum = 0;
      if (!x.group && !weight.group) {
        sum = dot(x.row(m), weight.row(n), in);
      } else if (x.group != weight.group) {
        for (int64_t c = 0; c < in; ++c)
          sum += x.at(m, c) * weight.at(n, c);
      } else {
        for (int64_t g = 0; g < x.groups(); ++g) {
          int32_t exact = 0;
          for (int64_t c = g * x.group; c < std::min(in, (g + 1) * x.group); ++c)
            exact += int32_t(x.codes[m * in + c]) * weight.codes[n * in + c];
          sum += T(x.scales[m * x.groups() + g]) * T(weight.scales[n * x.groups() + g]) * T(exact);
        }
      }
      result.row(m)[n] = bias ? sum + bias->values[n] : sum;
    }
  return result;
}

template <typename T>
Result<ReferenceTensor<T>> ReferenceOps<T>::rope(const Tensor &x, const ReferenceBatch &batch, int64_t dim,
                                                 lm::RopeAttr rope) {
  auto rows = checkedRows(batch, x.rows());
  if (!rows)
    return propagate(rows);
  lm::RopeFrequencies frequencies = lm::ropeFrequencies(rope, dim);
  bool half = rope.getLayout() == lm::RopeLayout::half;
  Tensor result = Tensor::zeros(x.shape);
  for (int64_t r = 0; r < x.rows(); ++r)
    for (int64_t j = 0; j < dim / 2; ++j) {
      // Angles in double whatever T is: they reach thousands of radians.
      double angle = double((*rows)[r].position) * frequencies.inverse[j];
      T cosine = T(std::cos(angle) * frequencies.attentionFactor),
        sine = T(std::sin(angle) * frequencies.attentionFactor);
      int64_t first = half ? j : 2 * j, second = half ? j + dim / 2 : 2 * j + 1;
      for (int64_t head = 0; head < x.width(); head += dim) {
        T a = x.row(r)[head + first], b = x.row(r)[head + second];
        result.row(r)[head + first] = a * cosine - b * sine;
        result.row(r)[head + second] = b * cosine + a * sine;
      }
    }
  return result;
}

template <typename T>
Result<ReferenceKv<T>> ReferenceOps<T>::append(const Tensor &key, const Tensor &value, const Kv &kv,
                                               const ReferenceBatch &batch) {
  auto rows = checkedRows(batch, key.rows());
  if (rows)
    rows = checkedRows(batch, value.rows());
  if (!rows)
    return propagate(rows);
  Kv result = kv;
  int64_t width = kv.heads * kv.dim;
  auto put = [&](std::vector<T> &to, const T *row) {
    if (kv.element == KvElement::int8) {
      Tensor codes = quantize({.shape = {kv.heads, kv.dim}, .values = {row, row + width}}, kv.dim, false);
      for (int64_t c = 0; c < width; ++c)
        to.push_back(codes.at(c / kv.dim, c % kv.dim));
      return;
    }
    for (int64_t c = 0; c < width; ++c)
      to.push_back(T(kv.element == KvElement::bf16 ? roundToBf16(float(row[c])) : float(row[c])));
  };
  for (int64_t r = 0; r < key.rows(); ++r) {
    auto [token, id, position] = (*rows)[r];
    auto &sequence = result.sequences[id];
    int64_t length = sequence.keys.size() / width;
    if (position < 0 || position > length)
      return fail(ExitCode::badInput, "sequence {}: expected a row at position {} or before, found {}", id, length,
                  position);
    sequence.keys.resize(position * width);
    sequence.values.resize(position * width);
    put(sequence.keys, key.row(r));
    put(sequence.values, value.row(r));
  }
  return result;
}

template <typename T>
Result<ReferenceTensor<T>> ReferenceOps<T>::attention(const Tensor &query, const Kv &kv, const ReferenceBatch &batch,
                                                      double scale, int64_t window) {
  auto rows = checkedRows(batch, query.rows());
  if (!rows)
    return propagate(rows);
  int64_t width = kv.heads * kv.dim, heads = query.width() / kv.dim, perKvHead = heads / kv.heads;
  Tensor result = Tensor::zeros(query.shape);
  std::vector<T> weights;
  for (int64_t r = 0; r < query.rows(); ++r) {
    auto [token, id, position] = (*rows)[r];
    auto found = kv.sequences.find(id);
    int64_t length = found == kv.sequences.end() ? 0 : found->second.keys.size() / width;
    if (position < 0 || position >= length)
      return fail(ExitCode::badInput, "sequence {}: expected keys up to position {}, found {}", id, position, length);
    int64_t begin = window ? std::max<int64_t>(0, position - window + 1) : 0;
    for (int64_t h = 0; h < heads; ++h) {
      const T *q = query.row(r) + h * kv.dim;
      const T *keys = found->second.keys.data() + h / perKvHead * kv.dim,
              *values = found->second.values.data() + h / perKvHead * kv.dim;
      weights.clear();
      T best = -std::numeric_limits<T>::infinity(), sum = 0;
      for (int64_t p = begin; p <= position; ++p) {
        weights.push_back(dot(q, keys + p * width, kv.dim) * T(scale));
        best = std::max(best, weights.back());
      }
      for (T &weight : weights)
        sum += weight = std::exp(weight - best);
      T *out = result.row(r) + h * kv.dim;
      for (int64_t p = begin; p <= position; ++p)
        for (int64_t c = 0; c < kv.dim; ++c)
          out[c] += weights[p - begin] / sum * values[p * width + c];
    }
  }
  return result;
}

template <typename T> T ReferenceOps<T>::activation(lm::ActivationKind kind, T x) {
  switch (kind) {
  case lm::ActivationKind::silu:
    return x / (T(1) + std::exp(-x));
  case lm::ActivationKind::gelu:
    return x * T(0.5) * (T(1) + std::erf(x / std::numbers::sqrt2_v<T>));
  case lm::ActivationKind::gelu_tanh: {
    T inner = std::sqrt(T(2) * std::numbers::inv_pi_v<T>) * (x + T(0.044715) * x * x * x);
    return x * T(0.5) * (T(1) + std::tanh(inner));
  }
  case lm::ActivationKind::relu:
    return std::max(x, T(0));
  }
  llvm_unreachable("an activation that the dialect does not know");
}

template struct ReferenceOps<float>;
template struct ReferenceOps<double>;

} // namespace lathe
