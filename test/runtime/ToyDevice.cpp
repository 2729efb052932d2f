// The toy model's kernels as cuda-host has them: lathe_host_launch runs a launch as a whole, and one draws tokens, by
// sorting. A shared object that the tests put into an artifact; it asks them whether a launch shall fail.
#define TOY_KERNELS_ONLY
#include "runtime/Abi.h"
#include "runtime/device/host/launch.h"
#include "test/runtime/ToyModel.h"

#include "lathe/chance.cuh"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <string_view>
#include <vector>

using namespace lathe;
using namespace lathe::toy;
using device::Chance;
using device::HostLaunch;

extern "C" {
void toy_embed(void *const *, const LatheStep *, int64_t, int64_t, int64_t, int64_t, void *, int64_t);
void toy_append(void *const *, const LatheStep *, int64_t, int64_t, int64_t, int64_t, void *, int64_t);
void toy_attend(void *const *, const LatheStep *, int64_t, int64_t, int64_t, int64_t, void *, int64_t);
void toy_select(void *const *, const LatheStep *, int64_t, int64_t, int64_t, int64_t, void *, int64_t);
void toy_head(void *const *, const LatheStep *, int64_t, int64_t, int64_t, int64_t, void *, int64_t);
/// Of the tests: counts `fed` rows, whose tokens the step before drew; true: the launch shall fail.
bool toy_launched(const char *kernel, int64_t fed);
}

namespace {

/// The token that is drawn from a row of logits, as runtime/device/chance.cuh says it in whole numbers.
int32_t drawn(const float *logits, const device::Draw &draw) {
  if (draw.top_k < 0)
    return -1;
  std::vector<int32_t> ids(kVocab);
  std::iota(ids.begin(), ids.end(), 0);
  std::stable_sort(ids.begin(), ids.end(), [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  if (draw.temperature == 0 || draw.top_k == 1)
    return ids.front();
  auto chance = [&](int32_t id) { return device::chance_of(logits[id], logits[ids.front()], draw.temperature); };
  auto sum = [&] {
    return std::accumulate(ids.begin(), ids.end(), Chance(0), [&](Chance s, int32_t id) { return s + chance(id); });
  };
  auto part = [](Chance total, Chance share) { return static_cast<Chance>((__int128(total) * share) >> 64); };
  if (draw.top_k > 0 && draw.top_k < kVocab)
    ids.resize(static_cast<size_t>(draw.top_k));
  if (draw.top_p > 0) {
    Chance enough = std::max<Chance>(1, part(sum(), draw.top_p)), reached = 0;
    size_t kept = 0;
    while (reached < enough)
      reached += chance(ids[kept++]);
    ids.resize(kept);
  }
  std::erase_if(ids, [best = ids.front(), &logits, &draw](int32_t id) {
    return device::chance_of(logits[id], logits[best], draw.temperature) < draw.least;
  });
  Chance rest = part(sum(), draw.number);
  std::vector<int32_t> order = ids; // the best stays in front of `ids`: chances are relative to it
  std::sort(order.begin(), order.end());
  for (int32_t id : order) {
    if (rest < chance(id))
      return id;
    rest -= chance(id);
  }
  return order.front();
}

} // namespace

extern "C" const char *lathe_host_launch(const HostLaunch *launch) {
  const int *const *arrays = launch->batch.arrays;
  const int *counts = arrays[device::kCounts];
  std::vector<int32_t> tokens(arrays[device::kTokenIds], arrays[device::kTokenIds] + counts[0]);
  int64_t fed = 0;
  for (int32_t &id : tokens)
    if (id < 0) {
      auto row = static_cast<unsigned long long>(-1 - id);
      if (row >= launch->drawnBytes / sizeof(int32_t))
        return "a row takes the token of a logit row that there is not";
      id = launch->batch.drawn[row], ++fed;
    }
  LatheStep step = {.rows = counts[0],
                    .sequences = counts[1],
                    .logitRows = counts[2],
                    .items = counts[3],
                    .pageStride = launch->batch.pageStride,
                    .tokenIds = tokens.data(),
                    .rowSequence = arrays[device::kRowSequence],
                    .rowPosition = arrays[device::kRowPosition],
                    .pageTable = arrays[device::kPageTable],
                    .logitRow = arrays[device::kLogitRow],
                    .itemRow = arrays[device::kItemRow],
                    .itemEnd = arrays[device::kItemEnd]};
  std::string_view kernel = launch->kernel;
  bool embeds = kernel == "toy_embed";
  if (toy_launched(launch->kernel, embeds ? fed : 0))
    return "a launch that the test lets fail";
  std::vector<float> scratch(kContext);
  auto run = [&](auto *function, int64_t units, int64_t tiles) {
    function(launch->buffers, &step, 0, units, 0, tiles, scratch.data(), 0);
  };
  if (embeds)
    run(toy_embed, step.rows, kHeads);
  else if (kernel == "toy_append")
    run(toy_append, step.rows, kHeads);
  else if (kernel == "toy_attend")
    run(toy_attend, step.items, kHeads);
  else if (kernel == "toy_select")
    run(toy_select, step.logitRows, 1);
  else if (kernel == "toy_head")
    run(toy_head, step.logitRows, kHeadTiles);
  else
    for (int64_t row = 0; row < step.logitRows; ++row) {
      device::Draw draw;
      std::memcpy(&draw, arrays[device::kDraws] + row * device::kDrawInts, sizeof draw);
      static_cast<int32_t *>(launch->buffers[1])[row] =
          drawn(static_cast<const float *>(launch->buffers[0]) + row * kStride, draw);
    }
  return nullptr;
}
