#include "runtime/CudaGraph.h"

#include <algorithm>
#include <cstring>

namespace lathe {

using cuda::Calls;

namespace {

constexpr uint64_t kAlign = 256; ///< of each array, so that arrays of different steps share no sector
constexpr int64_t kShrinkAt = 4; ///< room is given back when less than a fourth is used

/// Elements of each array but the page table.
int64_t elementsOf(int array, const CudaUnits &units) {
  switch (array) {
  case device::kCounts:
    return 4;
  case device::kTokenIds:
  case device::kRowSequence:
  case device::kRowPosition:
    return units.rows;
  case device::kLogitRow:
    return units.logitRows;
  case device::kDraws:
    return units.logitRows * device::kDrawInts;
  default:
    return units.items;
  }
}

/// The room for `count` after there was room for `now`.
int64_t roomFor(int64_t count, int64_t now, int64_t most) {
  int64_t wanted = bucketOf(count, most);
  return wanted > now || wanted * kShrinkAt < now ? wanted : now;
}

} // namespace

StepLayout StepLayout::make(const CudaUnits &units, int64_t pageStride) {
  StepLayout layout{units, pageStride, {}};
  uint64_t at = 0;
  for (int i = 0; i < device::kBatchArrays; ++i) {
    if (i == device::kPageTable)
      continue;
    layout.offsets[i] = at;
    at += (static_cast<uint64_t>(elementsOf(i, units)) * sizeof(int32_t) + kAlign - 1) / kAlign * kAlign;
  }
  layout.offsets[device::kPageTable] = at;
  return layout;
}

uint64_t StepLayout::bytes(int64_t sequences) const {
  return offsets[device::kPageTable] + static_cast<uint64_t>(sequences * pageStride) * sizeof(int32_t);
}

void StepLayout::write(const LatheStep &step, std::byte *block) const {
  auto put = [&](int array, const int32_t *from, int64_t count) {
    if (count > 0)
      std::memcpy(block + offsets[array], from, static_cast<size_t>(count) * sizeof(int32_t));
  };
  const int32_t counts[4] = {static_cast<int32_t>(step.rows), static_cast<int32_t>(step.sequences),
                             static_cast<int32_t>(step.logitRows), static_cast<int32_t>(step.items)};
  put(device::kCounts, counts, 4);
  put(device::kTokenIds, step.tokenIds, step.rows);
  put(device::kRowSequence, step.rowSequence, step.rows);
  put(device::kRowPosition, step.rowPosition, step.rows);
  put(device::kLogitRow, step.logitRow, step.logitRows);
  put(device::kDraws, step.draws, step.logitRows * device::kDrawInts);
  put(device::kItemRow, step.itemRow, step.items);
  put(device::kItemEnd, step.itemEnd, step.items);
  put(device::kItemChunk, step.itemChunk, step.items);
  put(device::kItemChunkEnd, step.itemChunkEnd, step.items);
  put(device::kItemCount, step.itemCount, step.items);
  put(device::kItemCounter, step.itemCounter, step.items);
  put(device::kItemRecord, step.itemRecord, step.items);
  for (int64_t sequence = 0; sequence < step.sequences; ++sequence) {
    std::byte *row =
        block + offsets[device::kPageTable] + static_cast<uint64_t>(sequence * pageStride) * sizeof(int32_t);
    std::memcpy(row, step.pageTable + sequence * step.pageStride,
                static_cast<size_t>(step.pageStride) * sizeof(int32_t));
    // What lies behind a sequence's pages is never used; page 0 is one that exists.
    std::memset(row + step.pageStride * sizeof(int32_t), 0,
                static_cast<size_t>(pageStride - step.pageStride) * sizeof(int32_t));
  }
}

struct CudaGraphs::Impl {
  /// A bucket's graph.
  struct Bucket {
    CudaGraphDescription description; ///< its nodes name those of `exec`
    CudaGraphExec exec;
    std::vector<cuda::GraphNode> nodes; ///< of Plan::launches
    std::vector<LaunchShape> shapes;    ///< as they are in `exec`
    StepLayout layout;
  };

