//===- BenchReport.h - rows of measurements in llama-bench's terms --------===//
#pragma once

#include "runtime/support/Error.h"

#include <cstdint>
#include <string>
#include <vector>

namespace lathe {

/// One measured setting. Names of JSON fields and columns are llama-bench's where it has them.
struct BenchRow {
  std::string model, quant, tier;
  uint64_t modelBytes = 0;
  int64_t parameters = 0;
  int64_t prompt = 0, generated = 0, depth = 0, batch = 1,
          threads = 1;            ///< tokens a sequence; one of the first two is 0
  std::vector<double> seconds;    ///< of each repetition
  double bytesPerToken = 0;       ///< weights and KV pages read for one token
  double probeBytesPerSecond = 0; ///< what all workers together read from memory
  double int8OpsPerToken = 0;     ///< operations of the linears on 8- or 4-bit weights; 0 in float models
  double int8OpsPerSecond = 0;    ///< what all workers together reach at most on this tier
  double barriers = 0;            ///< share of the workers' time spent waiting for each other, in a median step
  double meanBarriers = 0;        ///< the same over all steps

  double tokens() const { return double(batch) * double(prompt + generated); }
  std::string test() const; ///< "pp512", "tg128 @ d4096"
};

enum class BenchFormat { markdown, json, jsonl, csv };

/// Prints rows as they come: `begin`, each `row`, `end` give text for standard output.
class BenchReport {
public:
  explicit BenchReport(BenchFormat format) : format(format) {}
  std::string begin() const;
  std::string row(const BenchRow &row);
  std::string end() const;

private:
  BenchFormat format;
  int64_t rows = 0;
};

} // namespace lathe
