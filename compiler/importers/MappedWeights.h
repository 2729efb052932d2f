//===- MappedWeights.h - tensors that lie in mapped files -----------------===//
#pragma once

#include "compiler/Weights.h"
#include "runtime/support/MappedFile.h"

#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

namespace lathe {

/// The weights of one or several files of any format: each tensor's bytes, as the file has them, by canonical name.
class MappedWeights final : public WeightSource {
public:
  struct Entry {
    SourceTensor tensor;
    std::span<const std::byte> data;
    std::shared_ptr<const MappedFile> file; ///< that holds them
  };

  /// `place` is the file or folder of all of them, for messages.
  explicit MappedWeights(std::string place) : place(std::move(place)) {}

  /// False, and nothing changes, where there is a tensor of this name.
  bool add(Entry entry);
  const Entry *entry(const std::string &name) const;

  const SourceTensor *find(const std::string &name) const override;
  std::vector<SourceTensor> list() const override;
  Result<void> read(const std::string &name, int64_t row, int64_t rows, std::span<float> out) const override;
  Result<void> readBlocks(const std::string &name, int64_t row, int64_t rows, const BlockRows &out) const override;
  std::string origin(const std::string &name) const override;

private:
  std::string place;
  std::unordered_map<std::string, Entry> entries;
};

} // namespace lathe
