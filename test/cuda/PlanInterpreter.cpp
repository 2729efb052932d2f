#include "test/cuda/PlanInterpreter.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

namespace lathe::cuda {
namespace {

constexpr int kBlocks = 2;

uint64_t mix(uint64_t a, uint64_t b) {
  a = (a ^ b) * 0x9e3779b97f4a7c15ull;
  return a ^ a >> 29;
}

/// Memory: a number for what each block writes of a resource. Counters are one resource of their own.
class Memory {
public:
  Memory(const Plan &plan, bool slots, uint64_t garbage) : plan(plan), slots(slots), garbage(garbage) {}

  uint64_t &at(int64_t buffer, int block) {
    const Buffer &what = plan.buffers[buffer];
    auto key = std::tuple(0, buffer, block);
    bool kept = what.kind == Buffer::Kind::key || what.kind == Buffer::Kind::value;
    if (kept)
      key = {what.kind == Buffer::Kind::key ? 1 : 2, what.layer, block};
    else if (what.kind == Buffer::Kind::logits)
      key = {3, 0, block};
    else if (what.kind == Buffer::Kind::weight)
      key = {4, buffer, block};
    else if (what.kind == Buffer::Kind::tokens)
      key = {6, 0, block};
    else if (slots)
      key = {5, what.slot, block};
    bool known = kept || what.kind == Buffer::Kind::weight || what.kind == Buffer::Kind::tokens; // before every step
    auto [entry, inserted] =
        cells.try_emplace(key, mix(known ? 1 : garbage, static_cast<uint64_t>(std::get<1>(key)) * 8 + block));
    return entry->second;
  }
  std::set<size_t> counting; ///< launches that have begun to use the counters and have not ended

  StepResult result() {
    StepResult result;
    for (size_t i = 0; i < plan.buffers.size(); ++i)
      if (plan.buffers[i].kind != Buffer::Kind::activation)
        for (int block = 0; block < kBlocks; ++block)
          result.push_back(at(static_cast<int64_t>(i), block));
    return result;
  }

private:
  const Plan &plan;
  bool slots;
  uint64_t garbage;
  std::map<std::tuple<int, int64_t, int>, uint64_t> cells;
};

/// What a block does of a launch, in two moments.
class Block {
public:
  Block(const Plan &plan, size_t launch, int block)
      : plan(plan), launch(plan.launches[launch]), kernel(plan.kernels[this->launch.kernel]), index(launch),
        block(block), seen(mix(launch, 77)) {}

