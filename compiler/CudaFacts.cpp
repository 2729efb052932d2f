#include "compiler/CudaFacts.h"

#include "compiler/SchedulesBuiltIn.h"
#include "compiler/TomlFile.h"
#include "runtime/CudaPlan.h"

#include <algorithm>

namespace lathe {
namespace {

constexpr size_t kMaxBytes = size_t{1} << 20;
constexpr int64_t kRegisters = 65536, kReservedShared = 1024; ///< of a multiprocessor; of shared memory, for each block
constexpr int64_t kBytesUnderWay = 8 * 16;                    ///< of a thread
constexpr double kLatency = 0.7e-6;                           ///< seconds from a load to its bytes, under load
constexpr std::string_view kMark = "// on ";                  ///< how a line of facts begins

/// 90 of "sm_90a" or "compute_90"; 0 of anything else.
int64_t capabilityOf(std::string_view architecture) {
  auto parsed = CudaArchitecture::parse(architecture);
  return parsed ? parsed->capability : 0;
}

/// Reads a [[device]] entry; `problem` is the first thing that is wrong.
struct EntryReader {
  const toml::table &table;
  const std::string &file;
  std::string problem;

  void wrong(const toml::source_region &where, const std::string &message) {
    if (problem.empty())
      problem = fmt::format("{}:{}:{}: {}", file, where.begin.line, where.begin.column, message);
  }
  std::string text(std::string_view key) {
    const toml::node *node = table.get(key);
    auto found = node ? node->value_exact<std::string>() : std::nullopt;
    if (!found || found->empty())
      wrong(node ? node->source() : table.source(), fmt::format("{}: expected a text", key));
    return found.value_or("");
  }
  double number(std::string_view key) {
    const toml::node *node = table.get(key);
    auto found = node ? node->value<double>() : std::nullopt;
    if (!found || !(*found > 0) || *found > 1e9)
      wrong(node ? node->source() : table.source(), fmt::format("{}: expected a positive number", key));
    return found.value_or(0);
  }
  int64_t integer(std::string_view key) { return static_cast<int64_t>(number(key)); }
};

} // namespace

Result<std::vector<CudaDeviceFacts>> parseCudaDevices(std::string_view toml, const std::string &file) {
  auto parsed = parseToml(toml, file, kMaxBytes);
  if (!parsed)
    return propagate(parsed);
  std::vector<CudaDeviceFacts> devices;
  const toml::array *list = parsed->get_as<toml::array>("device");
  for (size_t i = 0; list && i < list->size(); ++i) {
    const toml::table *table = list->get(i)->as_table();
    if (!table)
      return fail(ExitCode::badInput, "{}: device: expected [[device]] entries", file);
    EntryReader reader{*table, file, {}};
    CudaDeviceFacts device;
    device.name = reader.text("name");
    device.capability = capabilityOf(reader.text("architecture"));
    reader.text("source");
    device.multiprocessors = reader.integer("multiprocessors");
    device.threads = reader.integer("threads");
    device.sharedBytes = reader.integer("shared_kib") << 10;
    device.bytesPerSecond = reader.number("bandwidth_gb_s") * 1e9;
    device.flopsPerSecond = reader.number("bf16_tflops") * 1e12;
    if (device.capability == 0)
      reader.wrong(table->source(), "architecture: expected a name like sm_90");
    if (!reader.problem.empty())
      return fail(ExitCode::badInput, "{}", reader.problem);
    devices.push_back(std::move(device));
  }
  return devices;
}

const CudaDeviceFacts *findCudaDevice(std::string_view architecture) {
  static const auto devices = parseCudaDevices(cudaSchedules, "cuda.toml").value_or(std::vector<CudaDeviceFacts>());
  auto found = std::ranges::find(devices, capabilityOf(architecture), &CudaDeviceFacts::capability);
  return found == devices.end() ? nullptr : &*found;
}

Occupancy occupancyOf(const CudaDeviceFacts &device, const KernelForm &form, int64_t registers) {
  const Occupancy limits[] = {
      {device.threads / form.threads, "threads"},
      {kRegisters / (form.threads * std::max<int64_t>(8, (registers + 7) / 8 * 8)), "registers"},
      {device.sharedBytes / (form.sharedBytes + kReservedShared), "shared memory"}};
  return *std::ranges::min_element(limits, {}, &Occupancy::blocks);
}

Prediction predict(const Plan &plan, const Kernel &kernel, const KernelForm &form, const CudaDeviceFacts &device,
                   int64_t registers, int64_t rows) {
  Prediction p;
  bool attends = kernel.unit == Unit::items;
  p.bytes = attends ? Prediction::positions * (plan.keyPageBytes() + plan.valuePageBytes()) / plan.pageTokens
                    : kernel.tiles * kernel.bytesPerTile;
  p.flops = kernel.flopsPerUnit * (attends ? Prediction::positions : rows);
  p.microseconds = 1e6 * std::max(static_cast<double>(p.bytes) / device.bytesPerSecond,
                                  static_cast<double>(p.flops) / device.flopsPerSecond);
  int64_t tiles = (kernel.tiles + form.tilesPerBlock - 1) / form.tilesPerBlock;
  if (attends) // an item has some chunks of a row; as many as there are workers
    tiles *= Prediction::positions / std::max<int64_t>(1, plan.chunkTokens);
  else
    tiles *= (rows + form.unitsPerBlock - 1) / form.unitsPerBlock;
  int64_t running = std::min(tiles, device.multiprocessors * occupancyOf(device, form, registers).blocks);
  p.share =
      std::min(1.0, static_cast<double>(running * form.threads * kBytesUnderWay) / (device.bytesPerSecond * kLatency));
  return p;
}

std::vector<Kernel> formsOf(const Kernel &kernel) {
  std::vector<Kernel> all;
  if (!kernel.variants.empty())
    for (const KernelForm &form : kernel.variants.begin()->second.forms) {
      all.push_back(kernel);
      all.back().symbol = form.symbol;
    }
  if (all.empty())
    all.push_back(kernel);
  return all;
}

/// The form whose symbol the kernel has, and for how many rows a prediction of it is.
static std::pair<const KernelForm &, int64_t> formAndRows(const Kernel &kernel, const std::string &architecture) {
  const std::vector<KernelForm> &forms = kernel.variants.at(architecture).forms;
  auto found = std::ranges::find(forms, kernel.symbol, &KernelForm::symbol);
  bool few = found == forms.begin() || found == forms.end();
  return {few ? forms.front() : *found, few ? 1 : Prediction::manyRows};
}

Prediction predict(const Plan &plan, const Kernel &kernel, const std::string &architecture,
                   const CudaDeviceFacts &device, int64_t registers) {
  auto [form, rows] = formAndRows(kernel, architecture);
  return predict(plan, kernel, form, device, registers, rows);
}

std::vector<std::string> factsOf(const Plan &plan, const Kernel &kernel, const std::string &architecture,
                                 const KernelUsage &usage) {
  if (!architecture.starts_with("sm_"))
    return {};
  auto [form, rows] = formAndRows(kernel, architecture);
  std::vector<std::string> facts;
  facts.reserve(3);
  facts.push_back(fmt::format("{}: {} registers, {} bytes of spills, {} bytes of shared memory", architecture,
                              usage.registers, usage.spillStores + usage.spillLoads, form.sharedBytes));
  const CudaDeviceFacts *device = findCudaDevice(architecture);
  if (!device)
    return facts;
  auto [blocks, limit] = occupancyOf(*device, form, usage.registers);
  facts.push_back(fmt::format("{}: {} blocks of {} threads a multiprocessor, limited by {}", device->name, blocks,
                              form.threads, limit));
  std::string what = kernel.unit == Unit::items ? fmt::format("a row of {} positions takes", Prediction::positions)
                     : rows == 1                ? "a row takes"
                                                : fmt::format("{} rows take", rows);
  if (Prediction p = predict(plan, kernel, form, *device, usage.registers, rows); p.bytes)
    facts.push_back(fmt::format("{}: {} at least {:.2f} us; loads under way for {:.0f} % of the bandwidth",
                                device->name, what, p.microseconds, 100 * p.share));
  return facts;
}

std::string withFacts(std::string_view text, const std::vector<std::string> &facts) {
  std::string result;
  bool comment = true;
  while (!text.empty()) {
    std::string_view line = text.substr(0, std::min(text.find('\n'), text.size() - 1) + 1);
    text.remove_prefix(line.size());
    if (comment && !line.starts_with("//")) {
      comment = false;
      for (const std::string &fact : facts)
        result += fmt::format("{}{}\n", kMark, fact);
    }
    if (!comment || !line.starts_with(kMark))
      result += line;
  }
  return result;
}

} // namespace lathe
