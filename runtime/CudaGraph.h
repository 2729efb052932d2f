//===- CudaGraph.h - steps as CUDA graphs -------------------------------------===//
//
// One graph for each bucket of rows (bucketOf), built node by node from the plan when a step first needs it, so that a
// step is a copy of its arrays and one launch. Everything that changes from step to step stands in device memory; what
// a graph has room for besides its rows (logit rows, attention items, entries of the page table) follows the steps: it
// grows at once, shrinks when three quarters of it are unused, and is set in the finished graph, in place. Nothing is
// allocated once a bucket's graph is there.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Abi.h"
#include "runtime/CudaDevice.h"
#include "runtime/CudaPlan.h"
#include "runtime/device/batch.h"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace lathe {

/// Where a step's arrays lie in one block of memory, the same on host and device. What is longest and least often full
/// comes last.
struct StepLayout {
  CudaUnits units;        ///< room for so many; of partials none is needed
  int64_t pageStride = 1; ///< and entries of the page table for each sequence
  uint64_t offsets[device::kBatchArrays] = {};

  static StepLayout make(const CudaUnits &units, int64_t pageStride);
  /// Up to the end of the page table of so many sequences.
  uint64_t bytes(int64_t sequences) const;
  /// Writes the arrays of a step that fits.
  void write(const LatheStep &step, std::byte *block) const;
};

struct CudaGraphOptions {
  std::string architecture; ///< whose forms of kernels are launched
  CudaUnits most;           ///< of one step
  int64_t sequences = 1;    ///< of one step
  int64_t pageStride = 1;   ///< pages of one sequence
};

class CudaGraphs {
public:
  /// The kernel of a form, loaded and ready to be launched with its shared memory.
  using KernelFinder = std::function<Result<cuda::KernelHandle>(const KernelForm &form)>;

  /// `buffers` are the addresses of Plan::buffers. Who gives the plan has verified it for `options` (verifyCudaPlan),
  /// or wants no sense of it: launches of one kernel, to be timed. The device and the plan must outlive the graphs.
  static Result<std::unique_ptr<CudaGraphs>> create(const CudaDevice &device, const Plan &plan,
                                                    const CudaGraphOptions &options, std::vector<cuda::Address> buffers,
                                                    const KernelFinder &find);
  ~CudaGraphs();

  /// Starts a step: its arrays may change as soon as this returns, its results are there when the stream is done
  /// (`wait`). A bucket's first step builds its graph.
  Result<void> run(const LatheStep &step);
  /// Builds the graph for steps of so many rows ahead of them.
  Result<void> prepare(int64_t rows);
  /// Returns when all steps so far have ended; an error of one of them comes to light here.
  Result<void> wait();

  cuda::Stream stream() const;
  /// Graphs built so far, and of the last step's graph what it has room for.
  int64_t graphs() const;
  const StepLayout &layout() const;

private:
  struct Impl;
  explicit CudaGraphs(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl;
};

} // namespace lathe
