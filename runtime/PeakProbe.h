//===- PeakProbe.h - how fast this machine multiplies bytes ---------------===//
#pragma once

#include "runtime/CpuPool.h"

#include <string_view>

namespace lathe {

/// INT8 operations a second, a multiply-add being two, that all workers of `pool` together reach with nothing but the
/// multiply-add instruction of an ISA tier (tdpbusd, vpdpbusd, or vpmaddubsw with what widens its sums), the best of
/// several passes of milliseconds. The ceiling of prefill. 0 for a tier that this machine does not run.
double probeInt8Peak(CpuPool &pool, std::string_view tier);

} // namespace lathe
