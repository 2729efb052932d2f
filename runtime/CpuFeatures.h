//===- CpuFeatures.h - what this machine can run --------------------------===//
#pragma once

#include "runtime/support/Error.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lathe {

// Tiers are named as runtime/TierName.h says; the first two functions leave features out.

/// Names of all ISA tiers that Lathe knows, best first.
const std::vector<std::string> &knownTiers();
/// The known tiers that this CPU and operating system run, best first (CPUID and XGETBV). Asks Linux once for the tile
/// registers where there are some: call it before threads start.
std::vector<std::string> machineTiers();
/// Names of the features that no tier assumes: "bf16" (AVX512-BF16), "gfni".
std::vector<std::string> knownFeatures();
/// Whether this CPU and operating system run a tier with its features.
bool machineRuns(std::string_view tier);
/// Whether this program executes the instructions that `tier` adds to an older one where the CPU lacks them. This one
/// does not; programs of tests are linked with test/emulation, whose definition stands before this weak one.
bool emulatesTier(std::string_view tier);

/// The tier to run among those of an artifact. `wanted` empty: the best, and of that the code that uses most features.
/// Unknown names are ExitCode::usage, a tier that
/// the artifact or the machine lacks is ExitCode::mismatch.
Result<std::string> chooseTier(const std::vector<std::string> &offered, std::string_view wanted);

/// What this process may use of the machine's CPUs.
struct CoreCounts {
  int64_t affinity = 0;  ///< CPUs of the affinity mask; the threads of a core count each
  int64_t cores = 0;     ///< physical cores that these are on
  double quota = 0;      ///< the least cgroup CPU quota from this process up, in CPUs; 0: none
  std::string quotaFile; ///< what sets it: v2 cpu.max, v1 cpu.cfs_quota_us
  /// Workers that run without disturbing each other: the least of cores and quota, rounded down, since a worker that
  /// the quota stops in mid-step makes all others wait; at least 1.
  int64_t workers = 1;
};
/// `root` replaces "/" in tests.
CoreCounts coreCounts(const std::string &root = "");
int64_t workerCount(const std::string &root = "");
/// CPUs of the affinity mask: more workers than that must not spin.
int64_t affinityCount();
/// Bytes of the last-level caches of the affinity mask's CPUs together; 32 MiB where sysfs does not say.
uint64_t lastLevelCacheBytes(const std::string &root = "");
/// Bytes that can still be allocated: MemAvailable and what the cgroup memory limits leave.
uint64_t availableMemory(const std::string &root = "");

} // namespace lathe
