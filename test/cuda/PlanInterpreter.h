// Runs a plan on numbers that stand for memory, in any order that its edges allow.
#pragma once

#include "runtime/CudaPlan.h"

#include <cstdint>
#include <random>
#include <vector>

namespace lathe::cuda {

/// What a step leaves for others: logits, keys and values.
using StepResult = std::vector<uint64_t>;

/// One launch after another, every buffer in memory of its own: what the plan means.
StepResult runInOrder(const Plan &plan);

/// A random order of starts, waits, reads, writes and ends of launches that edges, waits and triggers allow on an
/// architecture, with slots shared. Each launch is two blocks, one of which may write before the other has read.
StepResult runHostile(const Plan &plan, const std::string &architecture, std::mt19937_64 &random);

} // namespace lathe::cuda
