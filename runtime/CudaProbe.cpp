#include "runtime/CudaProbe.h"

#include "runtime/device/batch.h"

#include <algorithm>
#include <random>
#include <vector>

namespace lathe {

using cuda::Calls;

namespace {

constexpr const char *kWhat = "measuring how fast memory is read";
constexpr uint64_t kMostBytes = uint64_t(2) << 30;
constexpr int kPasses = 8;

// As in read_bandwidth.cu.
constexpr unsigned kThreads = 256, kWarps = kThreads / 32;
constexpr uint64_t kBlockWords = 16 * kThreads * 4, kBlockBytes = kBlockWords * sizeof(uint32_t);
/// Blocks whose numbers are drawn; the rest of the memory repeats them.
constexpr uint64_t kDrawnBlocks = 16;

/// What each warp of a block folds its numbers to: of every 128 words the warp-th four times over.
uint32_t folded(const std::vector<uint32_t> &words, uint64_t block, unsigned warp) {
  uint32_t sum = 0;
  for (uint64_t load = 0; load < 16; ++load)
    for (uint64_t word = 0; word < 128; ++word)
      sum ^= words[block * kBlockWords + load * kThreads * 4 + warp * 128 + word];
  return sum;
}

/// A graph of one launch, without an edge.
struct Reading {
  CudaGraphDescription description;
  CudaGraphExec exec;
};

Result<Reading> build(const CudaDevice &device, cuda::KernelHandle kernel, cuda::Address memory, cuda::Address sums,
                      uint64_t blocks, cuda::Stream stream) {
  Reading reading;
  cuda::Graph graph = nullptr;
  if (auto done = device.driver.call<&Calls::graphCreate>(kWhat, &graph, 0u); !done)
    return propagate(done);
  reading.description = CudaGraphDescription(device.driver, graph);
  device::BatchData batch{}; // every kernel's first parameter; this one does not look
  void *parameters[] = {&batch, &memory, &sums};
  cuda::KernelNodeParams launch{};
  launch.kernel = kernel;
  launch.gridX = static_cast<unsigned>(blocks), launch.gridY = launch.gridZ = 1;
  launch.blockX = kThreads, launch.blockY = launch.blockZ = 1;
  launch.parameters = parameters;
  cuda::GraphNode node = nullptr;
  if (auto done = device.driver.call<&Calls::graphAddKernel>(kWhat, &node, graph, nullptr, size_t(0), &launch); !done)
    return propagate(done);
  cuda::InstantiateParams params{cuda::kInstantiateUpload, stream, nullptr, 0};
  cuda::GraphExec exec = nullptr;
  if (auto done = device.driver.call<&Calls::graphInstantiate>(kWhat, &exec, graph, &params); !done)
    return propagate(done);
  reading.exec = CudaGraphExec(device.driver, exec);
  return reading;
}

/// Fills the memory with the numbers, again and again.
Result<void> fill(const CudaDevice &device, cuda::Address memory, uint64_t bytes, const std::vector<uint32_t> &words,
                  cuda::Stream stream) {
  uint64_t filled = words.size() * sizeof(uint32_t);
  auto done = device.driver.call<&Calls::copyIn>(kWhat, memory, words.data(), filled, stream);
  while (done && filled < bytes) {
    uint64_t more = std::min(filled, bytes - filled);
    done = device.driver.call<&Calls::copyWithin>(kWhat, memory + filled, memory, more, stream);
    filled += more;
  }
  return done;
}

} // namespace

Result<double> probeReadBandwidth(const CudaDevice &device, cuda::KernelHandle kernel, cuda::Stream stream) {
  const CudaDriver &driver = device.driver;
  size_t available = 0, total = 0;
  if (auto done = driver.call<&Calls::memoryInfo>(device.name, &available, &total); !done)
    return propagate(done);
  uint64_t blocks = std::min<uint64_t>(kMostBytes, available / 2) / kBlockBytes / kDrawnBlocks * kDrawnBlocks;
  if (blocks == 0)
    return 0;
  uint64_t bytes = blocks * kBlockBytes;
  auto memory = allocateMemory(device, bytes, kWhat);
  if (!memory)
    return propagate(memory);
  auto sums = allocateMemory(device, blocks * kWarps * sizeof(uint32_t), kWhat);
  if (!sums)
    return propagate(sums);
  std::vector<CudaEvent> marks;
  for (int i = 0; i <= kPasses + 1; ++i) {
    auto mark = createEvent(device, true);
    if (!mark)
      return propagate(mark);
    marks.push_back(std::move(*mark));
  }
  auto reading = build(device, kernel, memory->get(), sums->get(), blocks, stream);
  if (!reading)
    return propagate(reading);

  std::vector<uint32_t> words(kDrawnBlocks * kBlockWords), found(blocks * kWarps);
  std::mt19937 random(1);
  std::ranges::generate(words, [&] { return static_cast<uint32_t>(random()); });
  auto done = fill(device, memory->get(), bytes, words, stream);
  // All passes are queued before the first has ended, so that no time between them is the host's; the first warms up.
  for (int pass = 0; done && pass <= kPasses + 1; ++pass) {
    done = driver.call<&Calls::eventRecord>(kWhat, marks[pass].get(), stream);
    if (done && pass <= kPasses)
      done = driver.call<&Calls::graphLaunch>(kWhat, reading->exec.get(), stream);
  }
  if (done)
    done = driver.call<&Calls::copyOut>(kWhat, found.data(), sums->get(), found.size() * sizeof(uint32_t), stream);
  // Nothing may go while it is read, whatever went wrong.
  if (auto ended = driver.call<&Calls::streamSynchronize>(kWhat, stream); done)
    done = ended;
  if (!done)
    return propagate(done);

  for (uint64_t block = 0; block < blocks; ++block)
    for (unsigned warp = 0; warp < kWarps; ++warp)
      if (block < kDrawnBlocks ? found[block * kWarps + warp] != folded(words, block, warp)
                               : found[block * kWarps + warp] != found[(block - kDrawnBlocks) * kWarps + warp])
        return fail(
            ExitCode::internal,
            "{}: block {} of {} found other numbers than were written; check the GPU's memory (nvidia-smi -q -d ECC)",
            kWhat, block, blocks);
  float best = 0;
  for (int pass = 1; pass <= kPasses; ++pass) {
    float milliseconds = 0;
    if (auto took = driver.call<&Calls::eventElapsed>(kWhat, &milliseconds, marks[pass].get(), marks[pass + 1].get());
        !took)
      return propagate(took);
    if (milliseconds > 0 && (best == 0 || milliseconds < best))
      best = milliseconds;
  }
  return best > 0 ? double(bytes) / (best * 1e-3) : 0;
}

} // namespace lathe
