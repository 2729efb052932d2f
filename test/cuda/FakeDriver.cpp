#include "test/cuda/FakeDriver.h"

#include "test/cuda/Cubin.h"

#include <algorithm>
#include <cstring>
#include <sstream>

namespace lathe::cuda {
namespace {

FakeDriver *fake = nullptr;

/// What an image has: a cubin, or the text of FakeDriver::imageOf.
std::optional<FakeDriver::Image> kernelsOf(const void *code) {
  if (auto kernels = kernelsOfCubin(static_cast<const std::byte *>(code)))
    return kernels;
  if (auto kernels = kernelsOfPtx(static_cast<const char *>(code)))
    return kernels;
  std::istringstream text(static_cast<const char *>(code));
  std::string line;
  if (!std::getline(text, line) || line != "fake image")
    return std::nullopt;
  FakeDriver::Image kernels;
  while (std::getline(text, line)) {
    std::istringstream words(line);
    std::string name;
    words >> name;
    for (size_t size; words >> size;)
      kernels[name].push_back(size);
  }
  return kernels;
}

struct FakeKernel {
  std::string name;
  std::vector<size_t> parameters;
  int dynamicShared = 48 << 10;
};
struct FakeLibrary {
  std::map<std::string, std::unique_ptr<FakeKernel>> kernels;
};
struct FakeNode {
  FakeDriver::Launched launch;
};
struct FakeGraph {
  std::vector<std::unique_ptr<FakeNode>> nodes;
  std::vector<FakeDriver::GraphEdge> edges;
};
struct FakeExec {
  const FakeGraph *graph;
  std::vector<FakeDriver::Launched> nodes;
  std::vector<FakeDriver::GraphEdge> edges;
};
struct FakeStream {
  std::vector<std::function<void()>> queue;
};
struct FakeEvent {
  FakeStream *stream = nullptr;
  size_t position = 0; ///< of the stream's queue that must be done
};

} // namespace

struct FakeDriver::State {
  Calls calls;
  bool initialised = false, current = false;
  int retained = 0;
  std::map<Address, std::vector<std::byte>> memory;
  std::map<void *, std::vector<std::byte>> host;
  std::map<Stream, std::unique_ptr<FakeStream>> streams;
  std::map<Event, std::unique_ptr<FakeEvent>> events;
  std::map<Library, std::unique_ptr<FakeLibrary>> libraries;
  std::map<Graph, std::unique_ptr<FakeGraph>> graphs;
  std::map<GraphExec, std::unique_ptr<FakeExec>> execs;
  int64_t failIn = -1;
  int failWith = 0;
  std::string failSymbol;
  std::vector<std::function<void()>> *running = nullptr;

