//===- HostSideExecutor.h - what executors in the host's memory share -----===//
#pragma once

#include "runtime/Arena.h"
#include "runtime/Artifact.h"
#include "runtime/CodeObject.h"
#include "runtime/CpuPool.h"
#include "runtime/Executor.h"

#include <memory>
#include <vector>

namespace lathe {

class HostSideExecutor : public Executor {
public:
  const std::string &tier() const override { return name; }
  Result<uint64_t> spareBytes(const MemoryLayout &layout) const override;
  Result<void> copyPages(std::span<const PageCopy> copies) override;
  Result<void> fetch(const LatheStep &) override { return {}; }
  Result<StepResults> collect() override;
  Result<double> readBandwidth() override;

protected:
  HostSideExecutor(std::shared_ptr<const Artifact> artifact, CpuPool &workers, std::string tier)
      : artifact(std::move(artifact)), workers(workers), name(std::move(tier)) {}

  /// Loads the tier's code, and the weights unless they are to stay where the file is mapped.
  Result<void> load(bool mapWeights);
  /// Activations and the KV pool.
  Result<void> allocate(const Plan &plan, const MemoryLayout &layout, const StepRoom &room);
  /// Of each buffer of the plan, once memory is allocated.
  Result<std::vector<void *>> addresses() const;
  /// Sets every byte of activations and pool.
  void fill(unsigned char value);

  std::shared_ptr<const Artifact> artifact;
  CpuPool &workers;
  std::unique_ptr<CodeObject> code;
  const Plan *plan = nullptr;
  const MemoryLayout *layout = nullptr;
  Arena pool;

private:
  void readWeights();
  Result<void *> address(const Buffer &buffer) const;

  std::string name;
  Arena activations, weights;
  const std::byte *mapped = nullptr; ///< where the artifact has what `weights` holds; null: weights stay there
};

} // namespace lathe
