//===- Tuner.cpp - measures schedules and writes a table of the best ----------===//
#include "compiler/Tuner.h"

#include "compiler/Compiler.h"
#include "compiler/StageReader.h"
#include "compiler/TuneCandidates.h"
#include "compiler/Weights.h"
#include "runtime/Artifact.h"
#include "runtime/CpuFeatures.h"
#include "runtime/KernelBench.h"
#include "runtime/MatrixLibrary.h"
#include "runtime/support/AtomicFile.h"
#include "runtime/support/Interrupt.h"
#include "runtime/support/MappedFile.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <optional>
#include <unistd.h>

namespace lathe {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kContext = 512; ///< the most rows that are measured
/// Many rows read their weights once for each block of them, so most find them in a cache, in a step as here.
constexpr int64_t kManyRows = 64;
constexpr uint64_t kManyRowsRing = 8 << 20;

constexpr size_t kPairs = 9, kFewestPairs = 5;
constexpr double kSettingSeconds = 0.4; ///< a number of rows gets so long before it makes do with fewer pairs
constexpr int kSpreadMeasurements = 2;

/// A folder of its own with the few files that the tuner writes for the compiler, gone at the end or on Ctrl-C.
class WorkFolder {
public:
  static Result<std::unique_ptr<WorkFolder>> create() {
    const char *parent = std::getenv("TMPDIR");
    std::string name = fmt::format("{}/lathe-tune-XXXXXX", parent && *parent ? parent : "/tmp");
    if (!mkdtemp(name.data()))
      return fail(ExitCode::resource, "{}: cannot make a temporary folder: set TMPDIR to a folder that can be written",
                  name);
    return std::unique_ptr<WorkFolder>(new WorkFolder(name));
  }
  ~WorkFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
    for (const std::string *path : {&artifact, &table, &model, &folder})
      keepOnInterrupt(path->c_str());
  }
  Result<void> write(const std::string &path, const std::string &text) const {
    std::ofstream file(path, std::ios::binary);
    file << text;
    file.close();
    if (!file)
      return fail(ExitCode::resource, "{}: cannot write {} bytes: is the disk full?", path, text.size());
    return {};
  }

  const std::string folder, model = folder + "/model.toml", table = folder + "/schedules.toml",
                            artifact = folder + "/model.lathe";

private:
  explicit WorkFolder(const std::string &name) : folder(name) {
    for (const std::string *path : {&artifact, &table, &model, &folder})
      removeOnInterrupt(path->c_str());
  }
};

std::string processorName() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("model name"))
      return line.substr(std::min(line.find(':') + 2, line.size()));
  return "an unknown CPU";
}

std::string today() {
  std::time_t now = std::time(nullptr);
  std::tm utc;
  gmtime_r(&now, &utc);
  char text[16];
  std::strftime(text, sizeof(text), "%Y-%m-%d", &utc);
  return text;
}

std::string microseconds(const std::vector<double> &seconds) {
  std::string text;
  for (double value : seconds)
    text += fmt::format("{}{:.1f}", text.empty() ? "" : ", ", value * 1e6);
  return text;
}

class Tuner {
public:
  Tuner(const TuneOptions &options, const TuneReports &reports) : options(options), reports(reports) {}

  Result<std::vector<TunedKernel>> run() {
    for (auto step : {&Tuner::import, &Tuner::compileBase, &Tuner::findKernels, &Tuner::measureSpread})
      if (auto done = (this->*step)(); !done)
        return propagate(done);
    // Register tiles first, then the number of tiles in a block, around the best tile of each kernel,
    // then a library.
    for (auto candidates : {tileCandidates, blockCandidates})
      if (auto done = rounds(candidates); !done)
        return propagate(done);
    if (auto library = MatrixLibrary::load(); !library)
      reports.line("not tried: " + library.error().message);
    else if (auto done = rounds(libraryCandidates); !done)
      return propagate(done);
    if (auto done = writeTable(); !done)
      return propagate(done);
    return kernels;
  }

private:
  using Candidates = std::vector<ScheduleEntry> (*)(const ScheduleEntry &);

  Result<void> import();
  Result<void> compileBase();
  Result<void> findKernels();
  Result<void> writeTable();
  Result<void> measureSpread();
  Result<void> rounds(Candidates candidates);
  Result<void> round(const std::vector<std::optional<ScheduleEntry>> &entries);
  Result<void> compare(TunedKernel &kernel, const ScheduleEntry &entry, std::shared_ptr<const Artifact> candidate);