  const CudaDevice &device;
  const Plan &plan;
  CudaGraphOptions options;
  std::vector<cuda::Address> buffers;
  std::map<const KernelForm *, cuda::KernelHandle> kernels;
  CudaMemory block, counters;
  CudaHostMemory staging;
  CudaStream stream;
  CudaEvent copied; ///< the staging memory may be written again
  std::map<int64_t, Bucket> buckets;
  StepLayout last;

  Impl(const CudaDevice &device, const Plan &plan, const CudaGraphOptions &options, std::vector<cuda::Address> buffers)
      : device(device), plan(plan), options(options), buffers(std::move(buffers)) {}
  ~Impl() {
    if (stream.get()) // what still runs must not lose its memory
      device.driver.release<&Calls::streamSynchronize>(stream.get());
  }

  Result<void> allocate();
  Result<void> findKernels(const KernelFinder &find);
  Result<Bucket *> bucketFor(int64_t rows, const CudaUnits &units, int64_t pageStride);
  Result<Bucket> build(const StepLayout &layout) const;
  Result<void> refit(Bucket &bucket, const StepLayout &layout) const;
  Result<void> check(const LatheStep &step) const;

  /// Calls `use` with the parameters of a launch's node, which are valid until it returns.
  template <typename Use>
  Result<void> withNode(size_t launch, const LaunchShape &shape, const StepLayout &layout, Use use) const;
};

CudaGraphs::CudaGraphs(std::unique_ptr<Impl> impl) : impl(std::move(impl)) {}
CudaGraphs::~CudaGraphs() = default;
cuda::Stream CudaGraphs::stream() const { return impl->stream.get(); }
int64_t CudaGraphs::graphs() const { return static_cast<int64_t>(impl->buckets.size()); }
const StepLayout &CudaGraphs::layout() const { return impl->last; }

Result<void> CudaGraphs::Impl::allocate() {
  uint64_t bytes = StepLayout::make(options.most, options.pageStride).bytes(options.sequences);
  auto onDevice = allocateMemory(device, bytes, "a step's arrays");
  if (!onDevice)
    return propagate(onDevice);
  block = std::move(*onDevice);
  auto onHost = allocateHostMemory(device, bytes, "a step's arrays on the host");
  if (!onHost)
    return propagate(onHost);
  staging = std::move(*onHost);
  auto counterBytes = static_cast<uint64_t>(std::max<int64_t>(1, options.most.items) * plan.kvHeads) * sizeof(int32_t);
  auto zeros = allocateMemory(device, counterBytes, "the counters of split attention");
  if (!zeros)
    return propagate(zeros);
  counters = std::move(*zeros);
  auto made = createStream(device);
  if (!made)
    return propagate(made);
  stream = std::move(*made);
  auto event = createEvent(device, false);
  if (!event)
    return propagate(event);
  copied = std::move(*event);
  if (auto done = device.driver.call<&Calls::eventRecord>("a step's arrays", copied.get(), stream.get()); !done)
    return done;
  unsigned char zero = 0; // kernels leave them so
  return device.driver.call<&Calls::fill>("counters", counters.get(), zero, counterBytes, stream.get());
}

Result<void> CudaGraphs::Impl::findKernels(const KernelFinder &find) {
  for (const Kernel &kernel : plan.kernels)
    for (const KernelForm &form : kernel.variants.at(options.architecture).forms) {
      auto found = find(form);
      if (!found)
        return propagate(found);
      kernels[&form] = *found;
    }
  return {};
}

Result<std::unique_ptr<CudaGraphs>> CudaGraphs::create(const CudaDevice &device, const Plan &plan,
                                                       const CudaGraphOptions &options,
                                                       std::vector<cuda::Address> buffers, const KernelFinder &find) {
  if (buffers.size() != plan.buffers.size())
    return fail(ExitCode::internal, "{} addresses for {} buffers of the plan", buffers.size(), plan.buffers.size());
  auto impl = std::make_unique<Impl>(device, plan, options, std::move(buffers));
  if (auto done = impl->allocate(); !done)
    return propagate(done);
  if (auto done = impl->findKernels(find); !done)
    return propagate(done);
  return std::unique_ptr<CudaGraphs>(new CudaGraphs(std::move(impl)));
}

template <typename Use>
Result<void> CudaGraphs::Impl::withNode(size_t launch, const LaunchShape &shape, const StepLayout &layout,
                                        Use use) const {
  device::BatchData batch{};
  for (int i = 0; i < device::kBatchArrays; ++i)
    batch.arrays[i] = reinterpret_cast<const int *>(block.get() + layout.offsets[i]);
  batch.counters = reinterpret_cast<int *>(counters.get());
  if (int64_t drawn = plan.tokensBuffer(); drawn >= 0)
    batch.drawn = reinterpret_cast<const int *>(buffers[drawn]);
  batch.pageStride = static_cast<int>(layout.pageStride);
  std::vector<cuda::Address> addresses;
  for (int64_t argument : plan.launches[launch].args)
    addresses.push_back(buffers[argument]);
  std::vector<void *> parameters{&batch};
  for (cuda::Address &address : addresses)
    parameters.push_back(&address);
  cuda::KernelNodeParams node{};
  node.kernel = kernels.at(shape.form);
  node.gridX = shape.gridX, node.gridY = shape.gridY, node.gridZ = 1;
  node.blockX = static_cast<unsigned>(shape.form->threads), node.blockY = node.blockZ = 1;
  node.sharedBytes = static_cast<unsigned>(shape.form->sharedBytes);
  node.parameters = parameters.data();
  return use(node);
}

Result<CudaGraphs::Impl::Bucket> CudaGraphs::Impl::build(const StepLayout &layout) const {
  Bucket bucket;
  bucket.layout = layout;
  cuda::Graph graph = nullptr;
  if (auto done = device.driver.call<&Calls::graphCreate>("a step", &graph, 0u); !done)
    return propagate(done);
  bucket.description = CudaGraphDescription(device.driver, graph);
  for (size_t i = 0; i < plan.launches.size(); ++i) {
    LaunchShape shape = shapeOf(plan, plan.launches[i], options.architecture, layout.units);
    cuda::GraphNode node = nullptr;
    auto added = withNode(i, shape, layout, [&](const cuda::KernelNodeParams &params) {
      return device.driver.call<&Calls::graphAddKernel>(shape.form->symbol, &node, graph, nullptr, size_t(0), &params);
    });
    if (!added)
      return propagate(added);
    bucket.nodes.push_back(node);
    bucket.shapes.push_back(shape);
  }
  bool programmatic = CudaArchitecture::parse(options.architecture).value_or(CudaArchitecture()).programmatic;
  std::vector<cuda::GraphNode> from, to;
  std::vector<cuda::EdgeData> data;
  for (const Edge &edge : plan.edges) {
    from.push_back(bucket.nodes[edge.from]);
    to.push_back(bucket.nodes[edge.to]);
    data.push_back({});
    if (edge.programmatic && programmatic)
      data.back().fromPort = cuda::kPortProgrammatic, data.back().type = cuda::kTypeProgrammatic;
  }
  if (!data.empty())
    if (auto done = device.driver.call<&Calls::graphAddEdges>("a step", graph, from.data(), to.data(), data.data(),
                                                              data.size());
        !done)
      return propagate(done);
  cuda::InstantiateParams params{cuda::kInstantiateUpload, stream.get(), nullptr, 0};
  cuda::GraphExec exec = nullptr;
  if (auto done = device.driver.call<&Calls::graphInstantiate>("a step", &exec, graph, &params); !done) {
    auto node = std::ranges::find(bucket.nodes, params.errorNode);
    if (params.errorNode && node != bucket.nodes.end())
      done.error().message += fmt::format("; at launch {} ({})", node - bucket.nodes.begin(),
                                          bucket.shapes[static_cast<size_t>(node - bucket.nodes.begin())].form->symbol);
    return propagate(done);
  }
  bucket.exec = CudaGraphExec(device.driver, exec);
  return bucket;
}

/// Gives a finished graph other room: all nodes when arrays move, else those whose grids change.
Result<void> CudaGraphs::Impl::refit(Bucket &bucket, const StepLayout &layout) const {
  for (size_t i = 0; i < plan.launches.size(); ++i) {
    LaunchShape shape = shapeOf(plan, plan.launches[i], options.architecture, layout.units);
    auto set = withNode(i, shape, layout, [&](const cuda::KernelNodeParams &params) {
      return device.driver.call<&Calls::execSetKernel>(shape.form->symbol, bucket.exec.get(), bucket.nodes[i], &params);
    });
    if (!set)
      return set;
    bucket.shapes[i] = shape;
  }
  bucket.layout = layout;
  return {};
}

Result<CudaGraphs::Impl::Bucket *> CudaGraphs::Impl::bucketFor(int64_t rows, const CudaUnits &units,
                                                               int64_t pageStride) {
  int64_t most = bucketOf(rows, options.most.rows);
  auto found = buckets.find(most);
  CudaUnits now;
  int64_t stride = 0;
  if (found != buckets.end())
    now = found->second.layout.units, stride = found->second.layout.pageStride;
  CudaUnits room{most, roomFor(units.logitRows, now.logitRows, options.most.logitRows),
                 roomFor(units.items, now.items, options.most.items), 0};
  int64_t strideRoom = roomFor(pageStride, stride, options.pageStride);
  StepLayout layout = StepLayout::make(room, strideRoom);
  if (found == buckets.end()) {
    auto built = build(layout);
    if (!built)
      return propagate(built);
    found = buckets.emplace(most, std::move(*built)).first;
  } else if (room.logitRows != now.logitRows || room.items != now.items || strideRoom != stride) {
    if (auto done = refit(found->second, layout); !done) {
      buckets.erase(found); // half of its nodes are as before
      return propagate(done);
    }
  }
  return &found->second;
}

Result<void> CudaGraphs::Impl::check(const LatheStep &step) const {
  const CudaUnits &most = options.most;
  if (step.rows < 1 || step.rows > most.rows || step.logitRows > most.logitRows || step.items > most.items ||
      step.sequences > options.sequences || step.pageStride > options.pageStride)
    return fail(ExitCode::internal,
                "a step of {} rows, {} logit rows, {} items, {} sequences of {} pages: at most {}, {}, {}, {} and {}",
                step.rows, step.logitRows, step.items, step.sequences, step.pageStride, most.rows, most.logitRows,
                most.items, options.sequences, options.pageStride);
  return {};
}

Result<void> CudaGraphs::prepare(int64_t rows) {
  rows = bucketOf(rows, impl->options.most.rows);
  if (impl->buckets.contains(rows))
    return {};
  auto bucket = impl->bucketFor(rows, {rows, rows, rows, 0}, 1);
  return bucket ? Result<void>() : propagate(bucket);
}

Result<void> CudaGraphs::run(const LatheStep &step) {
  if (auto fits = impl->check(step); !fits)
    return fits;
  const CudaDriver &driver = impl->device.driver;
  auto bucket = impl->bucketFor(step.rows, {step.rows, step.logitRows, step.items, 0}, step.pageStride);
  if (!bucket)
    return propagate(bucket);
  const StepLayout &layout = (*bucket)->layout;
  // The copy of the step before may still read the staging memory.
  if (auto done = driver.call<&Calls::eventSynchronize>("a step's arrays", impl->copied.get()); !done)
    return done;
  layout.write(step, static_cast<std::byte *>(impl->staging.get()));
  if (auto done = driver.call<&Calls::copyIn>("a step's arrays", impl->block.get(), impl->staging.get(),
                                              layout.bytes(step.sequences), impl->stream.get());
      !done)
    return done;
  if (auto done = driver.call<&Calls::eventRecord>("a step's arrays", impl->copied.get(), impl->stream.get()); !done)
    return done;
  impl->last = layout;
  return driver.call<&Calls::graphLaunch>("a step", (*bucket)->exec.get(), impl->stream.get());
}

Result<void> CudaGraphs::wait() {
  return impl->device.driver.call<&Calls::streamSynchronize>("the steps", impl->stream.get());
}

} // namespace lathe
