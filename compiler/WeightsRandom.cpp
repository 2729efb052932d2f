//===- WeightsRandom.cpp - weights from a seeded generator ----------------===//
//
// Value i of a tensor is a pure function of (seed, name, i), computed in integers and one exact float multiply,
// so that every machine, thread and reading order gives the same bits. The sum of four uniform 16-bit numbers
// (Irwin-Hall) stands for the normal distribution: libm's logarithm and cosine would differ between machines.
//
//===----------------------------------------------------------------------===//
#include "compiler/Weights.h"

#include <algorithm>
#include <unordered_map>
#include <xxhash.h>

namespace lathe {
namespace {

// SplitMix64's output function (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
inline uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// 0.02 over the standard deviation of the sum, sqrt(4 (2^32 - 1) / 12).
constexpr float kScale = 0x1.1bc77ap-21f;

class RandomSource final : public WeightSource {
public:
  RandomSource(const ModelConfig &config, uint64_t seed) : seed(seed) {
    for (WeightSpec &spec : listWeights(config)) {
      std::string name = spec.name;
      tensors.emplace(name, SourceTensor{name, "random", std::move(spec.shape)});
    }
  }
  const SourceTensor *find(const std::string &name) const override {
    auto found = tensors.find(name);
    return found == tensors.end() ? nullptr : &found->second;
  }
  std::vector<SourceTensor> list() const override {
    std::vector<SourceTensor> result;
    for (const auto &[name, tensor] : tensors)
      result.push_back(tensor);
    std::sort(result.begin(), result.end(), [](const auto &a, const auto &b) { return a.name < b.name; });
    return result;
  }
  Result<void> read(const std::string &name, int64_t row, int64_t rows, std::span<float> out) const override;
  std::string origin(const std::string &) const override { return fmt::format("random:{}", seed); }

private:
  std::unordered_map<std::string, SourceTensor> tensors;
  uint64_t seed;
};

Result<void> RandomSource::read(const std::string &name, int64_t row, int64_t rows, std::span<float> out) const {
  const SourceTensor *tensor = find(name);
  if (!tensor)
    return fail(ExitCode::badInput, "{}: there is no tensor '{}'", origin(name), name);
  int64_t height = tensor->shape.size() == 2 ? tensor->shape[0] : 1, width = tensor->shape.back();
  if (row < 0 || rows < 0 || row > height || rows > height - row || static_cast<int64_t>(out.size()) != rows * width)
    return fail(ExitCode::internal, "{}: tensor '{}': {} rows from {} of {} x {} into {} values", origin(name), name,
                rows, row, height, width, out.size());
  if (name.ends_with(".bias") || name.ends_with("norm.weight")) {
    std::fill(out.begin(), out.end(), name.ends_with(".bias") ? 0.0f : 1.0f);
    return {};
  }
  uint64_t key = mix(XXH3_64bits_withSeed(name.data(), name.size(), seed));
  uint64_t first = static_cast<uint64_t>(row) * static_cast<uint64_t>(width);
  for (size_t i = 0; i < out.size(); ++i) {
    uint64_t bits = mix(key + (first + i + 1) * 0x9e3779b97f4a7c15u);
    int32_t sum = static_cast<int32_t>(bits & 0xffff) + static_cast<int32_t>(bits >> 16 & 0xffff) +
                  static_cast<int32_t>(bits >> 32 & 0xffff) + static_cast<int32_t>(bits >> 48) - 2 * 0xffff;
    out[i] = static_cast<float>(sum) * kScale;
  }
  return {};
}

} // namespace

std::shared_ptr<const WeightSource> randomWeights(const ModelConfig &config, uint64_t seed) {
  return std::make_shared<RandomSource>(config, seed);
}

} // namespace lathe
