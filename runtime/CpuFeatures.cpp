#include "runtime/CpuFeatures.h"

#include "runtime/TierName.h"

#include <algorithm>
#include <charconv>
#include <cpuid.h>
#include <fstream>
#include <functional>
#include <map>
#include <sched.h>
#include <set>
#include <sstream>
#include <sys/syscall.h>
#include <unistd.h>

namespace lathe {
namespace {

struct Cpuid {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  explicit Cpuid(unsigned leaf, unsigned subleaf = 0) { __get_cpuid_count(leaf, subleaf, &eax, &ebx, &ecx, &edx); }
};

bool bit(unsigned word, int index) { return word >> index & 1; }

/// XCR0: the register state that the operating system saves.
uint64_t savedState() {
  if (!bit(Cpuid(1).ecx, 27)) // OSXSAVE
    return 0;
  unsigned low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t(high) << 32 | low;
}

bool runsAvx2() {
  Cpuid one(1), seven(7), extended(0x80000001);
  bool saved = (savedState() & 0x6) == 0x6;                                                // XMM, YMM
  bool avx = bit(one.ecx, 28) && bit(one.ecx, 12) && bit(one.ecx, 29) && bit(one.ecx, 22); // AVX, FMA, F16C, MOVBE
  bool avx2 =
      bit(seven.ebx, 5) && bit(seven.ebx, 3) && bit(seven.ebx, 8) && bit(extended.ecx, 5); // AVX2, BMI1, BMI2, LZCNT
  return saved && avx && avx2;
}

bool runsAvx512Vnni() {
  Cpuid seven(7);
  bool saved = (savedState() & 0xe6) == 0xe6; // and the mask and ZMM state
  bool foundation =
      bit(seven.ebx, 16) && bit(seven.ebx, 17) && bit(seven.ebx, 30) && bit(seven.ebx, 31); // F, DQ, BW, VL
  return runsAvx2() && saved && foundation && bit(seven.ecx, 11);                           // VNNI
}

bool runsAvxVnni() {
  return runsAvx2() && Cpuid(7).eax >= 1 && bit(Cpuid(7, 1).eax, 4); // AVX-VNNI
}

/// Linux lets a process use the tile registers only after it asked: arch_prctl(2), ARCH_REQ_XCOMP_PERM, XTILEDATA.
bool mayUseTiles() {
  static const bool granted = syscall(SYS_arch_prctl, 0x1023, 18) == 0;
  return granted;
}

bool runsAmx() {
  Cpuid seven(7);
  bool saved = (savedState() & 0x60000) == 0x60000;      // XTILECFG, XTILEDATA
  bool tiles = bit(seven.edx, 24) && bit(seven.edx, 25); // AMX-TILE, AMX-INT8
  return runsAvx512Vnni() && saved && tiles && mayUseTiles();
}

struct Tier {
  const char *name;
  bool (*runs)();
  bool (*emulates)(); ///< what an emulation of its own instructions needs
};
/// Best first.
constexpr Tier kTiers[] = {{"amx", runsAmx, runsAvx512Vnni},
                           {"avx512vnni", runsAvx512Vnni, nullptr},
                           {"avxvnni", runsAvxVnni, runsAvx2},
                           {"x86-64-v3", runsAvx2, nullptr}};

/// A feature that no tier assumes. The state it needs is that of the tier it is used with.
struct Feature {
  std::string name;
  bool (*runs)();
};
const std::vector<Feature> &features() {
  static const std::vector<Feature> all = {
      {"bf16", [] { return bit(Cpuid(7, 1).eax, 5); }}, // AVX512-BF16
      {"gfni", [] { return bit(Cpuid(7).ecx, 8); }},
  };
  return all;
}

std::string readLine(const std::string &path) {
  std::string line;
  std::ifstream file(path);
  std::getline(file, line);
  return line;
}

/// A whole number, or -1 ("max", an absent file).
int64_t number(std::string_view text) {
  int64_t value = -1;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() ? value : -1;
}

/// Calls `read` with the folder of every cgroup that this process is in, from its own up to the root. `controller` is
/// empty for version 2.
void eachCgroup(const std::string &root, const std::string &controller,
                const std::function<void(const std::string &)> &read) {
  std::ifstream file(root + "/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) { // hierarchy:controllers:path
    size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos)
      continue;
    std::string controllers = fmt::format(",{},", std::string_view(line).substr(first + 1, second - first - 1));
    std::string path = line.substr(second + 1);
    if (controller.empty() ? controllers != ",," : controllers.find("," + controller + ",") == std::string::npos)
      continue;
    std::string base = root + "/sys/fs/cgroup" + (controller.empty() ? "" : "/" + controller);
    while (!path.empty() && path != "/") {
      read(base + path);
      path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
    }
    read(base);
  }
}

std::vector<int> affinity() {
  std::vector<int> cpus;
  for (int size = 1024; size <= 1 << 17; size *= 2) {
    cpu_set_t *set = CPU_ALLOC(size);
    size_t bytes = CPU_ALLOC_SIZE(size);
    bool done = sched_getaffinity(0, bytes, set) == 0;
    for (int cpu = 0; done && cpu < size; ++cpu)
      if (CPU_ISSET_S(cpu, bytes, set))
        cpus.push_back(cpu);
    CPU_FREE(set);
    if (done)
      break;
  }
  return cpus;
}

} // namespace

