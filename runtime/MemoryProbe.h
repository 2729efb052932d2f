//===- MemoryProbe.h - how fast this machine reads memory -----------------===//
#pragma once

#include "runtime/CpuPool.h"

namespace lathe {

/// Bytes a second that all workers of `pool` together read from 2 GiB of huge pages (less where a quarter of the
/// available memory is less), with loads as wide as the CPU has, the best of several passes with and without prefetch;
/// 0 when there is no memory for it. The ceiling of a decode step, which reads every weight once.
double probeReadBandwidth(CpuPool &pool);

} // namespace lathe
