//===- KernelBench.h - the time of one kernel on its own ------------------===//
#pragma once

#include "runtime/Engine.h"

#include <memory>
#include <string>
#include <vector>

namespace lathe {

struct KernelBenchOptions {
  std::string device = {}; ///< as in EngineOptions
  std::string tier = {};   ///< "": the best that machine and artifact share
  int64_t threads = 0;     ///< 0: as many as run without disturbing each other
  int64_t depth = 0;       ///< positions that stand in the KV store before the rows
  int64_t rows = 512;      ///< the most that a pass will ask for
  uint64_t ringBytes = 0;  ///< of weights that a pass reads at least; 0: twice the last-level cache
};

/// A kernel of an artifact in a KernelRing on its own engine: real buffers and KV pages, whose contents mean nothing.
/// An attention's keys and values are as cold as its layers together are large.
class KernelBench {
public:
  static Result<std::unique_ptr<KernelBench>> load(std::shared_ptr<const Artifact> artifact, const std::string &kernel,
                                                   const KernelBenchOptions &options);

  /// Runs every launch of the ring once, on `rows` rows of one sequence (or as many logit rows). Seconds of one launch,
  /// the barrier before it included.
  Result<double> pass(int64_t rows);

  const Kernel &kernel() const { return *entry; }
  const Engine &engine() const { return *machine; }
  Engine &engine() { return *machine; }
  /// Bytes that a launch must read from memory: its weights, or the keys and values of all positions.
  double bytes(int64_t rows) const;
  double multiplyAdds(int64_t rows) const;

private:
  KernelBench() = default;
  bool attends() const { return entry->unit != Unit::rows && entry->unit != Unit::logitRows; }

  std::unique_ptr<Engine> machine;
  const Kernel *entry = nullptr;
  int64_t depth = 0;
  std::vector<int32_t> tokens; ///< [depth + rows]
};

} // namespace lathe
