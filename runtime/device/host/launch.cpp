//===- launch.cpp - lathe_host_launch ---------------------------------------===//
#include "lathe/host/launch.h"
#include "lathe/host/fibers.h"
#include "lathe/host/memory.h"

#include <cstdint>
#include <cstring>
#include <mutex>
#include <vector>

namespace lathe::device {

namespace host {

static Kernel *kernels = nullptr;

Kernel::Kernel(const char *name, int threads, const Parameter *parameters, int count, void (*run)())
    : name(name), threads(threads), parameters(parameters), parameterCount(count), run(run), next(kernels) {
  kernels = this;
}

namespace {

const char *const arrayNames[kBatchArrays] = {
    "counts",   "token_id", "row_sequence", "row_position",   "page",       "logit_row",    "draws",
    "item_row", "item_end", "item_chunk",   "item_chunk_end", "item_count", "item_counter", "item_record"};

std::string runLaunch(const HostLaunch &launch) {
  const std::string head = std::string("kernel ") + (launch.kernel ? launch.kernel : "(no name)") + ": ";
  const Kernel *kernel = kernels;
  while (kernel && (!launch.kernel || strcmp(kernel->name, launch.kernel) != 0))
    kernel = kernel->next;
  if (!kernel)
    return head + "there is none of this name among the kernels compiled for the host";
  if (launch.bufferCount != kernel->parameterCount)
    return head + "expected " + std::to_string(kernel->parameterCount) + " buffers, found " +
           std::to_string(launch.bufferCount);
  if (launch.gridX < 0 || launch.gridY < 0)
    return head + "expected a grid, found (" + std::to_string(launch.gridX) + ", " + std::to_string(launch.gridY) + ")";
  if (kernel->threads % 32 != 0 || kernel->threads < 32 || kernel->threads > kMaxThreads)
    return head + "expected whole warps and at most 1024 threads a block, found " + std::to_string(kernel->threads);
  for (int i = 0; i < launch.bufferCount; ++i)
    if (reinterpret_cast<uintptr_t>(launch.buffers[i]) % 16 != 0 || (!launch.buffers[i] && launch.bytes[i]))
      return head + "buffer " + std::to_string(i) + " is not 16-byte aligned, or null";

  std::string text;
  executor.launch = &launch;
  executor.check = launch.check;
  executor.dependent = launch.dependent;
  executor.shuffles = launch.seed != 0;
  executor.threads = kernel->threads;
  if (!prepareLaunch(launch, *kernel, text))
    return head + text;
  order.seed(launch.seed);
  const uint64_t blocks = static_cast<uint64_t>(launch.gridX) * static_cast<uint64_t>(launch.gridY);
  std::vector<uint32_t> sequence(blocks);
  for (uint32_t i = 0; i < blocks; ++i)
    sequence[i] = i;
  if (executor.shuffles)
    for (uint32_t i = static_cast<uint32_t>(blocks); i > 1; --i)
      std::swap(sequence[i - 1], sequence[order.below(i)]);
  for (uint32_t block : sequence) {
    executor.blockX = static_cast<int>(block % static_cast<uint32_t>(launch.gridX));
    executor.blockY = static_cast<int>(block / static_cast<uint32_t>(launch.gridX));
    prepareBlock();
    if (!runBlock(kernel->run, text))
      return text;
  }
  return "";
}

} // namespace

/// An array of the batch; bounds as every other memory's.
int loadBatch(const BatchData &batch, BatchArray array, long long index, Where where) {
  const unsigned long long elements = executor.launch->batchBytes[array] / sizeof(int);
  if (index < 0 || static_cast<unsigned long long>(index) >= elements)
    report(where, "element %lld of the batch's %s, which has %llu", index, arrayNames[array], elements);
  if (executor.dependent)
    expectReady("the batch", where);
  return batch.arrays[array][index];
}

int loadDrawn(const BatchData &batch, int row, Where where) {
  const unsigned long long elements = executor.launch->drawnBytes / sizeof(int);
  if (row < 0 || static_cast<unsigned long long>(row) >= elements)
    report(where, "row %d of the tokens that were drawn, which are %llu", row, elements);
  if (executor.dependent)
    expectReady("what was drawn", where);
  return batch.drawn[row];
}

int &batchCounter(const BatchData &batch, int index, Where where) {
  const unsigned long long elements = executor.launch->counterBytes / sizeof(int);
  if (index < 0 || static_cast<unsigned long long>(index) >= elements)
    report(where, "counter %d of the batch, which has %llu", index, elements);
  return batch.counters[index];
}

} // namespace host

} // namespace lathe::device

__attribute__((visibility("default"))) const char *lathe_host_launch(const lathe::device::HostLaunch *launch) {
  static std::mutex one;
  static thread_local std::string report;
  std::lock_guard lock(one);
  report = lathe::device::host::runLaunch(*launch);
  return report.empty() ? nullptr : report.c_str();
}
