//===- OverlapLaunches.cpp - what a GPU's kernel does before it waits --------===//
//
//   func.func @o_residual(…) {                   ->   func.func @o_residual(…) {
//     %first, %last, %t, %t1 = kern.program_id          %u0, %u1, %t, %t1 = kern.program_id    // the tile alone
//     …                                                 kern.prefetch %o_weight[%panel] columns 32
//     kern.block_dot … by (%o_weight[%panel])           kern.dependency_wait
//                                                       kern.dependency_trigger
//                                                       %first, %last, … = kern.program_id     // reads the batch
//                                                       …
//
// A launch that waits by itself may start while the one before it still runs, and so spends the end of that one on
// bringing its own weights nearer. Only what follows from the launch's grid is known by then: which tile, not which
// rows. The trigger stands behind the wait, so that at most two launches share the machine: before it, a whole step
// could start at once and its prefetches drive each other out of L2.
//
// The pass comes last: two kern.program_id of one block are the same to CSE.
//
//===----------------------------------------------------------------------===//
#include "dialects/kern/KernDialect.h"
#include "passes/kern/KernPasses.h"

#include "mlir/IR/IRMapping.h"

namespace lathe::kern {
#define GEN_PASS_DEF_KERNOVERLAPLAUNCHES
#include "passes/kern/KernPasses.h.inc"
} // namespace lathe::kern

#define DEBUG_TYPE "kern-overlap-launches"

using namespace mlir;
using namespace lathe::kern;

namespace {

/// The start of a kernel, where nothing is known but its place in the launch's grid.
class Start {
public:
  explicit Start(func::FuncOp kernel) : b(OpBuilder::atBlockBegin(&kernel.getBody().front())), loc(b.getUnknownLoc()) {}

  /// `columns` of a weight from a panel on; of a last block with fewer, the last of the weight.
  void prefetch(Value weight, Value panel, int64_t columns) {
    if (!isa<BlockArgument>(weight) || !followsFromGrid(panel) || !done.insert({weight, panel}).second)
      return;
    int64_t panels = cast<MemRefType>(weight.getType()).getDimSize(0), some = columns / devicePanel;
    Value first = repeat(panel);
    if (panels % some != 0)
      first = arith::MinSIOp::create(b, loc, first, arith::ConstantIndexOp::create(b, loc, panels - some));
    PrefetchOp::create(b, loc, weight, first, b.getI64IntegerAttr(columns));
  }
  void wait() {
    DependencyWaitOp::create(b, loc);
    DependencyTriggerOp::create(b, loc);
  }

private:
  /// Arithmetic on the grid's tile and constants.
  static bool followsFromGrid(Value value) {
    Operation *op = value.getDefiningOp();
    if (auto id = dyn_cast_or_null<ProgramIdOp>(op))
      return value == id.getTileBegin();
    return op && isa<arith::ArithDialect>(op->getDialect()) && op->getNumRegions() == 0 &&
           llvm::all_of(op->getOperands(), followsFromGrid);
  }
  Value repeat(Value value) {
    if (Value made = repeated.lookupOrNull(value))
      return made;
    Operation *op = value.getDefiningOp();
    if (auto id = dyn_cast<ProgramIdOp>(op)) {
      auto grid = ProgramIdOp::create(b, loc, id.getResultTypes());
      repeated.map(value, grid.getTileBegin());
      repeated.map(grid.getTileBegin(), grid.getTileBegin());
      id.getTileBegin().replaceAllUsesWith(grid.getTileBegin());
      return grid.getTileBegin();
    }
    for (Value operand : op->getOperands())
      repeat(operand);
    return b.clone(*op, repeated)->getResult(0);
  }

  OpBuilder b;
  Location loc;
  IRMapping repeated;
  llvm::DenseSet<std::pair<Value, Value>> done;
};

struct OverlapLaunches : lathe::kern::impl::KernOverlapLaunchesBase<OverlapLaunches> {
  using Base::Base;

  void runOnOperation() override {
    auto cuda = getOperation().lookupSymbol<ModuleOp>(cudaTarget);
    if (!cuda)
      return;
    for (auto kernel : cuda.getOps<func::FuncOp>()) {
      Start start(kernel);
      auto columns = [](Value sums) { return cast<MemRefType>(sums.getType()).getDimSize(1); };
      kernel.walk([&](Operation *op) { // of codes and scales the codes, scales are few
        if (auto product = dyn_cast<BlockDotOp>(op))
          start.prefetch(product.getWeight().front(), product.getPanel(), columns(product.getInto()));
        else if (auto product = dyn_cast<GemmStartOp>(op))
          start.prefetch(product.getWeight().front(), product.getPanel(), columns(product.getSums()));
      });
      start.wait();
    }
  }
};

} // namespace
