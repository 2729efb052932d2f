#include "runtime/CudaPlan.h"

#include <algorithm>
#include <charconv>
#include <set>
#include <vector>

namespace lathe {
namespace {

constexpr int64_t kTokenBytes = 4, kWarp = 32, kMostGridY = 65535, kMostLaunches = 4096;

/// Shared memory of a block by compute capability: CUDA C++ Programming Guide, technical specifications.
struct Capability {
  int number;
  int64_t sharedBytes;
};
constexpr Capability kCapabilities[] = {{80, 163 << 10},  {86, 99 << 10},  {87, 163 << 10},  {88, 99 << 10},
                                        {89, 99 << 10},   {90, 227 << 10}, {100, 227 << 10}, {103, 227 << 10},
                                        {110, 227 << 10}, {120, 99 << 10}, {121, 99 << 10}};
constexpr int kFirstProgrammatic = 90;

int64_t ceilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// A set of launches.
class Set {
public:
  explicit Set(size_t count) : words((count + 63) / 64) {}
  void add(size_t i) { words[i / 64] |= uint64_t(1) << i % 64; }
  void add(const Set &other) {
    for (size_t i = 0; i < words.size(); ++i)
      words[i] |= other.words[i];
  }
  bool has(size_t i) const { return words[i / 64] >> i % 64 & 1; }

private:
  std::vector<uint64_t> words;
};

/// What is over at a moment: launches that have ended, and those whose blocks have exited.
struct Over {
  Set ended, exited;
  explicit Over(size_t count) : ended(count), exited(count) {}
  void add(const Over &other) { ended.add(other.ended), exited.add(other.exited); }
  void addEnd(size_t launch) { ended.add(launch), exited.add(launch); }
};

/// Of all forms together: waits only if each does, triggers if one does.
struct Manners {
  bool waits = true, triggers = false;
  void add(const KernelVariant &variant) {
    for (const KernelForm &form : variant.forms)
      waits &= form.waits, triggers |= form.triggers;
  }
};

/// What two launches may meet in.
using Resource = std::pair<int, int64_t>;
enum ResourceKind { slots, keys, values, logits, tokens, counters };

class Verifier {
public:
  Verifier(const Plan &plan, const std::string &architecture, const CudaUnits &most, const WeightBytes &weights)
      : plan(plan), name(architecture), most(most), weights(weights) {}

  Result<void> run() {
    auto parsed = CudaArchitecture::parse(name);
    if (!parsed)
      return propagate(parsed);
    architecture = *parsed;
    if (static_cast<int64_t>(plan.launches.size()) > kMostLaunches)
      return fail(ExitCode::badInput, "plan.json: launches: expected at most {} for CUDA, found {}", kMostLaunches,
                  plan.launches.size());
    for (const Kernel &kernel : plan.kernels)
      if (auto right = checkKernel(kernel); !right)
        return right;
    for (size_t i = 0; i < plan.launches.size(); ++i)
      if (auto right = checkLaunch(i); !right)
        return right;
    if (auto right = order(); !right)
      return right;
    return checkAccesses();
  }

private:
  const Plan &plan;
  const std::string &name;
  const CudaUnits &most;
  const WeightBytes &weights;
  CudaArchitecture architecture;
  std::vector<Over> atWait; ///< of each launch: what is over before it touches more than weights

  /// What is known of a piece of memory while launches are walked in order.
  struct State {
    int64_t writer = -1, buffer = -1; ///< who wrote last, and as what
    std::vector<int64_t> readers;     ///< since then
  };

  const Kernel &kernelOf(size_t launch) const { return plan.kernels[plan.launches[launch].kernel]; }
  std::string describe(int64_t launch) const {
    return fmt::format("launches[{}] ({})", launch, kernelOf(static_cast<size_t>(launch)).symbol);
  }

