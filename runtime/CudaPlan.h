//===- CudaPlan.h - a step on CUDA: shapes of launches, and the proof that their order is enough ---===//
//
// The plan (runtime/Plan.h) lists launches in an order that is right; edges let the device relax it. What a launch may
// rely on, with a for the launch before an edge and b for the one behind it, and of each launch the moments
//
//   start S  <=  wait returned W (S, where it does not wait)  <=  all blocks exited X  <=  ended E (writes visible)
//
//   ordinary edge       E(a) <= S(b)
//   programmatic edge   S(a) <= S(b) where a triggers, else X(a) <= S(b);   E(a) <= W(b) where b waits
//
// as the CUDA programming guide ("Programmatic Dependent Launch") and the PTX manual (griddepcontrol) say: a wait
// covers the launches that an edge leads from, completely, but nothing before them. So a kernel in a chain that never
// waits lets the next but one pass the one before it. Weights may be read from S on, everything else from W on: that is
// what KernelForm::waits promises. A plan is right when for each two launches that touch the same memory, one of them
// writing, the earlier one's E (X, where it only read) is before the later one's W. Steps follow each other whole: what
// a step draws its own launches must not see, only those of the next (Kernel::feeds).
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Plan.h"
#include "runtime/support/Error.h"

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace lathe {

/// What an architecture's name promises. "compute_80" is PTX for any GPU from 8.0 on: the least of them all counts.
struct CudaArchitecture {
  int capability = 0;        ///< 90: compute capability 9.0
  bool exact = false;        ///< "sm_90a": runs on 9.0 alone
  bool portable = false;     ///< "compute_80": PTX, which the driver compiles
  int64_t sharedBytes = 0;   ///< shared memory of a block, static and dynamic together, at most
  bool programmatic = false; ///< has griddepcontrol; else programmatic edges are ordinary ones

  /// "sm_90a", "compute_80". ExitCode::usage: no such name, or older than sm_80.
  static Result<CudaArchitecture> parse(std::string_view name);
  /// Whether code for it runs on a device of that compute capability: cubins within a major version from their minor
  /// version on, exact ones on their own, PTX on newer ones too.
  bool runsOn(int deviceCapability) const;
};

/// How many units a graph has room for, or a step takes.
struct CudaUnits {
  int64_t rows = 0, logitRows = 0, items = 0, partials = 0;
  int64_t of(Unit unit) const;
};

/// The number of units that a graph for `count` of them is made for: the next of 1, 2, 4, 8, 16, 24, 32, 48, 64, 96,
/// 128, 192 …, but not more than `most`; 1 for none.
int64_t bucketOf(int64_t count, int64_t most);

/// The form of a kernel for a number of units. The kernel must have forms for that architecture.
const KernelForm &formOf(const Kernel &kernel, const std::string &architecture, int64_t units);

/// A launch of CUDA. Kernels read the true number of units in device memory, so a grid may be too large.
struct LaunchShape {
  const KernelForm *form = nullptr;
  uint32_t gridX = 1, gridY = 1; ///< tiles, units

  bool operator==(const LaunchShape &) const = default;
};
LaunchShape shapeOf(const Plan &plan, const Launch &launch, const std::string &architecture, const CudaUnits &units);

/// Bytes of a weight, or none where there is no such weight.
using WeightBytes = std::function<std::optional<int64_t>(const std::string &tensor)>;

/// Checks all that a graph takes for granted: forms, arguments against parameters, grids and shared memory against the
/// architecture for up to `most` units, slots, and the order of launches as above. ExitCode::badInput: the message
/// names the launches and what they share. `weights` may be null: sizes of weights are then not checked.
Result<void> verifyCudaPlan(const Plan &plan, const std::string &architecture, const CudaUnits &most,
                            const WeightBytes &weights);

/// Puts every launch behind the one before it: programmatic where all forms of a launch wait. Right for any plan whose
/// list of launches is.
void chainLaunches(Plan &plan);

/// A verified plan as a person reads it, one launch a line: kernel, grid, threads, dynamic shared memory, whether it
/// waits (w) and triggers (t), the launches it is behind ("~": programmatic), what it reads -> what it writes ([slot]).
std::string printTimeline(const Plan &plan, const std::string &architecture, const CudaUnits &units);

} // namespace lathe
