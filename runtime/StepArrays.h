//===- StepArrays.h - a ragged batch as the arrays that kernels read --------===//
#pragma once

#include "runtime/Abi.h"
#include "runtime/AttentionItems.h"
#include "runtime/KvStore.h"

#include "lathe/chance.cuh"

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace lathe {

/// What one sequence contributes to a step: `tokens` follow what the KV store has of it.
struct SequenceRows {
  KvStore::Sequence sequence = 0;
  std::span<const int32_t> tokens;
  int64_t logitRows = 1;                 ///< of the last so many tokens the logits are wanted,
  std::optional<device::Draw> draw = {}; ///< or in their place the tokens that are drawn so
};

/// The same, wherever its pages come from.
struct PagedRows {
  std::span<const int32_t> pages; ///< physical, of each logical page
  int64_t position = 0;           ///< of the first token
  std::span<const int32_t> tokens;
  int64_t logitRows = 1;
  std::optional<device::Draw> draw = {};
};

/// Whether the token of a logit row is drawn where its logits are.
bool isDrawn(const LatheStep &step, int64_t logitRow);

/// The arrays of LatheStep, kept so that a step allocates nothing once they have grown.
class StepArrays {
public:
  StepArrays() = default;
  explicit StepArrays(AttentionItems items) : items(std::move(items)) {}

  /// The step of a batch; its arrays are valid until the next call. `library` is left null.
  LatheStep layOut(const KvStore &kv, std::span<const SequenceRows> batch);
  LatheStep layOut(std::span<const PagedRows> batch);

private:
  std::vector<PagedRows> paged;
  std::vector<int32_t> tokenIds, rowSequence, rowPosition, pageTable, logitRow, draws;
  AttentionItems items;
};

} // namespace lathe