  Result<void> checkKernel(const Kernel &kernel) const {
    auto wrong = [&]<typename... Args>(fmt::format_string<Args...> format, Args &&...args) {
      return fail(ExitCode::badInput, "plan.json: kernel {} for {}: {}", kernel.symbol, name,
                  fmt::format(format, std::forward<Args>(args)...));
    };
    auto variant = kernel.variants.find(name);
    if (variant == kernel.variants.end() || variant->second.forms.empty())
      return wrong("it has no form for this architecture; compile the model with --target cuda:{}", name);
    for (const KernelForm &form : variant->second.forms) {
      if (form.threads % kWarp != 0)
        return wrong("{}: expected threads in whole warps of {}, found {}", form.symbol, kWarp, form.threads);
      if (form.sharedBytes > architecture.sharedBytes)
        return wrong("{}: a block takes {} bytes of shared memory, there are {}", form.symbol, form.sharedBytes,
                     architecture.sharedBytes);
      int64_t units = form.mostUnits ? std::min(form.mostUnits, most.of(kernel.unit)) : most.of(kernel.unit);
      if (int64_t blocks = ceilDivide(units, form.unitsPerBlock); blocks > kMostGridY)
        return wrong("{}: {} units in blocks of {} make a grid of {} blocks, at most {} can be launched", form.symbol,
                     units, form.unitsPerBlock, blocks, kMostGridY);
    }
    return {};
  }

  Result<void> checkLaunch(size_t index) const {
    const Launch &launch = plan.launches[index];
    const Kernel &kernel = kernelOf(index);
    if (launch.args.size() != kernel.parameters.size())
      return fail(ExitCode::badInput, "plan.json: {}: expected {} arguments, found {}", describe(index),
                  kernel.parameters.size(), launch.args.size());
    for (size_t i = 0; i < launch.args.size(); ++i)
      if (auto right = checkArgument(index, kernel.parameters[i], plan.buffers[launch.args[i]]); !right)
        return right;
    return {};
  }

  Result<void> checkArgument(size_t index, const Parameter &parameter, const Buffer &buffer) const {
    auto wrong = [&](const std::string &why) {
      return fail(ExitCode::badInput, "plan.json: {}: argument {} as {}: {}", describe(index), buffer.name,
                  parameter.name, why);
    };
    auto exactly = [&](int64_t bytes, const char *what) -> Result<void> {
      if (parameter.unit || parameter.bytes != bytes)
        return wrong(fmt::format("the kernel expects {} bytes{}, {} has {}", parameter.bytes,
                                 parameter.unit ? " a unit" : "", what, bytes));
      return {};
    };
    switch (buffer.kind) {
    case Buffer::Kind::weight:
      if (parameter.access != Access::read)
        return wrong("a weight is only read");
      if (weights) {
        auto bytes = weights(buffer.tensor);
        if (!bytes)
          return wrong(fmt::format("there is no weight {}", buffer.tensor));
        return exactly(*bytes, "the weight");
      }
      return {};
    case Buffer::Kind::key:
      return exactly(plan.keyPageBytes(), "a page of keys");
    case Buffer::Kind::value:
      return exactly(plan.valuePageBytes(), "a page of values");
    case Buffer::Kind::logits:
      if (parameter.unit != Unit::logitRows || parameter.bytes != plan.logitStride * 4)
        return wrong(fmt::format("the kernel expects rows of {} bytes, the logits have {} a logit row", parameter.bytes,
                                 plan.logitStride * 4));
      return {};
    case Buffer::Kind::tokens:
      if (parameter.unit != Unit::logitRows || parameter.bytes != kTokenBytes || parameter.access != Access::write)
        return wrong(fmt::format("expected a kernel that writes {} bytes a logit row", kTokenBytes));
      return {};
    case Buffer::Kind::activation:
      break;
    }
    const Slot &slot = plan.slots[buffer.slot];
    if (parameter.unit != slot.unit)
      return wrong(fmt::format("slot {} holds other units than the kernel expects", buffer.slot));
    if (parameter.bytes > slot.bytesPerUnit)
      return wrong(fmt::format("the kernel expects {} bytes a unit, slot {} has {}", parameter.bytes, buffer.slot,
                               slot.bytesPerUnit));
    return {};
  }

