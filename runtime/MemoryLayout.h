//===- MemoryLayout.h - where everything of a plan but its weights lies -------===//
//
// Two blocks of memory, of the host or of a GPU: activations, whose first are the logits and the tokens that are drawn
// of them, and the KV pool, layer after layer, a layer's keys before its values.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Plan.h"

#include <cstdint>
#include <vector>

namespace lathe {

struct MemoryLayout {
  /// A buffer's place in one of the blocks; of an activation up to the end of its slot.
  struct Place {
    bool inPool = false;
    uint64_t offset = 0, bytes = 0;
  };

  uint64_t activationBytes = 0, logitBytes = 0;
  uint64_t tokens = 0, tokenBytes = 0;  ///< where the plan's buffer of tokens is, if it has one
  std::vector<uint64_t> slots;          ///< where each slot of the plan begins
  int64_t pages = 0;                    ///< of the KV pool
  int64_t keyBytes = 0, valueBytes = 0; ///< of one layer
  uint64_t poolBytes = 0;

  /// Activations of so many rows, logit rows and partial results of split attention. ExitCode::resource: more than any
  /// machine has.
  static Result<MemoryLayout> make(const Plan &plan, int64_t rows, int64_t logitRows, int64_t records);
  /// And a KV pool of so many pages.
  Result<void> addPool(const Plan &plan, int64_t pages);

  /// Of any buffer that is no weight.
  Place place(const Buffer &buffer) const;
  uint64_t keys(int64_t layer) const { return static_cast<uint64_t>(layer * (keyBytes + valueBytes)); }
  uint64_t values(int64_t layer) const { return keys(layer) + static_cast<uint64_t>(keyBytes); }
};

} // namespace lathe
