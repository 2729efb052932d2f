//===- MapWeights.h - weights of tests, held in memory ---------------------===//
#pragma once

#include "compiler/Weights.h"

#include <algorithm>
#include <map>

namespace lathe {

/// Weights held in memory.
class MapWeights : public WeightSource {
public:
  void add(const std::string &name, std::vector<int64_t> shape, std::vector<float> values) {
    tensors[name] = {{name, "F32", std::move(shape)}, std::move(values)};
  }
  const SourceTensor *find(const std::string &name) const override {
    auto found = tensors.find(name);
    return found == tensors.end() ? nullptr : &found->second.first;
  }
  std::vector<SourceTensor> list() const override {
    std::vector<SourceTensor> result;
    for (auto &[name, entry] : tensors)
      result.push_back(entry.first);
    return result;
  }
  Result<void> read(const std::string &name, int64_t row, int64_t rows, std::span<float> out) const override {
    std::copy_n(tensors.at(name).second.begin() + row * out.size() / rows, out.size(), out.begin());
    return {};
  }

private:
  std::map<std::string, std::pair<SourceTensor, std::vector<float>>> tensors;
};

} // namespace lathe