  /// Fills `atWait` by the rules of the banner.
  Result<void> order() {
    size_t count = plan.launches.size();
    std::vector<std::vector<const Edge *>> into(count);
    std::set<std::pair<int64_t, int64_t>> seen;
    for (const Edge &edge : plan.edges) {
      if (edge.from < 0 || edge.from >= edge.to || edge.to >= static_cast<int64_t>(count))
        return fail(ExitCode::badInput,
                    "plan.json: edges: {} -> {}: expected an earlier and a later one of {} launches", edge.from,
                    edge.to, count);
      if (!seen.insert({edge.from, edge.to}).second)
        return fail(ExitCode::badInput, "plan.json: edges: two lead from {} to {}", describe(edge.from),
                    describe(edge.to));
      into[edge.to].push_back(&edge);
    }
    std::vector<Over> atStart;
    std::vector<Manners> manners(count);
    for (size_t b = 0; b < count; ++b) {
      manners[b].add(kernelOf(b).variants.at(name));
      Over start(count), behind(count);
      for (const Edge *edge : into[b]) {
        auto a = static_cast<size_t>(edge->from);
        bool programmatic = edge->programmatic && architecture.programmatic;
        Over end = atWait[a];
        end.addEnd(a);
        if (!programmatic) {
          start.add(end);
          continue;
        }
        start.add(manners[a].triggers ? atStart[a] : atWait[a]);
        if (!manners[a].triggers)
          start.exited.add(a);
        if (manners[b].waits)
          behind.add(end);
      }
      behind.add(start);
      atStart.push_back(std::move(start));
      atWait.push_back(std::move(behind));
    }
    return {};
  }

  /// Walks launches in order; each access must be behind those it conflicts with.
  Result<void> checkAccesses() const {
    std::map<Resource, State> memory;
    bool logitsWritten = false;
    for (size_t i = 0; i < plan.launches.size(); ++i) {
      std::map<Resource, std::pair<Access, int64_t>> touched; // how, and as which buffer
      const Launch &launch = plan.launches[i];
      const Kernel &kernel = kernelOf(i);
      for (size_t j = 0; j < launch.args.size(); ++j) {
        const Buffer &buffer = plan.buffers[launch.args[j]];
        Access access = kernel.parameters[j].access;
        if (buffer.kind == Buffer::Kind::weight)
          continue;
        Resource resource = resourceOf(buffer);
        auto [entry, first] = touched.insert({resource, {access, launch.args[j]}});
        if (!first && (access != Access::read || entry->second.first != Access::read))
          return fail(ExitCode::badInput, "plan.json: {}: {} and {} are the same memory, and one is written",
                      describe(i), plan.buffers[entry->second.second].name, buffer.name);
        if (buffer.kind == Buffer::Kind::activation || buffer.kind == Buffer::Kind::logits)
          if (const State &state = memory[resource]; access != Access::write && state.buffer != launch.args[j])
            return fail(ExitCode::badInput, "plan.json: {} reads {}, but {}", describe(i), buffer.name,
                        state.buffer < 0 ? "no launch before it writes it"
                                         : fmt::format("its memory holds {}, which {} wrote last",
                                                       plan.buffers[state.buffer].name, describe(state.writer)));
        logitsWritten |= buffer.kind == Buffer::Kind::logits && access != Access::read;
      }
      if (int64_t drawn = plan.tokensBuffer(); kernel.feeds && drawn >= 0) {
        Resource resource(tokens, 0);
        if (int64_t writer = memory[resource].writer; writer >= 0 || touched.contains(resource))
          return fail(ExitCode::badInput,
                      "plan.json: {} reads tokens that the step before drew, but {} draws those of this step",
                      describe(i), writer >= 0 ? describe(writer) : "it");
        touched.insert({resource, {Access::read, drawn}});
      }
      if (kernel.counters)
        touched.insert({Resource(counters, 0), {Access::update, -1}});
      for (const auto &[resource, use] : touched)
        if (auto right = checkOrder(i, resource, use.first, use.second, memory[resource]); !right)
          return right;
    }
    if (!logitsWritten)
      return fail(ExitCode::badInput, "plan.json: launches: none writes the logits");
    return {};
  }

