//===- PlanMemory.cpp - slots for the buffers between kernels ---------------===//
//
//   %x = kern.buffer rows : memref<?x576xf32>   ->   %x = kern.buffer rows slot 0 : memref<?x576xf32>
//
// Launches run in order, so a buffer lives from its first to its last launch. First fit in order of birth among free
// slots, the one nearest in size first; a slot never holds an input and an output of one launch.
//
//===----------------------------------------------------------------------===//
#include "passes/kern/KernPasses.h"

namespace lathe::kern {
#define GEN_PASS_DEF_KERNPLANMEMORY
#include "passes/kern/KernPasses.h.inc"
} // namespace lathe::kern

#define DEBUG_TYPE "kern-plan-memory"

using namespace mlir;
using namespace lathe::kern;

namespace {

struct PlanMemory : lathe::kern::impl::KernPlanMemoryBase<PlanMemory> {
  using Base::Base;

  struct Slot {
    Unit unit;
    int64_t width;
    int64_t freeFrom; ///< the first launch that may write it
  };

  void runOnOperation() override {
    auto step = getOperation().lookupSymbol<func::FuncOp>("step");
    if (!step) {
      getOperation().emitError() << "expected a function @step";
      return signalPassFailure();
    }
    llvm::DenseMap<Operation *, int64_t> order;
    for (auto launch : step.getOps<LaunchOp>())
      order[launch] = order.size();
    SmallVector<Slot> slots;
    for (auto buffer : step.getOps<BufferOp>()) {
      if (buffer.getLogits())
        continue;
      ++buffers;
      int64_t first = order.size(), last = -1;
      for (Operation *user : buffer->getUsers()) {
        first = std::min(first, order.lookup(user));
        last = std::max(last, order.lookup(user));
      }
      int64_t width = cast<MemRefType>(buffer.getResult().getType()).getDimSize(1);
      Slot *best = nullptr;
      for (Slot &slot : slots)
        if (slot.unit == buffer.getUnit() && slot.freeFrom <= first &&
            (!best || std::abs(slot.width - width) < std::abs(best->width - width)))
          best = &slot;
      if (!best)
        best = &slots.emplace_back(Slot{buffer.getUnit(), 0, 0});
      best->width = std::max(best->width, width);
      best->freeFrom = std::max(best->freeFrom, last + 1);
      buffer.setSlot(best - slots.begin());
    }
    this->slots = slots.size();
  }
};

} // namespace