  Result<std::shared_ptr<const Artifact>> compile(const std::string &table);
  /// Nothing when the time is up.
  Result<std::optional<TuneTimes>> measure(const TunedKernel &kernel, std::shared_ptr<const Artifact> candidate);
  Result<bool> measureRows(const TunedKernel &kernel, std::shared_ptr<const Artifact> candidate,
                           const std::vector<int64_t> &rows, uint64_t ringBytes, TuneTimes &times);
  /// One candidate is measured however little time there is.
  bool late() const { return triedAny && Clock::now() >= end; }
  void busy(const std::string &what) const {
    using std::chrono::milliseconds;
    auto total = static_cast<int64_t>(options.seconds * 1000);
    auto left = std::chrono::duration_cast<milliseconds>(end - Clock::now()).count();
    reports.progress(what, std::clamp<int64_t>(total - left, 0, total), total);
  }

  TuneOptions options;
  const TuneReports &reports;
  Clock::time_point end =
      Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(options.seconds));
  std::unique_ptr<WorkFolder> work;
  std::string modelName;
  std::shared_ptr<const Artifact> base;
  std::vector<TunedKernel> kernels;
  bool triedAny = false;
};

} // namespace

/// One layer of the model, with the shapes of all of them.
Result<void> Tuner::import() {
  auto tier = chooseTier(machineTiers(), options.tier);
  if (!tier)
    return propagate(tier);
  options.tier = *tier;
  if (auto writable = AtomicFile::create(options.output); !writable) // said before the minutes pass
    return propagate(writable);
  auto folder = WorkFolder::create();
  if (!folder)
    return propagate(folder);
  work = std::move(*folder);
  ModelConfig config;
  if (options.model.ends_with(".lathe")) {
    auto artifact = Artifact::open(options.model);
    if (!artifact)
      return propagate(artifact);
    auto text = (*artifact)->member("config.toml");
    if (!text)
      return fail(ExitCode::badInput, "{}: has no config.toml", options.model);
    auto parsed =
        parseConfig({reinterpret_cast<const char *>(text->data()), text->size()}, options.model + "/config.toml");
    if (!parsed)
      return propagate(parsed);
    config = std::move(*parsed);
    options.quant = (*artifact)->manifest().quant;
    for (const PackedWeight &weight : (*artifact)->manifest().weights)
      if (size_t at = weight.layout.find(" group "); at != std::string::npos)
        options.group = std::atoll(weight.layout.c_str() + at + 7);
    if (options.group < 4 || options.group > 1024 || options.group % 4 != 0)
      return fail(ExitCode::badInput, "{}: expected weights in groups of a multiple of 4 from 4 to 1024, found {}",
                  options.model, options.group);
  } else {
    auto imported = importModel(options.model, "random:0");
    if (!imported)
      return propagate(imported);
    config = std::move(imported->config);
  }
  if (auto checked = checkConfig(config); !checked)
    return checked;
  modelName = config.name.empty() ? baseName(options.model) : config.name;
  config.numHiddenLayers = 1;
  config.layerTypes.clear();
  config.slidingWindow.reset();
  config.maxPositionEmbeddings = kContext;
  return work->write(work->model, printConfig(config));
}

Result<std::shared_ptr<const Artifact>> Tuner::compile(const std::string &table) {
  CompileOptions compile;
  compile.model = work->model;
  compile.weights = "random:0";
  compile.output = work->artifact;
  compile.quant = options.quant;
  compile.group = options.group;
  compile.context = kContext;
  compile.tiers = {options.tier};
  if (!table.empty()) {
    if (auto written = work->write(work->table, table); !written)
      return propagate(written);
    compile.schedules = work->table;
  }
  if (auto done =
          compileModel(compile, [this](const std::string &, int64_t, int64_t) { busy("compiling candidates"); });
      !done)
    return propagate(done);
  auto artifact = Artifact::open(work->artifact);
  std::error_code ignored;
  std::filesystem::remove(work->artifact, ignored); // the mapping keeps it
  return artifact;
}

Result<void> Tuner::compileBase() {
  reports.line(fmt::format("compiling a layer of {} for {}", modelName, options.tier));
  auto artifact = compile("");
  if (!artifact)
    return propagate(artifact);
  base = std::move(*artifact);
  return {};
}

