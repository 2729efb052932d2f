#include "runtime/CpuFeatures.h"
#include "runtime/TierName.h"

#include "test/runtime/ToyModel.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <unistd.h>

namespace lathe {
namespace {

namespace fs = std::filesystem;

/// A file tree that stands in for "/".
class Root {
public:
  Root() : folder(toy::temporaryPath("root")) { fs::remove_all(folder); }
  ~Root() { fs::remove_all(folder); }
  void put(const std::string &path, const std::string &text) {
    fs::create_directories(fs::path(folder + path).parent_path());
    std::ofstream(folder + path) << text;
  }
  const std::string folder;
};

TEST(CpuFeatures, TiersAreWhatTheKernelSays) {
  std::ifstream file("/proc/cpuinfo");
  std::string line, flags;
  while (std::getline(file, line) && flags.empty())
    if (line.starts_with("flags"))
      flags = line + " ";
  ASSERT_FALSE(flags.empty());
  auto has = [&](const char *flag) { return flags.find(fmt::format(" {} ", flag)) != std::string::npos; };
  std::vector<std::string> mine = machineTiers();
  auto runs = [&](const char *tier) { return std::find(mine.begin(), mine.end(), tier) != mine.end(); };
  bool v3 = has("avx2") && has("fma") && has("f16c") && has("bmi1") && has("bmi2") && has("movbe") && has("abm");
  EXPECT_EQ(runs("x86-64-v3"), v3);
  EXPECT_EQ(runs("avx512vnni"),
            v3 && has("avx512f") && has("avx512bw") && has("avx512vl") && has("avx512dq") && has("avx512_vnni"));
  EXPECT_EQ(runs("avxvnni"), v3 && has("avx_vnni"));
  EXPECT_EQ(runs("amx"), runs("avx512vnni") && has("amx_tile") && has("amx_int8"));
  EXPECT_EQ(std::ranges::count_if(mine, [](const std::string &tier) { return emulatesTier(tier); }), 0);
  for (const std::string &tier : mine) {
    EXPECT_TRUE(machineRuns(tier)) << tier;
    EXPECT_EQ(machineRuns(tier + "+bf16"), has("avx512_bf16")) << tier;
    EXPECT_EQ(machineRuns(tier + "+gfni"), has("gfni")) << tier;
    EXPECT_EQ(machineRuns(tier + "+bf16+gfni"), has("avx512_bf16") && has("gfni")) << tier;
    EXPECT_FALSE(machineRuns(tier + "+fp16")) << tier;
  }
  EXPECT_FALSE(machineRuns("mmx+gfni"));
}

TEST(CpuFeatures, NamesOfTiers) {
  EXPECT_EQ(baseOfTier("x86-64-v3"), "x86-64-v3");
  EXPECT_EQ(baseOfTier("avx512vnni+bf16+gfni"), "avx512vnni");
  EXPECT_EQ(featuresOfTier("avx512vnni+bf16+gfni"), "+bf16+gfni");
  EXPECT_FALSE(tierHas("avx512vnni", "bf16"));
  EXPECT_TRUE(tierHas("avx512vnni+bf16+gfni", "bf16"));
  EXPECT_TRUE(tierHas("avx512vnni+bf16+gfni", "gfni"));
  EXPECT_FALSE(tierHas("avx512vnni+gfni", "bf16"));
  EXPECT_FALSE(tierHas("avx512vnni+bf16", "avx512vnni"));
}

TEST(CpuFeatures, ChoosingATier) {
  std::vector<std::string> mine = machineTiers();
  ASSERT_FALSE(mine.empty());
  EXPECT_EQ(*chooseTier(knownTiers(), ""), mine.front());
  EXPECT_EQ(*chooseTier({"x86-64-v3"}, "x86-64-v3"), "x86-64-v3");
  EXPECT_EQ(chooseTier({"x86-64-v3"}, "mmx").error().code, ExitCode::usage);
  EXPECT_EQ(chooseTier({"x86-64-v3"}, "avx512vnni").error().code, ExitCode::mismatch);

  // Code for features is taken where the machine has them, never in place of a better tier, and not when the plain tier
  // is asked for.
  std::string best = mine.front(), bf16 = best + "+bf16", both = best + "+bf16+gfni";
  EXPECT_EQ(*chooseTier({best, bf16}, ""), machineRuns(bf16) ? bf16 : best);
  EXPECT_EQ(*chooseTier({bf16, both, best}, ""), machineRuns(both) ? both : machineRuns(bf16) ? bf16 : best);
  EXPECT_EQ(*chooseTier({bf16, best}, best), best);
  EXPECT_EQ(*chooseTier({mine.back() + "+gfni", best}, ""),
            mine.size() > 1 || !machineRuns(best + "+gfni") ? best : best + "+gfni");
  auto lacking = chooseTier({best}, bf16);
  EXPECT_EQ(lacking.error().code, ExitCode::mismatch);
  EXPECT_EQ(lacking.error().message,
            fmt::format("--cpu {0}: the artifact has code for {1} only; compile it with --cpu {0}", bf16, best));
  auto unknown = chooseTier({best}, best + "+fp16");
  EXPECT_EQ(unknown.error().code, ExitCode::usage);
  EXPECT_NE(unknown.error().message.find("perhaps with features (+bf16, +gfni), found '" + best + "+fp16'"),
            std::string::npos);
  EXPECT_EQ(chooseTier({"avx10"}, "").error().code, ExitCode::mismatch);
  for (const std::string &tier : knownTiers()) {
    bool runs = std::ranges::find(mine, tier) != mine.end();
    EXPECT_EQ(chooseTier(knownTiers(), tier).has_value(), runs) << tier;
    EXPECT_EQ(chooseTier({tier}, "").has_value(), runs) << tier;
  }
}

TEST(CpuFeatures, WorkersFollowTheQuota) {
  int64_t cores = affinityCount();
  Root root;
  EXPECT_EQ(workerCount(root.folder), cores) << "no topology, no quota: one for each CPU of the mask";
  root.put("/proc/self/cgroup", "0::/a/b\n");
  root.put("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
  EXPECT_EQ(workerCount(root.folder), cores);
  root.put("/sys/fs/cgroup/a/cpu.max", "150000 100000\n");
  EXPECT_EQ(workerCount(root.folder), 1) << "a parent's quota holds, rounded down";
  CoreCounts counts = coreCounts(root.folder);
  EXPECT_EQ(counts.affinity, cores);
  EXPECT_EQ(counts.cores, cores);
  EXPECT_EQ(counts.quota, 1.5);
  EXPECT_EQ(counts.quotaFile, root.folder + "/sys/fs/cgroup/a/cpu.max");
  EXPECT_EQ(counts.workers, 1);
  root.put("/sys/fs/cgroup/a/cpu.max", "5000 100000\n");
  EXPECT_EQ(workerCount(root.folder), 1);
  Root old;
  old.put("/proc/self/cgroup", "4:cpu,cpuacct:/c\n3:memory:/m\n");
  old.put("/sys/fs/cgroup/cpu/c/cpu.cfs_quota_us", "100000\n");
  old.put("/sys/fs/cgroup/cpu/c/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(workerCount(old.folder), 1);
  EXPECT_EQ(coreCounts(old.folder).quota, 1);
  EXPECT_EQ(coreCounts(old.folder).quotaFile, old.folder + "/sys/fs/cgroup/cpu/c/cpu.cfs_quota_us");
}

TEST(CpuFeatures, SiblingsCountOnce) {
  int64_t cpus = affinityCount();
  Root root;
  for (long cpu = 0; cpu < sysconf(_SC_NPROCESSORS_CONF); ++cpu)
    root.put(fmt::format("/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list", cpu), "0-1023\n");
  EXPECT_EQ(workerCount(root.folder), 1) << cpus;
  EXPECT_EQ(coreCounts(root.folder).affinity, cpus);
  EXPECT_EQ(coreCounts(root.folder).cores, 1);
  EXPECT_EQ(coreCounts(root.folder).quota, 0) << "there is none";
}

TEST(CpuFeatures, AvailableMemory) {
  Root root;
  root.put("/proc/meminfo", "MemTotal:       8000 kB\nMemFree:        1000 kB\nMemAvailable:   5000 "
                            "kB\nHugePages_Total:       0\nBuffers: 1 kB\n");
  EXPECT_EQ(availableMemory(root.folder), 5000u * 1024);
  root.put("/proc/self/cgroup", "0::/job\n");
  root.put("/sys/fs/cgroup/job/memory.max", "3000000\n");
  root.put("/sys/fs/cgroup/job/memory.current", "1000000\n");
  EXPECT_EQ(availableMemory(root.folder), 2000000u);
  root.put("/sys/fs/cgroup/job/memory.max", "max\n");
  EXPECT_EQ(availableMemory(root.folder), 5000u * 1024);
  EXPECT_GT(availableMemory(), 1u << 20);
}

// The highest level counts, each cache once, instructions not.
TEST(CpuFeatures, LastLevelCache) {
  Root root;
  EXPECT_EQ(lastLevelCacheBytes(root.folder), 32u << 20) << "nothing is known";
  for (long cpu = 0; cpu < sysconf(_SC_NPROCESSORS_CONF); ++cpu) {
    std::string folder = fmt::format("/sys/devices/system/cpu/cpu{}/cache/index", cpu);
    auto cache = [&](int index, const char *type, const char *level, const char *size, const std::string &shared) {
      for (auto [file, text] :
           {std::pair{"type", type}, {"level", level}, {"size", size}, {"shared_cpu_list", shared.c_str()}})
        root.put(fmt::format("{}{}/{}", folder, index, file), fmt::format("{}\n", text));
    };
    cache(0, "Data", "1", "48K", fmt::format("{}", cpu));
    cache(1, "Instruction", "9", "64M", fmt::format("{}", cpu));
    cache(2, "Unified", "2", "3M", "0-1023");
  }
  EXPECT_EQ(lastLevelCacheBytes(root.folder), 3u << 20);
  for (long cpu = 0; cpu < sysconf(_SC_NPROCESSORS_CONF); ++cpu)
    root.put(fmt::format("/sys/devices/system/cpu/cpu{}/cache/index2/shared_cpu_list", cpu), fmt::format("{}\n", cpu));
  EXPECT_EQ(lastLevelCacheBytes(root.folder), uint64_t(affinityCount()) * (3u << 20)) << "one for each CPU";
  EXPECT_GT(lastLevelCacheBytes(), 1u << 16);
}

} // namespace
} // namespace lathe
