//===- CodedRows.h - rows of a weight as codes and scales -----------------===//
#pragma once

#include "compiler/Weights.h"
#include "dialects/kern/KernDialect.h"

#include <map>

namespace lathe {

/// The packed arrays of one coded weight, by part.
using PackedParts = std::map<kern::Part, std::span<std::byte>>;

/// The rows of one panel: codes and scales as `coding` (its method) makes them of the source, then stored in the packed
/// order that dialects/kern/KernOps.td describes for CPUs, or for GPUs.
class CodedRows {
public:
  CodedRows(kern::CodingAttr coding, int64_t k, bool device);

  /// All rows become padding: codes and scales of zero.
  void clear();
  /// Rows [row, row + count) of a tensor become the lanes from `lane` on. `importance` is that of the tensor's inputs,
  /// for the method search.
  Result<void> read(const WeightSource &source, const std::string &name, int64_t row, int64_t count, int64_t lane,
                    std::span<const float> importance);
  void store(const PackedParts &parts, int64_t panel) const;

private:
  Result<void> quantize(const WeightSource &source, const std::string &name, int64_t row, int64_t count, int64_t lane);
  Result<void> search(const WeightSource &source, const std::string &name, int64_t row, int64_t count, int64_t lane,
                      std::span<const float> importance);
  Result<void> keep(const WeightSource &source, const std::string &name, int64_t row, int64_t count, int64_t lane);
  /// Blocks of another format in this one, which holds them exactly.
  Result<void> widen(const WeightSource &source, const std::string &name, const BlockFormat &format, int64_t row,
                     int64_t count, int64_t lane);
  /// Codes, and scales and minima as bits of f16.
  void take(std::span<const uint8_t> read, std::span<const uint16_t> halves, std::span<const uint16_t> lows,
            int64_t count, int64_t lane);
  void storeCodes(const PackedParts &parts, int64_t panel) const;
  void storeForDevice(const PackedParts &parts, int64_t panel) const;

  kern::CodingAttr coding;
  int64_t k, paddedK;
  bool device;
  int64_t groups, spans;                    ///< of a row: groups, and what shares a scale
  std::vector<uint8_t> codes;               ///< [32][paddedK], one a byte
  std::vector<float> scales, minima;        ///< [32][spans]
  std::vector<int8_t> subScales, subMinima; ///< [32][groups]
};

} // namespace lathe
