#include "runtime/HostLaunches.h"

#include "runtime/CudaPlan.h"

#include <array>
#include <cstring>

namespace lathe {
namespace {

/// The step's arrays as kernels get them.
struct HostBatch {
  std::array<int, 4> counts;
  device::BatchData data = {};
  std::array<unsigned long long, device::kBatchArrays> bytes = {};
  unsigned long long counterBytes = 0;

  HostBatch(const LatheStep &step, int64_t tiles)
      : counts{static_cast<int>(step.rows), static_cast<int>(step.sequences), static_cast<int>(step.logitRows),
               static_cast<int>(step.items)} {
    auto set = [&](device::BatchArray array, const int32_t *values, int64_t count) {
      data.arrays[array] = values;
      bytes[array] = static_cast<unsigned long long>(count) * sizeof(int32_t);
    };
    set(device::kCounts, counts.data(), counts.size());
    set(device::kTokenIds, step.tokenIds, step.rows);
    set(device::kRowSequence, step.rowSequence, step.rows);
    set(device::kRowPosition, step.rowPosition, step.rows);
    set(device::kPageTable, step.pageTable, step.sequences * step.pageStride);
    set(device::kLogitRow, step.logitRow, step.logitRows);
    set(device::kDraws, step.draws, step.logitRows * device::kDrawInts);
    set(device::kItemRow, step.itemRow, step.items);
    set(device::kItemEnd, step.itemEnd, step.items);
    set(device::kItemChunk, step.itemChunk, step.items);
    set(device::kItemChunkEnd, step.itemChunkEnd, step.items);
    set(device::kItemCount, step.itemCount, step.items);
    set(device::kItemCounter, step.itemCounter, step.items);
    set(device::kItemRecord, step.itemRecord, step.items);
    data.counters = step.counters;
    data.pageStride = static_cast<int>(step.pageStride);
    // Blocks that are split have their counters one after another.
    for (int64_t item = 0; item < step.items; ++item)
      if (step.itemCount[item] > 1)
        counterBytes = std::max<unsigned long long>(counterBytes, (step.itemCounter[item] + tiles) * sizeof(int32_t));
  }
};

} // namespace

Result<std::unique_ptr<HostLaunches>> HostLaunches::create(const Plan &plan, const CodeObject &code,
                                                           const std::string &architecture,
                                                           std::vector<BufferExtent> buffers, const HostCheck &check) {
  auto launch = code.address("lathe_host_launch");
  if (!launch)
    return propagate(launch);
  for (const Launch &entry : plan.launches)
    if (const Kernel &kernel = plan.kernels[entry.kernel]; kernel.parameters.size() != entry.args.size())
      return fail(ExitCode::badInput, "plan.json: kernel {} has {} parameters for {} arguments", kernel.symbol,
                  kernel.parameters.size(), entry.args.size());
  for (const Kernel &kernel : plan.kernels)
    if (auto variant = kernel.variants.find(architecture);
        variant == kernel.variants.end() || variant->second.forms.empty())
      return fail(ExitCode::badInput, "plan.json: kernel {} has no form for {}", kernel.symbol, architecture);
  return std::unique_ptr<HostLaunches>(
      new HostLaunches(plan, architecture, reinterpret_cast<device::HostLaunchFn>(*launch), std::move(buffers), check));
}

Result<void> HostLaunches::run(const LatheStep &step) {
  HostBatch batch(step, plan.kvHeads);
  BufferExtent drawn;
  if (int64_t tokens = plan.tokensBuffer(); tokens >= 0)
    drawn = buffers[tokens];
  batch.data.drawn = static_cast<const int *>(drawn.data);
  for (const Launch &entry : plan.launches) {
    const Kernel &kernel = plan.kernels[entry.kernel];
    std::vector<void *> data;
    std::vector<unsigned long long> bytes;
    std::unique_ptr<bool[]> weights(new bool[entry.args.size()]);
    for (size_t i = 0; i < entry.args.size(); ++i) {
      const BufferExtent &buffer = buffers[entry.args[i]];
      // What a kernel leaves out of what it makes must not look like a number.
      if (kernel.parameters[i].access == Access::write)
        std::memset(buffer.data, 0xff, buffer.bytes);
      data.push_back(buffer.data);
      bytes.push_back(buffer.bytes);
      weights[i] = plan.buffers[entry.args[i]].kind == Buffer::Kind::weight;
    }
    LaunchShape shape = shapeOf(plan, entry, architecture, {step.rows, step.logitRows, step.items, 0});
    device::HostLaunch call{.kernel = shape.form->symbol.c_str(),
                            .gridX = static_cast<int>(shape.gridX),
                            // Graphs have room for more units than there are; kernels must notice.
                            .gridY = static_cast<int>(shape.gridY) + (check.strict ? 1 : 0),
                            .buffers = data.data(),
                            .bytes = bytes.data(),
                            .bufferCount = static_cast<int>(data.size()),
                            .batch = batch.data,
                            .batchBytes = {},
                            .counterBytes = batch.counterBytes,
                            .drawnBytes = drawn.bytes,
                            .seed = check.seed ? check.seed + launches : 0,
                            .check = check.strict,
                            .dependent = shape.form->waits,
                            .weights = weights.get()};
    std::ranges::copy(batch.bytes, call.batchBytes);
    ++launches;
    if (const char *report = launch(&call))
      return fail(ExitCode::checkFailed, "{}", report);
  }
  return {};
}

} // namespace lathe
