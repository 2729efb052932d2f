//===- Plan.h - the launch table of one step ------------------------------===//
//
// Written by the compiler (passes/kern/PlanMemory.cpp decides, compiler/PlanWriter
// prints it as `plan.json`), walked by the runtime. One plan serves every ISA tier:
// the tiers differ only in the code behind a kernel's symbol, in unitBlock and in scratch. A plan for CUDA says more:
// how blocks of threads take a kernel's units and tiles, what each launch reads and writes, and which launches wait for
// which (runtime/CudaPlan.h verifies that).
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/support/Error.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lathe {

/// What the number of a kernel's or buffer's units is at run time.
enum class Unit { rows, logitRows, partials, items };

/// Activations of several buffers share a slot when their lifetimes do not overlap.
/// At run time a slot takes bytesPerUnit x (capacity of its unit) bytes, 64-byte aligned.
struct Slot {
  Unit unit = Unit::rows; ///< rows, logitRows or partials (of split attention, one a row and chunk)
  int64_t bytesPerUnit = 0;
};

struct Buffer {
  enum class Kind { activation, weight, key, value, logits, tokens };
  std::string name;
  Kind kind = Kind::activation;
  int64_t slot = -1;  ///< activation: index into Plan::slots
  std::string tensor; ///< weight: name in the artifact's weight directory (Manifest::weights)
  int64_t layer = -1; ///< key, value: the layer's index in the KV store
};

/// What a kernel leaves to a library: products of `rows` to KernelVariant::unitBlock rows.
struct LibraryUse {
  std::string name; ///< "onednn"
  int64_t rows = 2;
  int64_t k = 1;    ///< input features
  int64_t unit = 0; ///< of codes: elements along k whose exact sum the kernel scales; 0: floats

  bool operator==(const LibraryUse &) const = default;
};

/// CUDA: one function of a kernel, and how it is launched. Block (x, y) computes `tilesPerBlock` tiles from
/// x * tilesPerBlock on of `unitsPerBlock` units from y * unitsPerBlock on.
struct KernelForm {
  std::string symbol;        ///< of the function, and of the file it is in
  int64_t mostUnits = 0;     ///< launched for so many units and fewer; 0: for any number (the last form)
  int64_t unitsPerBlock = 1; ///< rows, logit rows or items of one block
  int64_t tilesPerBlock = 1; ///<
  int64_t threads = 0;       ///< of a block
  int64_t sharedBytes = 0;   ///< dynamic shared memory of a block
  bool waits = false;        ///< reads nothing but weights, and writes nothing, before it has waited
  bool triggers = false;     ///< lets what depends on it start before it has ended

  bool operator==(const KernelForm &) const = default;
};

/// What one ISA tier, or one architecture of CUDA ("sm_90a", "compute_80"), says of a kernel.
struct KernelVariant {
  int64_t unitBlock = 1;    ///< CPU: the most units one call may take
  int64_t scratchBytes = 0; ///< CPU: private memory of one worker
  std::optional<LibraryUse> library = {};
  std::vector<KernelForm> forms = {}; ///< CUDA, in order of mostUnits; all give the same bits. Empty: a CPU tier's
};

/// What a kernel does to an argument. Who writes may also read back what it wrote in the same launch.
enum class Access { read, write, update };

/// CUDA: what a kernel expects of one argument.
struct Parameter {
  std::string name;
  Access access = Access::read;
  std::optional<Unit> unit = {}; ///< absent: weights, keys, values
  int64_t bytes = 0;             ///< of one unit; of all of a weight; of a page of keys or values

  bool operator==(const Parameter &) const = default;
};

struct Kernel {
  std::string symbol; ///< exported by kernels/<tier>.so, same name in all tiers
  Unit unit = Unit::rows;
  int64_t tiles = 1;        ///< column tiles (attention: KV heads)
  int64_t bytesPerTile = 0; ///< weight bytes a tile reads, for balance and for bench
  int64_t flopsPerUnit = 0; ///< floating or integer operations a unit takes (attention: per KV token)
  std::map<std::string, KernelVariant> variants; ///< by tier name
  std::string provenance;                        ///< "layers 0..29: norm, linear, rope, kv_append"
  std::vector<Parameter> parameters = {};        ///< CUDA: one an argument
  bool counters = false; ///< CUDA: uses LatheStep::counters, which no two launches may at a time
  bool feeds = false;    ///< CUDA: reads LatheStep::tokenIds, and so perhaps what the step before drew
};

struct Launch {
  int64_t kernel = 0;        ///< index into Plan::kernels
  std::vector<int64_t> args; ///< indices into Plan::buffers
  bool barrier = true;       ///< CPU: workers meet before this launch starts
};

/// CUDA: launch `to` starts when launch `from` has ended. Programmatic: it starts when all blocks of `from` have
/// triggered or ended, and where it waits, goes on when `from` has ended (griddepcontrol of PTX, from sm_90 on; before
/// that the same as an ordinary one).
struct Edge {
  int64_t from = 0, to = 0;
  bool programmatic = false;

  bool operator==(const Edge &) const = default;
};

struct Plan {
  int64_t vocab = 0;         ///< logits of one row that mean something
  int64_t logitStride = 0;   ///< floats between rows of the logits buffer (>= vocab, padded)
  int64_t context = 0;       ///< the most positions of one sequence
  int64_t attentionRows = 1; ///< the most rows of one attention block
  int64_t chunkTokens = 1;   ///< positions of one attention chunk
  // The KV store. Per layer and page: keys are [heads][dimPadded][pageTokens], values [heads][pageTokens][dimPadded].
  // In int8: keys [heads][dimPadded / 4 + 2][pageTokens][4], where the last two quads of a position are its f32 scales
  // (of the key and of the value), values [heads][pageTokens / 4][dimPadded][4]. CUDA: as runtime/device/attention.cuh
  // says, in as many bytes.
  int64_t layers = 0, kvHeads = 0, dimPadded = 0, pageTokens = 0;
  std::string kvElement; ///< "f32", "bf16" or "int8"
  std::vector<Slot> slots;
  /// The single buffer of kind logits is [logitRows][logitStride] float32, that of kind tokens, of CUDA alone,
  /// [logitRows] int32: what a step draws stays there for the next.
  std::vector<Buffer> buffers;
  std::vector<Kernel> kernels;
  std::vector<Launch> launches;
  std::vector<Edge> edges = {}; ///< CUDA: what orders launches; their list is one order that the edges allow

  int64_t kvElementBytes() const { return kvElement == "f32" ? 4 : kvElement == "bf16" ? 2 : 1; }
  /// Bytes of one page of one layer's values, of its keys, and of both.
  int64_t valuePageBytes() const { return kvHeads * dimPadded * pageTokens * kvElementBytes(); }
  int64_t keyPageBytes() const { return valuePageBytes() + (kvElement == "int8" ? kvHeads * pageTokens * 8 : 0); }
  int64_t pageBytes() const { return keyPageBytes() + valuePageBytes(); }
  /// The index of the buffer of kind tokens, or -1: no launch draws any.
  int64_t tokensBuffer() const;
};

/// plan.json. Parsing checks every index, size and name, and never trusts a number:
/// all counts must be positive and their products fit in 2^48.
std::string printPlan(const Plan &plan);
Result<Plan> parsePlan(std::string_view json);

} // namespace lathe
