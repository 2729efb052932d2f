#include "tools/lathe/Doctor.h"
#include "tools/lathe/Commands.h"
#include "tools/lathe/Output.h"
#include "tools/support/Terminal.h"

#include "runtime/CpuFeatures.h"
#include "runtime/CpuPool.h"
#include "runtime/MatrixLibrary.h"
#include "runtime/MemoryProbe.h"
#include "runtime/PeakProbe.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <unistd.h>

namespace lathe {
namespace {

/// The value of a "key : value" line of a file of /proc; "" without one.
std::string field(const std::string &path, const std::string &key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    size_t colon = line.find(':');
    size_t end = colon == line.npos ? colon : line.find_last_not_of(" \t", colon - 1);
    if (end == line.npos || line.substr(0, end + 1) != key)
      continue;
    size_t begin = line.find_first_not_of(" \t", colon + 1);
    return begin == line.npos ? "" : line.substr(begin);
  }
  return "";
}

std::string firstLine(const std::string &path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::string gibibytes(uint64_t bytes) { return fmt::format("{:.1f} GiB", double(bytes) / double(1 << 30)); }

/// Flags of /proc/cpuinfo that some kernel can use.
constexpr std::string_view kCpuFlags[] = {"avx2",     "fma",      "f16c",     "avx_vnni",    "avx512f",
                                          "avx512bw", "avx512vl", "avx512dq", "avx512_vnni", "avx512_bf16",
                                          "gfni",     "amx_tile", "amx_int8", "amx_bf16"};

void examineCpu(std::vector<Finding> &findings) {
  std::string model = field("/proc/cpuinfo", "model name");
  std::istringstream all(field("/proc/cpuinfo", "flags"));
  std::vector<std::string> flags(std::istream_iterator<std::string>(all), {}), known;
  for (std::string_view flag : kCpuFlags)
    if (std::ranges::find(flags, flag) != flags.end())
      known.emplace_back(flag);
  findings.push_back({"cpu", "model", model.empty() ? "unknown" : model, Health::good, "", ""});
  findings.push_back({"cpu", "features", fmt::format("{}", fmt::join(known, " ")), Health::good,
                      "the instructions among those that generated code can use", ""});
  std::vector<std::string> tiers = machineTiers();
  if (tiers.empty())
    return findings.push_back(
        {"cpu", "tiers", "none", Health::unusable,
         "compiled models need AVX2, FMA and F16C, which this CPU or its hypervisor does not offer",
         "run on an x86-64 CPU of 2013 or later; in a virtual machine pass the host's CPU through"});
  bool fast = tiers.front() != "x86-64-v3";
  findings.push_back({"cpu", "tiers", fmt::format("{}", fmt::join(tiers, ", ")), fast ? Health::good : Health::notice,
                      fmt::format("artifacts run their code for {}, the best of these that they have", tiers.front()),
                      fast ? "" : "prompts run several times faster on a CPU with VNNI instructions"});
}

void examineCores(std::vector<Finding> &findings) {
  CoreCounts counts = coreCounts();
  int64_t online = std::max<long>(1, sysconf(_SC_NPROCESSORS_ONLN));
  bool narrowed = counts.affinity < online;
  findings.push_back({"cores", "affinity", fmt::format("{} of {} CPUs", counts.affinity, online),
                      narrowed ? Health::notice : Health::good,
                      narrowed ? "this process may not use the others" : "this process may use all CPUs",
                      narrowed ? "taskset, numactl or the container's cpuset sets this" : ""});
  bool threads = counts.affinity > counts.cores;
  findings.push_back(
      {"cores", "SMT",
       threads ? fmt::format("{} threads on {} cores", counts.affinity, counts.cores) : "off or not seen", Health::good,
       threads ? "one worker a core: two on one core would share its arithmetic units" : "each CPU counts as a core",
       ""});
  bool limited = counts.quota > 0 && counts.quota < double(counts.cores);
  findings.push_back(
      {"cores", "quota", counts.quota > 0 ? fmt::format("{:.2f} CPUs ({})", counts.quota, counts.quotaFile) : "none",
       limited ? Health::notice : Health::good,
       limited ? "the cgroup stops this process when it has used that much" : "no cgroup holds this process back",
       limited ? "raise the container's CPU limit (docker run --cpus, Kubernetes limits.cpu) to whole cores" : ""});
  findings.push_back(
      {"cores", "workers", fmt::format("{}", counts.workers), Health::good, "what commands use without --threads", ""});
}

void examineMemory(std::vector<Finding> &findings) {
  uint64_t available = availableMemory();
  findings.push_back({"memory", "available", available == UINT64_MAX ? "unknown" : gibibytes(available), Health::good,
                      "weights and KV store together have to fit; the least of the machine's and the cgroup's", ""});
  findings.push_back({"memory", "last-level cache",
                      fmt::format("{:.0f} MiB", double(lastLevelCacheBytes()) / double(1 << 20)), Health::good,
                      "a model larger than this is read from memory for every token", ""});
}

void examinePages(std::vector<Finding> &findings) {
  std::string modes = firstLine("/sys/kernel/mm/transparent_hugepage/enabled");
  size_t open = modes.find('['), close = modes.find(']');
  std::string mode = open == modes.npos || close == modes.npos ? "" : modes.substr(open + 1, close - open - 1);
  bool good = mode == "always" || mode == "madvise";
  findings.push_back({"huge pages", "transparent", mode.empty() ? "not supported by this kernel" : mode,
                      good ? Health::good : Health::notice,
                      good ? "weights and KV store get pages of 2 MiB, which decode reads about a fifth faster"
                           : "weights and KV store stay in pages of 4 KiB, which decode reads about a fifth slower",
                      good ? "" : "as root: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"});
  std::string reserved = field("/proc/meminfo", "HugePages_Total");
  bool some = !reserved.empty() && reserved != "0";
  findings.push_back({"huge pages", "reserved", reserved.empty() ? "unknown" : reserved,
                      some ? Health::notice : Health::good,
                      some ? "memory set aside (vm.nr_hugepages) that lathe does not use: it asks for transparent ones"
                           : "none are set aside, and none are needed",
                      some ? "if nothing else needs them: sysctl vm.nr_hugepages=0" : ""});
}

void measure(std::vector<Finding> &findings) {
  auto pool = CpuPool::create(workerCount());
  if (!pool)
    return findings.push_back(
        {"measured", "workers", pool.error().message, Health::notice, "nothing could be measured", ""});
  double bandwidth = probeReadBandwidth(**pool) * 1e-9;
  findings.push_back(
      {"measured", "read bandwidth",
       bandwidth > 0 ? fmt::format("{:.1f} GB/s", bandwidth) : "too little memory to measure",
       bandwidth > 0 ? Health::good : Health::notice,
       bandwidth > 0 ? fmt::format("a model of 1 GB decodes at most {:.0f} tokens a second alone", bandwidth) : "",
       ""});
  std::vector<std::string> tiers = machineTiers();
  if (tiers.empty())
    return;
  double peak = probeInt8Peak(**pool, tiers.front()) * 1e-9;
  findings.push_back(
      {"measured", "INT8 peak", fmt::format("{:.0f} GOP/s ({})", peak, tiers.front()), Health::good,
       fmt::format("a model of 1 billion parameters takes at most {:.0f} tokens of a prompt a second", peak / 2), ""});
}

struct Doctor {
  bool json = false, quick = false;

  std::vector<Finding> examine() const {
    std::vector<Finding> findings;
    examineCpu(findings);
    examineCores(findings);
    examineMemory(findings);
    examinePages(findings);
    if (!quick)
      measure(findings);
    auto library = MatrixLibrary::load();
    findings.push_back(
        {"libraries", "oneDNN", library ? "found" : "not found", Health::good,
         library ? "artifacts that were compiled for it run" : "only artifacts whose schedules name it need it", ""});
    for (Finding &finding : examineCuda())
      findings.push_back(std::move(finding));
    return findings;
  }

  Result<void> run() const;
};

constexpr const char *nameOf(Health health) {
  return health == Health::good ? "good" : health == Health::notice ? "notice" : "unusable";
}

std::string table(const std::vector<Finding> &findings) {
  std::string text, subject;
  constexpr Style styles[] = {Style::good, Style::warning, Style::bad};
  constexpr const char *marks[] = {"ok", "note", "FAIL"};
  for (const Finding &finding : findings) {
    if (finding.subject != subject)
      text += (subject.empty() ? "" : "\n") + paint(Style::bold, finding.subject, STDOUT_FILENO) + "\n";
    subject = finding.subject;
    int health = static_cast<int>(finding.health);
    text += fmt::format("  {}{:{}} {:<17} {}\n", paint(styles[health], marks[health], STDOUT_FILENO), "",
                        4 - static_cast<int>(std::string_view(marks[health]).size()), finding.name, finding.value);
    if (!finding.meaning.empty())
      text += fmt::format("       {:<17} {}\n", "", finding.meaning);
    if (!finding.advice.empty())
      text += fmt::format("       {:<17} -> {}\n", "", finding.advice);
  }
  return text;
}

Result<void> Doctor::run() const {
  std::vector<Finding> findings = examine();
  bool usable = std::ranges::none_of(findings, [](const Finding &f) { return f.health == Health::unusable; });
  std::string text = table(findings);
  if (json) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const Finding &finding : findings)
      list.push_back({{"subject", finding.subject},
                      {"name", finding.name},
                      {"value", finding.value},
                      {"health", nameOf(finding.health)},
                      {"meaning", finding.meaning},
                      {"advice", finding.advice}});
    text = jsonLine({{"usable", usable}, {"findings", list}});
  }
  if (auto done = writeOutput(text); !done)
    return done;
  if (!usable)
    return fail(ExitCode::mismatch, "no compiled model runs on this machine; the finding marked FAIL says why");
  return {};
}

} // namespace

void addDoctor(CLI::App &app, Action &action) {
  auto flags = std::make_shared<Doctor>();
  CLI::App *command =
      app.add_subcommand("doctor", "Examine this machine: what runs, how fast it can be, what to change");
  command->group(subject::setup);
  command->footer("Examples:\n  lathe doctor\n  lathe doctor --quick --json");
  command->add_flag("--quick", flags->quick, "Leave out what is measured, which takes seconds");
  command->add_flag("--json", flags->json, "Print one JSON object: usable, findings");
  command->callback([flags, &action] { action = [flags] { return flags->run(); }; });
}

} // namespace lathe
