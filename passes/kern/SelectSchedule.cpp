//===- SelectSchedule.cpp - one schedule a kernel and tier ------------------===//
//
//   func.func private @qkv(...)   ->   func.func private @qkv(...) attributes {kern.schedules = [#kern.schedule<target
//   = "avx512vnni", ..., origin = "default, cpu.toml:21">, ...]}
//
// The table (compiler/Schedules.h) says which register tile; here stands what a kernel is looked up by, and what
// follows from its shapes.
//
//===----------------------------------------------------------------------===//
#include "compiler/Schedules.h"
#include "passes/kern/KernPasses.h"
#include "runtime/TierName.h"

#include "passes/kern/KernelArguments.h"

namespace lathe::kern {
#define GEN_PASS_DEF_KERNSELECTSCHEDULE
#include "passes/kern/KernPasses.h.inc"
} // namespace lathe::kern

#define DEBUG_TYPE "kern-select-schedule"

using namespace mlir;
using namespace lathe;
using namespace lathe::kern;

namespace {

/// Bytes of scratch that a row block may take: half of the smallest L2 of the tiers' machines, the other half is the
/// panels'.
constexpr int64_t scratchBudget = 256 << 10;

/// The op that decides how a kernel runs; null for one that no table knows.
Operation *anchorOf(lm::FusedOp fused) {
  for (Operation &op : fused.getBody().front())
    if (isa<lm::LinearOp, lm::AttentionOp>(op))
      return &op;
  return nullptr;
}

/// What the weight of a linear is called in a table.
std::string quantName(RankedTensorType weight) {
  Type element = weight.getElementType();
  return lm::quantOf(weight) ? "int" + std::to_string(weight.getElementTypeBitWidth())
         : element.isBF16()  ? "bf16"
         : element.isF16()   ? "f16"
                             : "f32";
}

/// A default's unit_block for a linear of this input: as many whole register tiles as stay in the cache.
int64_t blockWithin(const ScheduleEntry &entry, lm::LinearOp linear) {
  int64_t bytes = widthOf(linear.getInput()) * (lm::quantOf(linear.getWeight().getType()) ? 1 : 4);
  int64_t tiles = std::max<int64_t>(1, scratchBudget / bytes / entry.rows);
  return std::min(entry.unitBlock, tiles * entry.rows);
}

/// The same for a block of a GPU: as many rows as shared memory has room for, or, where that is less than a product
/// takes at a time, so many from global memory.
int64_t deviceBlockWithin(const ScheduleEntry &entry, lm::LinearOp linear) {
  int64_t rows = std::clamp<int64_t>(deviceRowsBudget / deviceRowBytes(linear), 1, entry.unitBlock);
  if (rows < deviceTileRows && readsGlobalRows(linear, deviceTileRows))
    return std::min(deviceTileRows, entry.unitBlock);
  return rows > deviceTileRows ? rows / deviceTileRows * deviceTileRows : rows;
}

/// A default's columns for a kernel of many rows: fewer blocks of columns than this would leave most multiprocessors
/// without work where all rows are one block's.
constexpr int64_t gemmBlocksLeast = 16;

int64_t gemmColumnsWithin(const ScheduleEntry &entry, lm::LinearOp linear) {
  int64_t columns = widthOf(linear.getResult()) / gemmBlocksLeast / panelWidth * panelWidth;
  return std::clamp(columns, panelWidth, entry.columns);
}

/// A library adds signed bytes: codes are stored with 128 added, and no further bias. Of floats it adds f32, so not
/// where a tier multiplies in bf16.
bool libraryMayRead(lm::LinearOp linear, StringRef tier) {
  auto weight = cast<RankedTensorType>(linear.getWeight().getType());
  if (auto quant = lm::quantOf(weight))
    return quant.getBias() == 0;
  return !(weight.getElementType().isBF16() && tierHas(tier, "bf16"));
}

/// A register tile holds whole groups of query heads, or a part that divides one, so that decode wastes nothing.
int64_t rowsWithin(const ScheduleEntry &entry, lm::AttentionOp attention) {
  lm::KvType kv = attention.getKv().getType();
  int64_t group = widthOf(attention.getQuery()) / (kv.getHeads() * kv.getDim());
  int64_t rows = entry.rows / group * group;
  for (int64_t r = 2; r <= entry.rows && group > entry.rows; ++r)
    if (group % r == 0)
      rows = r;
  return rows ? rows : entry.rows;
}

/// Rows of a block of attention of a GPU: queries are rows times the heads of a KV head, as many as the entry says and
/// as the smallest shared memory of all architectures has room for, whole tiles of them (BlockAttentionKernel).
int64_t deviceRowsWithin(const ScheduleEntry &entry, lm::AttentionOp attention) {
  constexpr int64_t sharedBytes = 99 << 10;
  lm::KvType kv = attention.getKv().getType();
  int64_t dim = paddedHead(kv.getDim(), true), group = widthOf(attention.getQuery()) / (kv.getHeads() * kv.getDim());
  int64_t element = kv.getElement().isF32() ? 4 : 2;
  // The query, its scores, its products and its output; maxima and sums of the chunk and of all.
  int64_t bytes = element * (dim + 2 * lanes) + 4 * (chunkTokens + 4 + 2 * dim + 4 * lanes);
  int64_t queries = std::max((sharedBytes - 4 * chunkTokens) / bytes / deviceTileRows, int64_t(1)) * deviceTileRows;
  return std::clamp<int64_t>(std::min(entry.rows, queries) / group, 1, attentionRows);
}

} // namespace

