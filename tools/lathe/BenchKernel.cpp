#include "tools/lathe/BenchKernel.h"

#include "runtime/CpuFeatures.h"
#include "runtime/KernelBench.h"
#include "runtime/PeakProbe.h"
#include "tools/lathe/Output.h"

#include <algorithm>

namespace lathe {
namespace {

/// A setting is repeated for at least so long: a pass over the ring may take no more than a millisecond.
constexpr double kLeastSeconds = 0.1;

struct KernelRow {
  int64_t rows = 0;
  std::vector<double> seconds; ///< of a launch, one a pass, sorted
  double bytes = 0, multiplyAdds = 0;

  double median() const { return seconds[seconds.size() / 2]; }
};

Result<KernelRow> measure(KernelBench &bench, int64_t rows, int64_t repetitions) {
  KernelRow row{.rows = rows, .bytes = bench.bytes(rows), .multiplyAdds = bench.multiplyAdds(rows)};
  if (auto warm = bench.pass(rows); !warm) // touches the memory
    return propagate(warm);
  double spent = 0;
  while (static_cast<int64_t>(row.seconds.size()) < repetitions || spent < kLeastSeconds) {
    auto seconds = bench.pass(rows);
    if (!seconds)
      return propagate(seconds);
    row.seconds.push_back(*seconds);
    spent += *seconds * double(bench.engine().launches());
  }
  std::ranges::sort(row.seconds);
  return row;
}

std::vector<int64_t> rowsOf(const KernelBenchFlags &flags, int64_t context) {
  std::vector<int64_t> rows = flags.rows;
  if (rows.empty())
    for (int64_t count : {1, 2, 4, 8, 16, 512})
      if (count == 1 || flags.depth + count <= context)
        rows.push_back(count);
  return rows;
}

/// Limits of the machine; 0 where there is none to compare with.
struct Limits {
  double bytesPerSecond = 0, int8OpsPerSecond = 0;
};

nlohmann::ordered_json describe(const KernelBench &bench, const KernelRow &row, const KernelBenchFlags &flags,
                                const Limits &limits) {
  double seconds = row.median(), bytes = row.bytes / seconds, multiplyAdds = row.multiplyAdds / seconds;
  nlohmann::ordered_json json;
  json["kernel"] = flags.kernel;
  json["cpu_tier"] = bench.engine().tier();
  json["n_threads"] = bench.engine().threads();
  json["n_rows"] = row.rows;
  json["n_depth"] = flags.depth;
  json["n_launches"] = bench.engine().launches();
  json["ring_bytes"] = bench.engine().weightBytes();
  json["llc_bytes"] = lastLevelCacheBytes();
  json["median_us"] = seconds * 1e6;
  json["min_us"] = row.seconds.front() * 1e6;
  json["max_us"] = row.seconds.back() * 1e6;
  json["passes"] = row.seconds.size();
  json["gbs"] = bytes * 1e-9;
  json["probe_gbs"] = limits.bytesPerSecond * 1e-9;
  json["share"] = limits.bytesPerSecond > 0 ? bytes / limits.bytesPerSecond : 0;
  json["gmacs"] = multiplyAdds * 1e-9;
  json["int8_share"] = limits.int8OpsPerSecond > 0 ? 2 * multiplyAdds / limits.int8OpsPerSecond : 0;
  return json;
}

std::string markdown(const nlohmann::ordered_json &row) {
  auto share = [&](const char *key) {
    double value = row[key].get<double>();
    return value > 0 ? fmt::format("{:.0f} %", value * 100) : std::string();
  };
  auto number = [&](const char *key) { return row[key].get<double>(); };
  return fmt::format("| {} | {:.2f} | {:.2f} | {:.2f} | {:.1f} | {} | {:.1f} | {} |\n", row["n_rows"].get<int64_t>(),
                     number("median_us"), number("min_us"), number("max_us"), number("gbs"), share("share"),
                     number("gmacs"), share("int8_share"));
}

} // namespace

Result<void> benchKernel(const ModelFlags &model, const KernelBenchFlags &flags) {
  auto artifact = Artifact::open(model.artifact);
  if (!artifact)
    return propagate(artifact);
  const std::vector<int64_t> settings = rowsOf(flags, (*artifact)->manifest().context);
  auto bench = KernelBench::load(*artifact, flags.kernel,
                                 {.device = model.device,
                                  .tier = model.cpu,
                                  .threads = model.threads,
                                  .depth = flags.depth,
                                  .rows = std::ranges::max(settings)});
  if (!bench)
    return fail(bench.error().code, "{}: {}", model.artifact, bench.error().message);
  KernelBench &kernel = **bench;
  bool linear = kernel.bytes(1) > 0 && (kernel.kernel().unit == Unit::rows || kernel.kernel().unit == Unit::logitRows);
  auto probe = kernel.engine().readBandwidth();
  if (!probe)
    return propagate(probe);
  Limits limits{.bytesPerSecond = *probe};
  if (linear && (*artifact)->manifest().target == "cpu" && multipliesBytes((*artifact)->manifest()))
    limits.int8OpsPerSecond = probeInt8Peak(kernel.engine().pool(), kernel.engine().tier());

  std::string text;
  if (!flags.json)
    text = fmt::format("{} of {}: {}, {} threads; {} launches on {:.1f} MiB of weights, last-level cache {:.1f} MiB\n\n"
                       "| rows | µs a launch | least | most | GB/s | of bandwidth | G mul-add/s | of INT8 peak |\n"
                       "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
                       flags.kernel, (*artifact)->manifest().model, kernel.engine().tier(), kernel.engine().threads(),
                       kernel.engine().launches(), double(kernel.engine().weightBytes()) / (1 << 20),
                       double(lastLevelCacheBytes()) / (1 << 20));
  if (auto done = writeOutput(text); !done)
    return done;
  auto all = nlohmann::ordered_json::array();
  for (int64_t rows : settings) {
    auto row = measure(kernel, rows, flags.repetitions);
    if (!row)
      return propagate(row);
    all.push_back(describe(kernel, *row, flags, limits));
    if (!flags.json)
      if (auto done = writeOutput(markdown(all.back())); !done)
        return done;
  }
  return flags.json ? writeOutput(all.dump(2) + "\n") : Result<void>();
}

} // namespace lathe
