//===- ProbePasses.h - how a limit of the machine is timed ----------------===//
#pragma once

#include "runtime/CpuPool.h"

#include <functional>

namespace lathe {

/// Calls `program(worker, pass)` on all workers of `pool` together, `passes` times, and returns the seconds of the
/// fastest pass, from the first worker's start to the last one's end. Meanwhile each worker stays on a CPU of its own,
/// as far as there are enough: two that the system puts on one CPU would halve what is found.
double fastestPass(CpuPool &pool, int passes, const std::function<void(int64_t worker, int pass)> &program);

} // namespace lathe