const std::vector<std::string> &knownTiers() {
  static const std::vector<std::string> tiers = [] {
    std::vector<std::string> names;
    for (const Tier &tier : kTiers)
      names.push_back(tier.name);
    return names;
  }();
  return tiers;
}

__attribute__((weak)) bool emulatesTier(std::string_view) { return false; }

std::vector<std::string> machineTiers() {
  std::vector<std::string> tiers;
  for (const Tier &tier : kTiers)
    if (tier.runs() || (tier.emulates && tier.emulates() && emulatesTier(tier.name)))
      tiers.push_back(tier.name);
  return tiers;
}

std::vector<std::string> knownFeatures() {
  std::vector<std::string> names;
  for (const Feature &feature : features())
    names.push_back(feature.name);
  return names;
}

bool machineRuns(std::string_view tier) {
  std::vector<std::string> tiers = machineTiers();
  return std::find(tiers.begin(), tiers.end(), baseOfTier(tier)) != tiers.end() &&
         everyFeature(tier, [](std::string_view name) {
           return std::any_of(features().begin(), features().end(),
                              [&](const Feature &feature) { return feature.name == name && feature.runs(); });
         });
}

Result<std::string> chooseTier(const std::vector<std::string> &offered, std::string_view wanted) {
  std::vector<std::string> mine = machineTiers();
  auto has = [](const std::vector<std::string> &list, std::string_view name) {
    return std::find(list.begin(), list.end(), name) != list.end();
  };
  if (wanted.empty()) {
    std::string best;
    for (size_t i = 0; i < mine.size() && best.empty(); ++i)
      for (const std::string &tier : offered)
        if (baseOfTier(tier) == mine[i] && machineRuns(tier) &&
            (best.empty() || std::count(tier.begin(), tier.end(), '+') > std::count(best.begin(), best.end(), '+')))
          best = tier;
    if (!best.empty())
      return best;
    return fail(ExitCode::mismatch, "the artifact has code for {}, this CPU runs {}; compile it with --cpu",
                fmt::join(offered, ", "),
                mine.empty() ? "none of Lathe's tiers" : fmt::format("{}", fmt::join(mine, ", ")));
  }
  std::vector<std::string> known = knownFeatures();
  if (!has(knownTiers(), baseOfTier(wanted)) ||
      !everyFeature(wanted, [&](std::string_view feature) { return has(known, feature); }))
    return fail(ExitCode::usage, "--cpu: expected one of {}, perhaps with features (+{}), found '{}'",
                fmt::join(knownTiers(), ", "), fmt::join(known, ", +"), wanted);
  if (!has(offered, wanted))
    return fail(ExitCode::mismatch, "--cpu {}: the artifact has code for {} only; compile it with --cpu {}", wanted,
                fmt::join(offered, ", "), wanted);
  if (!machineRuns(wanted)) {
    for (const Feature &feature : features())
      if (feature.runs())
        mine.push_back("+" + feature.name);
    return fail(ExitCode::mismatch, "--cpu {}: this CPU does not run it; it runs {}", wanted, fmt::join(mine, ", "));
  }
  return std::string(wanted);
}