  void read(Memory &memory) {
    for (size_t i = 0; i < launch.args.size(); ++i)
      if (kernel.parameters[i].access != Access::write)
        for (int other = 0; other < kBlocks; ++other)
          if (kernel.parameters[i].access == Access::read || other == block) // updates are each block's own
            seen = mix(seen, memory.at(launch.args[i], other));
    if (int64_t tokens = plan.tokensBuffer(); kernel.feeds && tokens >= 0)
      for (int other = 0; other < kBlocks; ++other)
        seen = mix(seen, memory.at(tokens, other));
    if (!kernel.counters)
      return;
    for (size_t other : memory.counting) // what others have counted so far is counted as this launch's
      if (other != index)
        seen = mix(seen, other + 1);
    memory.counting.insert(index);
  }
  void write(Memory &memory) {
    for (size_t i = 0; i < launch.args.size(); ++i)
      if (kernel.parameters[i].access != Access::read)
        memory.at(launch.args[i], block) = mix(seen, i * kBlocks + block);
  }

private:
  const Plan &plan;
  const Launch &launch;
  const Kernel &kernel;
  size_t index;
  int block;
  uint64_t seen;
};

/// Moments of a launch.
enum Moment { start, waited, read0, read1, write0, write1, exited, ended, moments };

} // namespace

StepResult runInOrder(const Plan &plan) {
  Memory memory(plan, false, 12345);
  for (size_t i = 0; i < plan.launches.size(); ++i) {
    std::vector<Block> blocks{{plan, i, 0}, {plan, i, 1}};
    memory.counting.clear();
    for (Block &block : blocks)
      block.read(memory);
    for (Block &block : blocks)
      block.write(memory);
  }
  return memory.result();
}

StepResult runHostile(const Plan &plan, const std::string &architecture, std::mt19937_64 &random) {
  size_t count = plan.launches.size();
  bool programmatic = CudaArchitecture::parse(architecture)->programmatic;
  std::vector<std::vector<size_t>> after(count * moments);
  std::vector<int> before(count * moments);
  auto follow = [&](size_t first, size_t then) { after[first].push_back(then), ++before[then]; };
  auto moment = [](size_t launch, int moment) { return launch * moments + static_cast<size_t>(moment); };
  auto anyForm = [&](size_t launch, bool KernelForm::*what) {
    const auto &forms = plan.kernels[plan.launches[launch].kernel].variants.at(architecture).forms;
    return std::ranges::any_of(forms, [&](const KernelForm &form) { return form.*what; });
  };
  auto waits = [&](size_t launch) {
    const auto &forms = plan.kernels[plan.launches[launch].kernel].variants.at(architecture).forms;
    return std::ranges::all_of(forms, [](const KernelForm &form) { return form.waits; });
  };
  for (size_t i = 0; i < count; ++i) {
    follow(moment(i, start), moment(i, waited));
    follow(moment(i, waited), moment(i, exited));
    follow(moment(i, exited), moment(i, ended));
    for (int block = 0; block < kBlocks; ++block) {
      follow(moment(i, waits(i) ? waited : start), moment(i, read0 + block));
      follow(moment(i, read0 + block), moment(i, exited));
      follow(moment(i, read0 + block), moment(i, write0 + block));
      follow(moment(i, write0 + block), moment(i, ended)); // a write may be seen after the block has exited
    }
  }
  for (const Edge &edge : plan.edges) {
    auto a = static_cast<size_t>(edge.from), b = static_cast<size_t>(edge.to);
    if (!edge.programmatic || !programmatic) {
      follow(moment(a, ended), moment(b, start));
      continue;
    }
    follow(moment(a, anyForm(a, &KernelForm::triggers) ? start : exited), moment(b, start));
    if (waits(b))
      follow(moment(a, ended), moment(b, waited));
  }

  Memory memory(plan, true, random());
  std::vector<Block> blocks;
  for (size_t i = 0; i < count; ++i)
    for (int block = 0; block < kBlocks; ++block)
      blocks.emplace_back(plan, i, block);
  // Some orders are plain chance, some let late launches hurry, some let one launch be slow.
  uint64_t manner = random() % 4, slow = random() % count;
  std::vector<size_t> ready;
  for (size_t i = 0; i < before.size(); ++i)
    if (before[i] == 0)
      ready.push_back(i);
  while (!ready.empty()) {
    size_t pick = random() % ready.size();
    if (manner == 1 || manner == 2)
      for (int tries = 0; tries < 3; ++tries)
        if (size_t other = random() % ready.size();
            manner == 1 ? ready[other] > ready[pick] : ready[other] < ready[pick])
          pick = other;
    if (manner == 3 && ready[pick] / moments == slow)
      pick = random() % ready.size();
    size_t event = ready[pick];
    ready.erase(ready.begin() + static_cast<ptrdiff_t>(pick));
    size_t launch = event / moments;
    int what = static_cast<int>(event % moments);
    if (what == read0 || what == read1)
      blocks[launch * kBlocks + static_cast<size_t>(what - read0)].read(memory);
    if (what == write0 || what == write1)
      blocks[launch * kBlocks + static_cast<size_t>(what - write0)].write(memory);
    if (what == ended)
      memory.counting.erase(launch);
    for (size_t next : after[event])
      if (--before[next] == 0)
        ready.push_back(next);
  }
  return memory.result();
}

} // namespace lathe::cuda