  Resource resourceOf(const Buffer &buffer) const {
    switch (buffer.kind) {
    case Buffer::Kind::key:
      return {keys, buffer.layer};
    case Buffer::Kind::value:
      return {values, buffer.layer};
    case Buffer::Kind::logits:
      return {logits, 0};
    case Buffer::Kind::tokens:
      return {tokens, 0};
    default:
      return {slots, buffer.slot};
    }
  }

  std::string nameOf(const Resource &resource, int64_t buffer) const {
    if (resource.first == counters)
      return "the counters of split work";
    if (resource.first == slots)
      return fmt::format("{} (slot {})", plan.buffers[buffer].name, resource.second);
    return plan.buffers[buffer].name;
  }

  /// Whether launch i may touch the memory, and notes that it does.
  Result<void> checkOrder(size_t i, const Resource &resource, Access access, int64_t buffer, State &state) const {
    auto here = static_cast<int64_t>(i);
    auto early = [&](int64_t before, const char *did, const char *does) {
      return fail(ExitCode::badInput,
                  "plan.json: {} may {} {} before {} has {} it: no path of edges and waits orders them on {}",
                  describe(here), does, nameOf(resource, buffer), describe(before), did, name);
    };
    const char *does = access == Access::read ? "read" : "write";
    if (state.writer >= 0 && !atWait[i].ended.has(static_cast<size_t>(state.writer)))
      return early(state.writer, "written", does);
    if (access == Access::read) {
      state.readers.push_back(here);
      return {};
    }
    for (int64_t reader : state.readers)
      if (!atWait[i].exited.has(static_cast<size_t>(reader)))
        return early(reader, "read", does);
    state = {here, buffer, {}};
    return {};
  }
};

} // namespace

Result<CudaArchitecture> CudaArchitecture::parse(std::string_view name) {
  CudaArchitecture found;
  std::string_view digits = name;
  found.portable = digits.starts_with("compute_");
  if (found.portable || digits.starts_with("sm_"))
    digits.remove_prefix(found.portable ? 8 : 3);
  else
    digits = {};
  if (digits.ends_with('a')) {
    found.exact = true;
    digits.remove_suffix(1);
  }
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), found.capability);
  auto known = std::ranges::find(kCapabilities, found.capability, &Capability::number);
  if (error != std::errc() || end != digits.data() + digits.size() || known == std::end(kCapabilities)) {
    std::vector<int> numbers;
    for (const Capability &capability : kCapabilities)
      numbers.push_back(capability.number);
    return fail(ExitCode::usage, "architecture '{}': expected sm_N, sm_Na or compute_N, N one of {}", name,
                fmt::join(numbers, ", "));
  }
  found.sharedBytes = known->sharedBytes;
  if (found.portable && !found.exact)
    for (const Capability &newer : kCapabilities)
      if (newer.number >= found.capability)
        found.sharedBytes = std::min(found.sharedBytes, newer.sharedBytes);
  found.programmatic = found.capability >= kFirstProgrammatic;
  return found;
}

bool CudaArchitecture::runsOn(int device) const {
  if (exact)
    return device == capability;
  return device >= capability && (portable || device / 10 == capability / 10);
}

int64_t CudaUnits::of(Unit unit) const {
  switch (unit) {
  case Unit::rows:
    return rows;
  case Unit::logitRows:
    return logitRows;
  case Unit::items:
    return items;
  case Unit::partials:
    return partials;
  }
  return 0;
}

