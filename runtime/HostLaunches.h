//===- HostLaunches.h - kernels of the CUDA target, run on the CPU --------===//
//
// Walks a plan's launches one after another; each runs by the executor that is linked into the artifact's code
// (runtime/device/host/), which reports what is wrong with a kernel instead of computing something.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Abi.h"
#include "runtime/CodeObject.h"
#include "runtime/Plan.h"
#include "runtime/device/host/launch.h"

#include <memory>
#include <string>
#include <vector>

namespace lathe {

/// Memory behind a buffer of the plan.
struct BufferExtent {
  void *data = nullptr;
  uint64_t bytes = 0;
};

struct HostCheck {
  uint64_t seed = 0;  ///< of the order of blocks and threads; 0: in order
  bool strict = true; ///< looks for races and memory that nobody wrote, besides bounds
};

class HostLaunches {
public:
  /// Forms of kernels are those of the architecture; `buffers` are the plan's, in its order. Plan, memory and code
  /// outlive this.
  static Result<std::unique_ptr<HostLaunches>> create(const Plan &plan, const CodeObject &code,
                                                      const std::string &architecture,
                                                      std::vector<BufferExtent> buffers, const HostCheck &check);

  /// Runs all launches over a step. What a kernel does wrong is ExitCode::checkFailed, with its name, line and thread.
  Result<void> run(const LatheStep &step);

private:
  HostLaunches(const Plan &plan, std::string architecture, device::HostLaunchFn launch,
               std::vector<BufferExtent> buffers, const HostCheck &check)
      : plan(plan), architecture(std::move(architecture)), launch(launch), buffers(std::move(buffers)), check(check) {}

  const Plan &plan;
  std::string architecture;
  device::HostLaunchFn launch;
  std::vector<BufferExtent> buffers;
  HostCheck check;
  uint64_t launches = 0; ///< so far: each has an order of its own
};

} // namespace lathe