  /// Whether [address, address + bytes) lies in one piece of memory.
  bool holds(Address address, size_t bytes) const {
    auto after = memory.upper_bound(address);
    if (after == memory.begin())
      return false;
    const auto &[base, data] = *std::prev(after);
    return address - base <= data.size() && data.size() - (address - base) >= bytes;
  }
  FakeKernel *find(KernelHandle kernel) {
    for (auto &[handle, library] : libraries)
      for (auto &[name, found] : library->kernels)
        if (reinterpret_cast<KernelHandle>(found.get()) == kernel)
          return found.get();
    return nullptr;
  }
  bool busy(const FakeStream &stream) const {
    return std::ranges::any_of(stream.queue, [](const auto &work) { return work != nullptr; });
  }
  /// Notes a call that must not be made while work is queued.
  void quiet(const char *symbol) const {
    for (const auto &[handle, stream] : streams)
      if (busy(*stream))
        fake->misuse.push_back(symbol);
  }
  /// Does what a stream was given, up to a place.
  void drain(FakeStream &stream, size_t position) {
    for (size_t i = 0; i < std::min(position, stream.queue.size()); ++i)
      if (auto work = std::exchange(stream.queue[i], nullptr))
        work();
  }
};

namespace {

/// Counts and records a call; an error that was asked for.
int enter(const char *symbol, bool needsContext = true) {
  FakeDriver::State &state = *fake->state;
  fake->log.push_back(symbol);
  if (state.failIn >= 0 && (state.failSymbol.empty() || state.failSymbol == symbol) && state.failIn-- == 0)
    return state.failWith;
  if (!state.initialised)
    return kNotInitialized;
  return needsContext && !state.current ? static_cast<int>(kInvalidContext) : 0;
}
#define ENTER(...)                                                                                                     \
  if (int result = enter(__VA_ARGS__))                                                                                 \
  return result
#define REQUIRE(condition, error)                                                                                      \
  if (!(condition))                                                                                                    \
  return error

template <typename Handle, typename T>
Handle give(std::map<Handle, std::unique_ptr<T>> &owners, std::unique_ptr<T> object) {
  auto handle = reinterpret_cast<Handle>(object.get());
  owners[handle] = std::move(object);
  return handle;
}

int checkLaunch(const KernelNodeParams &params, FakeDriver::Launched &launch) {
  FakeKernel *kernel = params.function ? nullptr : fake->state->find(params.kernel);
  REQUIRE(kernel, kInvalidHandle);
  REQUIRE(params.gridX > 0 && params.gridY > 0 && params.gridZ > 0 && params.gridX <= INT32_MAX &&
              params.gridY <= 65535 && params.gridZ <= 65535,
          kInvalidValue);
  unsigned threads = params.blockX * params.blockY * params.blockZ;
  REQUIRE(threads > 0 && threads <= 1024 && !params.extra, kInvalidValue);
  REQUIRE(static_cast<int>(params.sharedBytes) <= kernel->dynamicShared, kInvalidValue);
  launch = {kernel->name, params.gridX, params.gridY, params.gridZ, threads, params.sharedBytes, {}};
  for (size_t i = 0; i < kernel->parameters.size(); ++i) {
    auto *from = static_cast<const std::byte *>(params.parameters[i]);
    launch.parameters.emplace_back(from, from + kernel->parameters[i]);
  }
  return 0;
}

void runGraph(const FakeExec &exec) {
  std::vector<int> before(exec.nodes.size());
  for (const FakeDriver::GraphEdge &edge : exec.edges)
    ++before[edge.to];
  std::vector<size_t> ready;
  for (size_t i = 0; i < before.size(); ++i)
    if (before[i] == 0)
      ready.push_back(i);
  while (!ready.empty()) {
    size_t pick = fake->random() % ready.size(), node = ready[pick];
    ready.erase(ready.begin() + static_cast<ptrdiff_t>(pick));
    fake->launched.push_back(exec.nodes[node]);
    if (fake->kernelBody)
      fake->kernelBody(exec.nodes[node]);
    for (const FakeDriver::GraphEdge &edge : exec.edges)
      if (edge.from == node && --before[edge.to] == 0)
        ready.push_back(edge.to);
  }
}

Calls makeCalls() {
  Calls calls;
  calls.init = [](unsigned flags) -> int {
    fake->state->initialised = true;
    ENTER("cuInit", false);
    return fake->devices ? 0 : kNoDevice;
  };
  calls.driverVersion = [](int *version) -> int {
    ENTER("cuDriverGetVersion", false);
    *version = fake->version;
    return 0;
  };
  calls.errorName = [](int error, const char **name) -> int {
    static const std::map<int, const char *> names{
        {1, "CUDA_ERROR_INVALID_VALUE"},       {2, "CUDA_ERROR_OUT_OF_MEMORY"}, {100, "CUDA_ERROR_NO_DEVICE"},
        {209, "CUDA_ERROR_NO_BINARY_FOR_GPU"}, {500, "CUDA_ERROR_NOT_FOUND"},   {700, "CUDA_ERROR_ILLEGAL_ADDRESS"}};
    auto found = names.find(error);
    *name = found == names.end() ? nullptr : found->second;
    return found == names.end() ? 1 : 0;
  };
  calls.errorText = [](int error, const char **text) -> int {
    *text = "what the driver says";
    return 0;
  };
  calls.deviceCount = [](int *count) -> int {
    ENTER("cuDeviceGetCount", false);
    *count = fake->devices;
    return 0;
  };
  calls.deviceGet = [](int *device, int ordinal) -> int {
    ENTER("cuDeviceGet", false);
    *device = ordinal;
    return ordinal < fake->devices ? 0 : kInvalidDevice;
  };
  calls.deviceName = [](char *name, int bytes, int device) -> int {
    ENTER("cuDeviceGetName", false);
    std::snprintf(name, static_cast<size_t>(bytes), "%s", fake->name.c_str());
    return 0;
  };
  calls.deviceAttribute = [](int *value, int attribute, int device) -> int {
    ENTER("cuDeviceGetAttribute", false);
    std::map<int, int> values{{kMultiprocessors, 132},
                              {kL2Bytes, 50 << 20},
                              {kCapabilityMajor, fake->capability / 10},
                              {kCapabilityMinor, fake->capability % 10},
                              {kSharedPerBlockOptin, fake->sharedBytes}};
    REQUIRE(values.contains(attribute), kInvalidValue);
    *value = values[attribute];
    return 0;
  };
  calls.contextRetain = [](Context *context, int device) -> int {
    ENTER("cuDevicePrimaryCtxRetain", false);
    ++fake->state->retained;
    *context = reinterpret_cast<Context>(fake);
    return 0;
  };
  calls.contextRelease = [](int device) -> int {
    ENTER("cuDevicePrimaryCtxRelease", false);
    --fake->state->retained;
    return 0;
  };
  calls.contextSet = [](Context context) -> int {
    ENTER("cuCtxSetCurrent", false);
    fake->state->current = context == reinterpret_cast<Context>(fake);
    return fake->state->current ? 0 : kInvalidContext;
  };
  calls.memoryInfo = [](size_t *free, size_t *total) -> int {
    ENTER("cuMemGetInfo");
    *total = fake->memory, *free = fake->memory;
    for (const auto &[address, data] : fake->state->memory)
      *free -= data.size();
    return 0;
  };
  calls.memoryAlloc = [](Address *address, size_t bytes) -> int {
    ENTER("cuMemAlloc");
    REQUIRE(bytes > 0, kInvalidValue);
    uint64_t used = bytes;
    for (const auto &[base, data] : fake->state->memory)
      used += data.size();
    REQUIRE(used <= fake->memory, kOutOfMemory);
    std::vector<std::byte> data(bytes, std::byte(0xcd));
    *address = reinterpret_cast<Address>(data.data());
    fake->state->memory[*address] = std::move(data);
    return 0;
  };
  calls.memoryFree = [](Address address) -> int {
    ENTER("cuMemFree");
    fake->state->quiet("cuMemFree");
    return fake->state->memory.erase(address) ? 0 : kInvalidValue;
  };
  calls.hostAlloc = [](void **memory, size_t bytes, unsigned flags) -> int {
    ENTER("cuMemHostAlloc");
    REQUIRE(bytes > 0, kInvalidValue);
    std::vector<std::byte> data(bytes, std::byte(0xcd));
    *memory = data.data();
    fake->state->host[*memory] = std::move(data);
    return 0;
  };
  calls.hostFree = [](void *memory) -> int {
    ENTER("cuMemFreeHost");
    fake->state->quiet("cuMemFreeHost");
    return fake->state->host.erase(memory) ? 0 : kInvalidValue;
  };
  calls.copyIn = [](Address to, const void *from, size_t bytes, Stream stream) -> int {
    ENTER("cuMemcpyHtoDAsync");
    REQUIRE(fake->state->holds(to, bytes), kInvalidValue);
    REQUIRE(fake->state->streams.contains(stream), kInvalidHandle);
    fake->state->streams[stream]->queue.push_back([=] { std::memcpy(reinterpret_cast<void *>(to), from, bytes); });
    return 0;
  };
  calls.copyOut = [](void *to, Address from, size_t bytes, Stream stream) -> int {
    ENTER("cuMemcpyDtoHAsync");
    REQUIRE(fake->state->holds(from, bytes), kInvalidValue);
    REQUIRE(fake->state->streams.contains(stream), kInvalidHandle);
    fake->state->streams[stream]->queue.push_back([=] { std::memcpy(to, reinterpret_cast<void *>(from), bytes); });
    return 0;
  };
  calls.copyWithin = [](Address to, Address from, size_t bytes, Stream stream) -> int {
    ENTER("cuMemcpyDtoDAsync");
    REQUIRE(fake->state->holds(from, bytes) && fake->state->holds(to, bytes), kInvalidValue);
    REQUIRE(fake->state->streams.contains(stream), kInvalidHandle);
    fake->state->streams[stream]->queue.push_back(
        [=] { std::memmove(reinterpret_cast<void *>(to), reinterpret_cast<void *>(from), bytes); });
    return 0;
  };
  calls.fill = [](Address to, unsigned char value, size_t bytes, Stream stream) -> int {
    ENTER("cuMemsetD8Async");
    REQUIRE(fake->state->holds(to, bytes), kInvalidValue);
    REQUIRE(fake->state->streams.contains(stream), kInvalidHandle);
    fake->state->streams[stream]->queue.push_back([=] { std::memset(reinterpret_cast<void *>(to), value, bytes); });
    return 0;
  };
  calls.streamCreate = [](Stream *stream, unsigned flags) -> int {
    ENTER("cuStreamCreate");
    *stream = give(fake->state->streams, std::make_unique<FakeStream>());
    return 0;
  };
  calls.streamDestroy = [](Stream stream) -> int {
    ENTER("cuStreamDestroy");
    fake->state->quiet("cuStreamDestroy");
    return fake->state->streams.erase(stream) ? 0 : kInvalidHandle;
  };
  calls.streamSynchronize = [](Stream stream) -> int {
    ENTER("cuStreamSynchronize");
    REQUIRE(fake->state->streams.contains(stream), kInvalidHandle);
    FakeStream &found = *fake->state->streams[stream];
    fake->state->drain(found, found.queue.size());
    return 0;
  };
  calls.eventCreate = [](Event *event, unsigned flags) -> int {
    ENTER("cuEventCreate");
    *event = give(fake->state->events, std::make_unique<FakeEvent>());
    return 0;
  };
  calls.eventDestroy = [](Event event) -> int {
    ENTER("cuEventDestroy");
    return fake->state->events.erase(event) ? 0 : kInvalidHandle;
  };
  calls.eventRecord = [](Event event, Stream stream) -> int {
    ENTER("cuEventRecord");
    REQUIRE(fake->state->events.contains(event) && fake->state->streams.contains(stream), kInvalidHandle);
    *fake->state->events[event] = {fake->state->streams[stream].get(), fake->state->streams[stream]->queue.size()};
    return 0;
  };
  calls.eventSynchronize = [](Event event) -> int {
    ENTER("cuEventSynchronize");
    REQUIRE(fake->state->events.contains(event), kInvalidHandle);
    if (FakeEvent &found = *fake->state->events[event]; found.stream)
      fake->state->drain(*found.stream, found.position);
    return 0;
  };
  calls.eventElapsed = [](float *milliseconds, Event start, Event end) -> int {
    ENTER("cuEventElapsedTime");
    *milliseconds = 1;
    return fake->state->events.contains(start) && fake->state->events.contains(end) ? 0 : kInvalidHandle;
  };
  calls.libraryLoad = [](Library *library, const void *code, int *, void **, unsigned, int *, void **,
                         unsigned) -> int {
    ENTER("cuLibraryLoadData");
    auto kernels = kernelsOf(code);
    REQUIRE(kernels, kInvalidImage);
    auto loaded = std::make_unique<FakeLibrary>();
    for (auto &[name, sizes] : *kernels) {
      auto kernel = std::make_unique<FakeKernel>();
      kernel->name = name, kernel->parameters = sizes;
      loaded->kernels[name] = std::move(kernel);
    }
    *library = give(fake->state->libraries, std::move(loaded));
    return 0;
  };
  calls.libraryUnload = [](Library library) -> int {
    ENTER("cuLibraryUnload");
    return fake->state->libraries.erase(library) ? 0 : kInvalidHandle;
  };
  calls.libraryKernel = [](KernelHandle *kernel, Library library, const char *name) -> int {
    ENTER("cuLibraryGetKernel");
    REQUIRE(fake->state->libraries.contains(library), kInvalidHandle);
    auto found = fake->state->libraries[library]->kernels.find(name);
    REQUIRE(found != fake->state->libraries[library]->kernels.end(), kNotFound);
    *kernel = reinterpret_cast<KernelHandle>(found->second.get());
    return 0;
  };
  calls.kernelAttribute = [](int *value, int attribute, KernelHandle kernel, int device) -> int {
    ENTER("cuKernelGetAttribute");
    REQUIRE(fake->state->find(kernel), kInvalidHandle);
    *value = attribute == kFunctionRegisters ? 40 : 0;
    return 0;
  };
  calls.kernelSetAttribute = [](int attribute, int value, KernelHandle kernel, int device) -> int {
    ENTER("cuKernelSetAttribute");
    FakeKernel *found = fake->state->find(kernel);
    REQUIRE(found, kInvalidHandle);
    REQUIRE(attribute == kFunctionMaxDynamicShared && value <= fake->sharedBytes, kInvalidValue);
    found->dynamicShared = value;
    return 0;
  };
  calls.graphCreate = [](Graph *graph, unsigned flags) -> int {
    ENTER("cuGraphCreate");
    *graph = give(fake->state->graphs, std::make_unique<FakeGraph>());
    return 0;
  };
  calls.graphDestroy = [](Graph graph) -> int {
    ENTER("cuGraphDestroy");
    return fake->state->graphs.erase(graph) ? 0 : kInvalidHandle;
  };
  calls.graphAddKernel = [](GraphNode *node, Graph graph, const GraphNode *dependencies, size_t dependencyCount,
                            const KernelNodeParams *params) -> int {
    ENTER("cuGraphAddKernelNode");
    REQUIRE(fake->state->graphs.contains(graph), kInvalidHandle);
    auto added = std::make_unique<FakeNode>();
    if (int result = checkLaunch(*params, added->launch))
      return result;
    REQUIRE(dependencyCount == 0, kInvalidValue);
    *node = reinterpret_cast<GraphNode>(added.get());
    fake->state->graphs[graph]->nodes.push_back(std::move(added));
    return 0;
  };
  calls.graphAddEdges = [](Graph graph, const GraphNode *from, const GraphNode *to, const EdgeData *data,
                           size_t count) -> int {
    ENTER("cuGraphAddDependencies");
    REQUIRE(fake->state->graphs.contains(graph), kInvalidHandle);
    FakeGraph &found = *fake->state->graphs[graph];
    auto indexOf = [&](GraphNode node) {
      return static_cast<size_t>(
          std::ranges::find_if(found.nodes,
                               [&](const auto &has) { return reinterpret_cast<GraphNode>(has.get()) == node; }) -
          found.nodes.begin());
    };
    for (size_t i = 0; i < count; ++i) {
      size_t a = indexOf(from[i]), b = indexOf(to[i]);
      REQUIRE(a < found.nodes.size() && b < found.nodes.size() && a != b, kInvalidValue);
      bool programmatic = data[i].type == kTypeProgrammatic;
      REQUIRE(data[i].toPort == 0 && data[i].fromPort == (programmatic ? kPortProgrammatic : 0), kInvalidValue);
      REQUIRE(!programmatic || fake->capability >= 90, kInvalidValue);
      REQUIRE(std::ranges::all_of(data[i].reserved, [](unsigned char byte) { return byte == 0; }), kInvalidValue);
      found.edges.push_back({a, b, data[i]});
    }
    return 0;
  };
  calls.graphInstantiate = [](GraphExec *exec, Graph graph, InstantiateParams *params) -> int {
    if (int result = enter("cuGraphInstantiateWithParams")) {
      if (auto found = fake->state->graphs.find(graph);
          found != fake->state->graphs.end() && found->second->nodes.size() > 1)
        params->errorNode = reinterpret_cast<GraphNode>(found->second->nodes[1].get());
      return result;
    }
    REQUIRE(fake->state->graphs.contains(graph), kInvalidHandle);
    REQUIRE(params->flags == kInstantiateUpload && fake->state->streams.contains(params->uploadStream), kInvalidValue);
    const FakeGraph &found = *fake->state->graphs[graph];
    auto made = std::make_unique<FakeExec>(FakeExec{&found, {}, found.edges});
    for (const auto &node : found.nodes)
      made->nodes.push_back(node->launch);
    fake->graphs.push_back(made->nodes);
    fake->graphEdges.push_back(found.edges);
    *exec = give(fake->state->execs, std::move(made));
    return 0;
  };
  calls.execDestroy = [](GraphExec exec) -> int {
    ENTER("cuGraphExecDestroy");
    return fake->state->execs.erase(exec) ? 0 : kInvalidHandle;
  };
  calls.execSetKernel = [](GraphExec exec, GraphNode node, const KernelNodeParams *params) -> int {
    ENTER("cuGraphExecKernelNodeSetParams");
    REQUIRE(fake->state->execs.contains(exec), kInvalidHandle);
    FakeExec &found = *fake->state->execs[exec];
    for (size_t i = 0; i < found.nodes.size(); ++i)
      if (reinterpret_cast<GraphNode>(found.graph->nodes[i].get()) == node)
        return checkLaunch(*params, found.nodes[i]);
    return kInvalidHandle;
  };
  calls.graphLaunch = [](GraphExec exec, Stream stream) -> int {
    ENTER("cuGraphLaunch");
    REQUIRE(fake->state->execs.contains(exec) && fake->state->streams.contains(stream), kInvalidHandle);
    // What is set in the graph from now on is not for this launch.
    fake->state->streams[stream]->queue.push_back([now = *fake->state->execs[exec]] { runGraph(now); });
    return 0;
  };
  return calls;
}
#undef ENTER
#undef REQUIRE

} // namespace

FakeDriver::FakeDriver() : state(std::make_unique<State>()) {
  fake = this;
  state->calls = makeCalls();
}
FakeDriver::~FakeDriver() { fake = nullptr; }

const Calls &FakeDriver::calls() const { return state->calls; }

std::vector<std::byte> FakeDriver::imageOf(const Image &kernels) const {
  std::string text = "fake image\n";
  for (const auto &[name, sizes] : kernels)
    text += fmt::format("{} {}\n", name, fmt::join(sizes, " "));
  auto *data = reinterpret_cast<const std::byte *>(text.data());
  return {data, data + text.size()};
}

void FakeDriver::failAt(int64_t count, int result, std::string symbol) {
  state->failIn = count, state->failWith = result, state->failSymbol = std::move(symbol);
}

uint64_t FakeDriver::room(Address address) const {
  auto after = state->memory.upper_bound(address);
  if (after == state->memory.begin())
    return 0;
  const auto &[base, data] = *std::prev(after);
  return address - base <= data.size() ? data.size() - (address - base) : 0;
}

int64_t FakeDriver::count(std::string_view symbol) const { return std::ranges::count(log, symbol); }

std::vector<std::string> FakeDriver::leaks() const {
  std::vector<std::string> left;
  for (const auto &[address, data] : state->memory)
    left.push_back(fmt::format("memory of {} bytes", data.size()));
  for (const auto &[address, data] : state->host)
    left.push_back(fmt::format("host memory of {} bytes", data.size()));
  for (auto [what, many] : {std::pair("streams", state->streams.size()),
                            {"events", state->events.size()},
                            {"libraries", state->libraries.size()},
                            {"graphs", state->graphs.size()},
                            {"instantiated graphs", state->execs.size()},
                            {"contexts", static_cast<size_t>(state->retained)}})
    if (many)
      left.push_back(fmt::format("{} {}", many, what));
  return left;
}

} // namespace lathe::cuda