int64_t bucketOf(int64_t count, int64_t most) {
  int64_t bucket = 1;
  while (bucket < count) // 1, 2, 4, 8, 16, and from there on three halves of a power of two between them
    bucket = bucket < 16 ? bucket * 2 : (bucket & (bucket - 1)) ? bucket / 3 * 4 : bucket / 2 * 3;
  return std::min(bucket, std::max<int64_t>(most, 1));
}

const KernelForm &formOf(const Kernel &kernel, const std::string &architecture, int64_t units) {
  const std::vector<KernelForm> &forms = kernel.variants.at(architecture).forms;
  for (const KernelForm &form : forms)
    if (form.mostUnits >= units)
      return form;
  return forms.back();
}

LaunchShape shapeOf(const Plan &plan, const Launch &launch, const std::string &architecture, const CudaUnits &units) {
  const Kernel &kernel = plan.kernels[launch.kernel];
  int64_t count = std::max<int64_t>(1, units.of(kernel.unit));
  const KernelForm &form = formOf(kernel, architecture, count);
  return {&form, static_cast<uint32_t>(ceilDivide(kernel.tiles, form.tilesPerBlock)),
          static_cast<uint32_t>(ceilDivide(count, form.unitsPerBlock))};
}

Result<void> verifyCudaPlan(const Plan &plan, const std::string &architecture, const CudaUnits &most,
                            const WeightBytes &weights) {
  return Verifier(plan, architecture, most, weights).run();
}

void chainLaunches(Plan &plan) {
  plan.edges.clear();
  for (size_t i = 1; i < plan.launches.size(); ++i) {
    Manners manners;
    for (const auto &[tier, variant] : plan.kernels[plan.launches[i].kernel].variants)
      manners.add(variant);
    plan.edges.push_back({static_cast<int64_t>(i) - 1, static_cast<int64_t>(i), manners.waits});
  }
}

std::string printTimeline(const Plan &plan, const std::string &architecture, const CudaUnits &units) {
  std::string out = fmt::format("{}: {} rows, {} logit rows, {} attention items; {} launches\n", architecture,
                                units.rows, units.logitRows, units.items, plan.launches.size());
  size_t width = 0;
  for (const Kernel &kernel : plan.kernels)
    for (const KernelForm &form : kernel.variants.at(architecture).forms)
      width = std::max(width, form.symbol.size());
  for (size_t i = 0; i < plan.launches.size(); ++i) {
    const Launch &launch = plan.launches[i];
    const Kernel &kernel = plan.kernels[launch.kernel];
    LaunchShape shape = shapeOf(plan, launch, architecture, units);
    std::string after, reads, writes;
    for (const Edge &edge : plan.edges)
      if (edge.to == static_cast<int64_t>(i))
        after += fmt::format(" {}{}", edge.from, edge.programmatic ? "~" : "");
    for (size_t j = 0; j < launch.args.size() && j < kernel.parameters.size(); ++j) {
      const Buffer &buffer = plan.buffers[launch.args[j]];
      std::string text = " " + buffer.name;
      if (buffer.kind == Buffer::Kind::activation)
        text += fmt::format("[{}]", buffer.slot);
      (kernel.parameters[j].access == Access::read ? reads : writes) += text;
    }
    if (int64_t drawn = plan.tokensBuffer(); kernel.feeds && drawn >= 0)
      reads += " " + plan.buffers[drawn].name;
    out += fmt::format("{:4} {:{}} {:>6}x{:<5} x{:<4} {:>7} B  {}{}  after{}:{} ->{}\n", i, shape.form->symbol, width,
                       shape.gridX, shape.gridY, shape.form->threads, shape.form->sharedBytes,
                       shape.form->waits ? 'w' : '-', shape.form->triggers ? 't' : '-', after.empty() ? " -" : after,
                       reads, writes);
  }
  return out;
}

} // namespace lathe
