#include "runtime/KernelRing.h"

#include <algorithm>
#include <cstring>
#include <map>

namespace lathe {
namespace {

constexpr size_t kMostLaunches = 4096;
constexpr uint64_t kAlign = 64;

uint64_t roundUp(uint64_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

/// Which buffers are copied, each with its bytes: the weights, but not those that all of several launches read.
Result<std::map<int64_t, std::span<const std::byte>>> ownWeights(const Plan &plan, const Artifact &artifact,
                                                                 const std::vector<size_t> &launches) {
  std::map<int64_t, size_t> readers;
  for (size_t launch : launches) {
    std::vector<int64_t> args = plan.launches[launch].args;
    std::ranges::sort(args);
    args.erase(std::unique(args.begin(), args.end()), args.end());
    for (int64_t argument : args)
      ++readers[argument];
  }
  std::map<int64_t, std::span<const std::byte>> own;
  for (auto [argument, count] : readers) {
    const Buffer &buffer = plan.buffers[argument];
    if (buffer.kind != Buffer::Kind::weight || (launches.size() > 1 && count == launches.size()))
      continue;
    auto bytes = artifact.weight(buffer.tensor);
    if (!bytes)
      return propagate(bytes);
    own[argument] = *bytes;
  }
  return own;
}

} // namespace

Result<std::vector<size_t>> launchesOf(const Plan &plan, const std::string &kernel) {
  auto found = std::ranges::find(plan.kernels, kernel, &Kernel::symbol);
  if (found == plan.kernels.end()) {
    std::string names;
    for (const Kernel &other : plan.kernels)
      names += (names.empty() ? "" : ", ") + other.symbol;
    return fail(ExitCode::usage, "no kernel '{}'; there are: {}", kernel, names);
  }
  std::vector<size_t> own;
  for (size_t i = 0; i < plan.launches.size(); ++i)
    if (plan.kernels.begin() + plan.launches[i].kernel == found)
      own.push_back(i);
  if (own.empty())
    return fail(ExitCode::badInput, "kernel '{}' is never launched", kernel);
  return own;
}

Result<KernelRing> KernelRing::make(const Plan &plan, const Artifact &artifact, const std::string &kernel,
                                    const std::vector<ResolvedLaunch> &all, uint64_t least) {
  auto listed = launchesOf(plan, kernel);
  if (!listed)
    return propagate(listed);
  const std::vector<size_t> &own = *listed;
  const Kernel *found = &plan.kernels[plan.launches[own.front()].kernel];
  KernelRing ring;
  for (size_t launch : own) {
    ring.launches.push_back(all[launch]);
    ring.launches.back().barrier = true; // what was before it in the step is not before it here
  }
  uint64_t once = uint64_t(found->tiles) * uint64_t(found->bytesPerTile) * own.size();
  ring.bytes = once;
  if (once == 0 || once >= least || own.size() >= kMostLaunches)
    return ring;

  auto weights = ownWeights(plan, artifact, own);
  if (!weights)
    return propagate(weights);
  uint64_t rounds = std::min<uint64_t>((least - 1) / once, kMostLaunches / own.size() - 1), round = 0;
  for (auto &[argument, bytes] : *weights)
    round += roundUp(bytes.size());
  // Huge pages, as the engine reads weights into.
  auto copies = Arena::create(rounds * round, fmt::format("{} copies of the weights of {}", rounds, kernel), true);
  if (!copies)
    return propagate(copies);
  ring.copies = std::move(*copies);
  std::byte *at = ring.copies.data();
  for (uint64_t i = 0; i < rounds; ++i) {
    std::map<int64_t, std::byte *> places;
    for (auto &[argument, bytes] : *weights) {
      std::memcpy(at, bytes.data(), bytes.size());
      places[argument] = at;
      at += roundUp(bytes.size());
    }
    for (size_t l = 0; l < own.size(); ++l) {
      ResolvedLaunch copy = ring.launches[l];
      const std::vector<int64_t> &args = plan.launches[own[l]].args;
      for (size_t a = 0; a < args.size(); ++a)
        if (auto place = places.find(args[a]); place != places.end())
          copy.buffers[a] = place->second;
      ring.launches.push_back(std::move(copy));
    }
    ring.bytes += once;
  }
  return ring;
}

} // namespace lathe