Result<void> Tuner::findKernels() {
  auto text = [&](const char *member) {
    auto bytes = base->member(member);
    return bytes ? std::string_view(reinterpret_cast<const char *>(bytes->data()), bytes->size()) : std::string_view();
  };
  auto linears = readLinears(text("stages/10-fused.mlir"), options.tier);
  if (!linears)
    return propagate(linears);
  auto schedules = readSchedules(text("stages/20-kern.mlir"));
  if (!schedules)
    return propagate(schedules);
  auto plan = parsePlan(text("plan.json"));
  if (!plan)
    return propagate(plan);
  std::string names;
  for (const auto &[name, key] : *linears) {
    names += (names.empty() ? "" : ", ") + name;
    auto same = [&key = key](const TunedKernel &other) { return other.base.key == key; };
    auto launched = std::ranges::find(plan->kernels, name, &Kernel::symbol);
    if ((!options.kernel.empty() && options.kernel != name) || launched == plan->kernels.end() ||
        std::ranges::any_of(kernels, same))
      continue;
    TunedKernel kernel{.name = name};
    kernel.base = (*schedules)[name][options.tier];
    kernel.base.key = key;
    kernel.best = kernel.base;
    kernel.rows = {1, 8};
    if (launched->unit == Unit::rows) // the logits of many rows at once are nobody's concern
      kernel.rows.push_back(kContext);
    kernels.push_back(std::move(kernel));
  }
  if (kernels.empty())
    return fail(ExitCode::usage, "--kernel {}: no such linear kernel; there are: {}", options.kernel, names);
  return {};
}

/// What there is to keep, as a whole file.
Result<void> Tuner::writeTable() {
  std::string text = fmt::format("# {}, {}, {} threads: lathe tune of {}, {}\n", today(), processorName(),
                                 options.threads ? options.threads : workerCount(), modelName, options.quant);
  for (const TunedKernel &kernel : kernels)
    if (kernel.improved()) {
      std::string rows = fmt::format("{}", fmt::join(kernel.rows, ", "));
      text += "\n" + printSchedule(kernel.best, fmt::format("{}, {} rows: {} us a launch; the default {} takes {}",
                                                            kernel.name, rows, microseconds(kernel.bestSeconds),
                                                            kernel.base.tile(), microseconds(kernel.baseSeconds)));
    }
  auto file = AtomicFile::create(options.output);
  if (!file)
    return propagate(file);
  if (auto done = (*file)->write(text); !done)
    return done;
  return (*file)->commit();
}

Result<std::optional<TuneTimes>> Tuner::measure(const TunedKernel &kernel, std::shared_ptr<const Artifact> candidate) {
  std::vector<int64_t> few, many;
  for (int64_t rows : kernel.rows)
    (rows < kManyRows ? few : many).push_back(rows);
  TuneTimes times;
  for (auto [rows, ringBytes] : {std::pair(&few, uint64_t(0)), std::pair(&many, kManyRowsRing)}) {
    if (rows->empty())
      continue;
    auto done = measureRows(kernel, candidate, *rows, ringBytes, times);
    if (!done)
      return propagate(done);
    if (!*done)
      return std::nullopt;
  }
  return times;
}

/// Adds the times of some numbers of rows; false when the time is up.
Result<bool> Tuner::measureRows(const TunedKernel &kernel, std::shared_ptr<const Artifact> candidate,
                                const std::vector<int64_t> &rows, uint64_t ringBytes, TuneTimes &times) {
  KernelBenchOptions bench{
      .tier = options.tier, .threads = options.threads, .rows = std::ranges::max(rows), .ringBytes = ringBytes};
  auto first = KernelBench::load(base, kernel.name, bench);
  if (!first)
    return propagate(first);
  auto second = KernelBench::load(std::move(candidate), kernel.name, bench);
  if (!second)
    return propagate(second);
  // A short pass before each that counts: the other one's workers have slept meanwhile.
  auto timed = [](KernelBench &kernel, int64_t rows) -> Result<double> {
    if (auto woken = kernel.pass(1); !woken)
      return woken;
    return kernel.pass(rows);
  };
  for (int64_t count : rows) {
    TuneTimes::Setting setting{.rows = count};
    Clock::time_point begin = Clock::now();
    for (size_t pair = 0; pair <= kPairs; ++pair) {
      if (late())
        return false;
      busy("measuring " + kernel.name);
      if (setting.base.size() >= kFewestPairs && Clock::now() - begin > std::chrono::duration<double>(kSettingSeconds))
        break;
      std::array<double, 2> seconds;
      for (size_t turn : {pair % 2, 1 - pair % 2}) { // who goes first changes
        auto spent = timed(turn == 0 ? **first : **second, count);
        if (!spent)
          return propagate(spent);
        seconds[turn] = *spent;
      }
      if (pair == 0)
        continue; // touches the memory
      setting.base.push_back(seconds[0]);
      setting.candidate.push_back(seconds[1]);
    }
    times.settings.push_back(std::move(setting));
  }
  return true;
}

