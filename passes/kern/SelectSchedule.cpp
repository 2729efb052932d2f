//===- SelectSchedule.cpp - one schedule a kernel and tier ------------------===//
//
//   func.func private @qkv(...)   ->   func.func private @qkv(...) attributes {kern.schedules = [#kern.schedule<target
//   = "avx512vnni", ...>, ...]}
//
//===----------------------------------------------------------------------===//
#include "passes/kern/KernPasses.h"

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

/// What of a tier a schedule depends on. A dot over int8 groups keeps two accumulators a 16 lanes (i32 and f32), one
/// over f32 one.
struct Tier {
  StringLiteral name;
  int64_t rowsI8, rowsF32, columns;
};
/// avx512vnni: 32 zmm; 6 rows x 2 vectors x 2 accumulators leave 8 for the panel and the epilogue of a group.
/// x86-64-v3: 16 ymm; a 16-lane vector takes two.
constexpr Tier knownTiers[] = {{"avx512vnni", 6, 8, 32}, {"x86-64-v3", 2, 4, 16}};

/// Bytes of scratch that a row block may take: half of the smallest L2 of the tiers' machines, the other half is the
/// panels'.
constexpr int64_t scratchBudget = 256 << 10;

struct SelectSchedule : kern::impl::KernSelectScheduleBase<SelectSchedule> {
  using Base::Base;

  ScheduleAttr select(lm::FusedOp fused, const Tier &tier) {
    MLIRContext *context = &getContext();
    auto make = [&](int64_t unitBlock, int64_t rows) {
      return ScheduleAttr::get(context, StringAttr::get(context, tier.name), unitBlock, rows, tier.columns);
    };
    for (Operation &op : fused.getBody().front()) {
      if (auto linear = dyn_cast<lm::LinearOp>(op)) {
        bool i8 = static_cast<bool>(lm::quantOf(linear.getWeight().getType()));
        int64_t rows = i8 ? tier.rowsI8 : tier.rowsF32;
        int64_t bytes = widthOf(linear.getInput()) * (i8 ? 1 : 4);
        return make(std::clamp(scratchBudget / bytes / rows, int64_t(1), int64_t(8)) * rows, rows);
      }
      if (auto attention = dyn_cast<lm::AttentionOp>(op)) {
        // A register tile holds whole groups of query heads, or a part that divides one, so that decode wastes nothing.
        lm::KvType kv = attention.getKv().getType();
        int64_t group = widthOf(attention.getQuery()) / (kv.getHeads() * kv.getDim());
        int64_t most = tier.columns == panelWidth ? 8 : 2;
        int64_t rows = most / group * group;
        for (int64_t r = 2; r <= most && group > most; ++r)
          if (group % r == 0)
            rows = r;
        return make(attentionRows, rows ? rows : most);
      }
    }
    return make(16, 1); // embed: a row a unit
  }

  void runOnOperation() override {
    SmallVector<const Tier *> chosen;
    for (const std::string &name : tierNames()) {
      auto *found = llvm::find_if(knownTiers, [&](const Tier &tier) { return tier.name == name; });
      if (found == std::end(knownTiers)) {
        getOperation().emitError() << "expected a tier of avx512vnni and x86-64-v3, found '" << name << "'";
        return signalPassFailure();
      }
      chosen.push_back(found);
    }
    for (auto function : getOperation().getOps<func::FuncOp>()) {
      lm::FusedOp fused;
      if (!function.getBody().empty())
        for (auto op : function.getBody().front().getOps<lm::FusedOp>())
          fused = op;
      if (!fused || !function.isPrivate())
        continue;
      SmallVector<Attribute> schedules;
      for (const Tier *tier : chosen)
        schedules.push_back(select(fused, *tier));
      function->setAttr(schedulesAttr, ArrayAttr::get(&getContext(), schedules));
    }
  }

  std::vector<std::string> tierNames() {
    if (!tiers.empty())
      return std::vector<std::string>(this->tiers.begin(), this->tiers.end());
    std::vector<std::string> all;
    for (const Tier &tier : knownTiers)
      all.push_back(tier.name.str());
    return all;
  }
};

} // namespace