ScheduleKey kern::scheduleKeyOf(lm::FusedOp fused, StringRef tier) {
  Operation *anchor = anchorOf(fused);
  ScheduleKey key{.tier = tier.str(), .kind = "embed"};
  if (auto linear = dyn_cast_or_null<lm::LinearOp>(anchor)) {
    auto quant = lm::quantOf(linear.getWeight().getType());
    key.kind = "linear", key.quant = quantName(cast<RankedTensorType>(linear.getWeight().getType())),
    key.group = quant ? quant.getGroup() : 0;
    key.n = widthOf(linear.getResult()), key.k = widthOf(linear.getInput());
  } else if (anchor) {
    key.kind = "attention";
  }
  return key;
}

namespace {

struct SelectSchedule : kern::impl::KernSelectScheduleBase<SelectSchedule> {
  using Base::Base;
  SelectSchedule(const KernSelectScheduleOptions &options, const ScheduleTable &table)
      : Base(options), schedules(table) {}

  FailureOr<ScheduleAttr> select(lm::FusedOp fused, StringRef tier) {
    Operation *anchor = anchorOf(fused);
    ScheduleKey key = scheduleKeyOf(fused, tier);
    const ScheduleEntry *entry = schedules.find(key);
    if (!entry)
      return fused.emitOpError() << "no schedule for " << key.text() << ": add a default to the table";
    auto text = [&](const std::string &value) { return StringAttr::get(&getContext(), value); };
    int64_t rows = entry->rows, unitBlock = entry->unitBlock, libraryRows = 0;
    StringAttr library;
    if (auto linear = dyn_cast_or_null<lm::LinearOp>(anchor)) {
      if (tier == cudaTarget)
        rows = unitBlock = entry->measured() ? unitBlock : deviceBlockWithin(*entry, linear);
      else if (!entry->measured())
        unitBlock = blockWithin(*entry, linear);
      if (!entry->library.empty() && libraryMayRead(linear, tier) && unitBlock > 1)
        library = text(entry->library), libraryRows = std::min(entry->libraryRows, unitBlock);
    } else if (auto attention = dyn_cast_or_null<lm::AttentionOp>(anchor)) {
      rows = rowsWithin(*entry, attention);
      unitBlock = attentionRows;
      if (tier == cudaTarget) {
        lm::KvType kv = attention.getKv().getType();
        unitBlock = deviceRowsWithin(*entry, attention);
        rows = unitBlock * widthOf(attention.getQuery()) / (kv.getHeads() * kv.getDim());
      }
    }
    return ScheduleAttr::get(&getContext(), text(tier.str()), unitBlock, rows, entry->columns, entry->amxRows, library,
                             libraryRows, 0, 0, text(originOf(*entry)));
  }

  static std::string originOf(const ScheduleEntry &entry) {
    return (entry.measured() ? "measured, " : "default, ") + entry.origin;
  }

  /// The kernel of a GPU for many rows, behind the one for few; null where a table has none for such weights.
  ScheduleAttr selectMany(lm::FusedOp fused) {
    auto linear = dyn_cast_or_null<lm::LinearOp>(anchorOf(fused));
    ScheduleKey key = scheduleKeyOf(fused, cudaTarget);
    key.kind = "gemm";
    const ScheduleEntry *entry = linear ? schedules.find(key) : nullptr;
    if (!entry)
      return {};
    int64_t columns = entry->measured() ? entry->columns : gemmColumnsWithin(*entry, linear);
    return ScheduleAttr::get(&getContext(), StringAttr::get(&getContext(), cudaTarget), entry->rows, entry->rows,
                             columns, 0, {}, 0, entry->leastRows, entry->depth,
                             StringAttr::get(&getContext(), originOf(*entry)));
  }

  void runOnOperation() override {
    if (!table.empty()) {
      auto read = ScheduleTable::read(table);
      if (!read) {
        getOperation().emitError() << read.error().message;
        return signalPassFailure();
      }
      schedules = std::move(*read);
    }
    std::vector<std::string> known = schedules.tiers(), chosen(tiers.begin(), tiers.end());
    for (const std::string &tier : chosen)
      if (tier != cudaTarget && !llvm::is_contained(known, baseOfTier(tier))) {
        getOperation().emitError() << "expected a tier of " << llvm::join(known, ", ") << ", found '" << tier << "'";
        return signalPassFailure();
      }
    for (auto function : getOperation().getOps<func::FuncOp>()) {
      lm::FusedOp fused;
      if (!function.getBody().empty())
        for (auto op : function.getBody().front().getOps<lm::FusedOp>())
          fused = op;
      if (!fused || !function.isPrivate())
        continue;
      SmallVector<Attribute> attributes;
      for (const std::string &tier : chosen.empty() ? known : chosen) {
        auto schedule = select(fused, tier);
        if (failed(schedule))
          return signalPassFailure();
        attributes.push_back(*schedule);
        if (tier == cudaTarget)
          if (ScheduleAttr many = selectMany(fused))
            attributes.push_back(many);
      }
      function->setAttr(schedulesAttr, ArrayAttr::get(&getContext(), attributes));
    }
  }

  ScheduleTable schedules = ScheduleTable::builtIn();
};

} // namespace

std::unique_ptr<Pass> kern::createKernSelectSchedule(const KernSelectScheduleOptions &options,
                                                     const ScheduleTable &table) {
  return std::make_unique<SelectSchedule>(options, table);
}