/// The largest of a few measurements of the default against itself.
Result<void> Tuner::measureSpread() {
  for (TunedKernel &kernel : kernels) {
    if (&kernel != &kernels.front() && Clock::now() >= end)
      return {};
    double spread = 0;
    for (int i = 0; i < kSpreadMeasurements; ++i) {
      auto times = measure(kernel, base);
      if (!times)
        return propagate(times);
      if (!*times)
        return {};
      spread = std::max(spread, (*times)->spread());
      kernel.baseSeconds = (*times)->seconds(false);
    }
    kernel.spread = spread;
    reports.line(fmt::format("{}: {} takes {} us, spread {:.1f} %", kernel.name, kernel.base.tile(),
                             microseconds(kernel.baseSeconds), kernel.spread * 100));
  }
  return {};
}

Result<void> Tuner::rounds(Candidates candidates) {
  std::vector<std::vector<ScheduleEntry>> lists;
  size_t most = 0;
  for (const TunedKernel &kernel : kernels) {
    lists.push_back(candidates(kernel.best));
    most = std::max(most, lists.back().size());
  }
  for (size_t i = 0; i < most && !late(); ++i) {
    std::vector<std::optional<ScheduleEntry>> entries(kernels.size());
    for (size_t k = 0; k < kernels.size(); ++k)
      if (i < lists[k].size() && kernels[k].spread > 0)
        entries[k] = lists[k][i];
    if (auto done = round(entries); !done)
      return done;
  }
  return {};
}

Result<void> Tuner::round(const std::vector<std::optional<ScheduleEntry>> &entries) {
  std::string table;
  for (const auto &entry : entries)
    if (entry)
      table += printSchedule(*entry, "");
  if (table.empty())
    return {};
  auto candidate = compile(table);
  if (!candidate)
    return propagate(candidate);
  for (size_t k = 0; k < kernels.size() && !late(); ++k)
    if (entries[k])
      if (auto done = compare(kernels[k], *entries[k], *candidate); !done)
        return done;
  return {};
}

Result<void> Tuner::compare(TunedKernel &kernel, const ScheduleEntry &entry,
                            std::shared_ptr<const Artifact> candidate) {
  auto times = measure(kernel, candidate);
  if (!times && times.error().code == ExitCode::mismatch) { // a library whose numbers are others
    reports.line(fmt::format("{}: {} is not tried: {}", kernel.name, entry.tile(), times.error().message));
    return {};
  }
  if (!times)
    return propagate(times);
  if (!*times)
    return {};
  ++kernel.tried;
  triedAny = true;
  TuneVerdict verdict = judge(**times, kernel.spread);
  verdict.wins &= verdict.ratio < kernel.ratio;
  reports.line(fmt::format("{}: {} takes {} us, {:.3f} of the default{}", kernel.name, entry.tile(),
                           microseconds((*times)->seconds(true)), verdict.ratio,
                           verdict.wins ? ", measured again" : ""));
  if (!verdict.wins)
    return {};
  // Of many candidates one looks good by chance: it has to win twice, and the worse result counts.
  times = measure(kernel, candidate);
  if (!times)
    return propagate(times);
  if (!*times)
    return {};
  TuneVerdict again = judge(**times, kernel.spread);
  double ratio = std::max(verdict.ratio, again.ratio);
  if (!again.wins || ratio >= kernel.ratio)
    return {};
  kernel.best = entry;
  kernel.ratio = ratio;
  kernel.baseSeconds = (*times)->seconds(false);
  kernel.bestSeconds = (*times)->seconds(true);
  return writeTable();
}

Result<std::vector<TunedKernel>> tuneModel(const TuneOptions &options, const TuneReports &reports) {
  return Tuner(options, reports).run();
}

} // namespace lathe