int64_t affinityCount() { return std::max<int64_t>(1, static_cast<int64_t>(affinity().size())); }

CoreCounts coreCounts(const std::string &root) {
  CoreCounts counts;
  std::set<std::string> cores;
  for (int cpu : affinity()) {
    std::string siblings =
        readLine(fmt::format("{}/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list", root, cpu));
    cores.insert(siblings.empty() ? fmt::format("cpu{}", cpu) : siblings);
    ++counts.affinity;
  }
  counts.cores = static_cast<int64_t>(cores.size());
  counts.workers = std::max<int64_t>(1, counts.cores);
  auto limit = [&](const std::string &file, int64_t quota, int64_t period) {
    if (quota <= 0 || period <= 0)
      return;
    counts.workers = std::min(counts.workers, std::max<int64_t>(1, quota / period));
    double cpus = double(quota) / double(period);
    if (counts.quota == 0 || cpus < counts.quota)
      counts.quota = cpus, counts.quotaFile = file;
  };
  eachCgroup(root, "", [&](const std::string &folder) {
    std::istringstream line(readLine(folder + "/cpu.max"));
    std::string quota, period;
    line >> quota >> period;
    limit(folder + "/cpu.max", number(quota), number(period));
  });
  eachCgroup(root, "cpu", [&](const std::string &folder) {
    std::string file = folder + "/cpu.cfs_quota_us";
    limit(file, number(readLine(file)), number(readLine(folder + "/cpu.cfs_period_us")));
  });
  return counts;
}

int64_t workerCount(const std::string &root) { return coreCounts(root).workers; }

uint64_t lastLevelCacheBytes(const std::string &root) {
  std::map<std::pair<int64_t, std::string>, uint64_t> caches; // by level and the CPUs that share it
  for (int cpu : affinity())
    for (int index = 0; index < 16; ++index) {
      std::string folder = fmt::format("{}/sys/devices/system/cpu/cpu{}/cache/index{}/", root, cpu, index);
      std::string size = readLine(folder + "size"), unit = size.empty() ? "" : size.substr(size.size() - 1);
      int64_t level = number(readLine(folder + "level")), bytes = number(size);
      if (level < 1 || bytes < 1 || bytes > int64_t(1) << 40 || readLine(folder + "type") == "Instruction")
        continue;
      caches[{level, readLine(folder + "shared_cpu_list")}] = static_cast<uint64_t>(bytes) << (unit == "K"   ? 10
                                                                                               : unit == "M" ? 20
                                                                                                             : 0);
    }
  uint64_t total = 0;
  for (const auto &[cache, bytes] : caches)
    if (cache.first == caches.rbegin()->first.first)
      total += bytes;
  return total ? total : uint64_t(32) << 20;
}

uint64_t availableMemory(const std::string &root) {
  int64_t available = -1;
  std::ifstream file(root + "/proc/meminfo");
  for (std::string key, value, unit; file >> key >> value && std::getline(file, unit);)
    if (key == "MemAvailable:")
      available = number(value) * 1024;
  auto limit = [&](const std::string &folder, const char *most, const char *used) {
    int64_t bytes = number(readLine(folder + most)), taken = number(readLine(folder + used));
    if (bytes >= 0 && taken >= 0 && (available < 0 || bytes - taken < available))
      available = std::max<int64_t>(0, bytes - taken);
  };
  eachCgroup(root, "", [&](const std::string &folder) { limit(folder, "/memory.max", "/memory.current"); });
  eachCgroup(root, "memory",
             [&](const std::string &folder) { limit(folder, "/memory.limit_in_bytes", "/memory.usage_in_bytes"); });
  return available < 0 ? UINT64_MAX : static_cast<uint64_t>(available);
}

} // namespace lathe
