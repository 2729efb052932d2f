//===- OutlineKernels.cpp - lm-outline-kernels -----------------------------===//
//
//   func.func @step(…) {                              func.func @step(…) {
//     %y = lm.fused "norm_up" {                         %y = call @norm_up(%x, %g, %w)
//       %n = lm.norm rms %x, %g                       }
//       %y = lm.linear %n, %w                         func.func private @norm_up(%x, %g, %w) attributes {lm.kernel} {
//       lm.yield %y                                     %y = lm.fused "norm_up" { … }
//     }                                                 return %y
//   }                                                 }
//
//===----------------------------------------------------------------------===//
#include "passes/lm/FusionUtils.h"
#include "passes/lm/LmPasses.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Transforms/RegionUtils.h"
#include "llvm/ADT/StringExtras.h"

#define DEBUG_TYPE "lm-outline-kernels"

namespace lathe::lm {
#define GEN_PASS_DEF_LMOUTLINEKERNELS
#include "passes/lm/LmPasses.h.inc"
} // namespace lathe::lm

using namespace mlir;
using namespace lathe::lm;

/// Place of a kind of argument: the batch, activations, KV values, weights.
static int argumentRank(Value value) {
  if (isa<BatchType>(value.getType()))
    return 0;
  if (isa<KvType>(value.getType()))
    return 2;
  auto tensor = dyn_cast<RankedTensorType>(value.getType());
  return tensor && !tensor.hasStaticShape() ? 1 : 3;
}

static SmallVector<Value> argumentsOf(FusedOp region) {
  SmallVector<Value> arguments = inputsOf(region).takeVector();
  llvm::stable_sort(arguments, [](Value a, Value b) { return argumentRank(a) < argumentRank(b); });
  return arguments;
}

/// All layers share a kernel: "kv" for "kv7", which stays inside.
static Location withoutLayer(Location loc) {
  auto named = dyn_cast<NameLoc>(loc);
  if (!named)
    return loc;
  std::string name = named.getName().str();
  llvm::erase_if(name, llvm::isDigit);
  return name == named.getName() ? named : NameLoc::get(StringAttr::get(loc.getContext(), name), named);
}

/// What a kernel's parameter is called: a result of another kernel as it is in there.
static Location parameterLoc(Value argument, SymbolTable &symbols) {
  Location loc = argument.getLoc();
  if (auto call = argument.getDefiningOp<func::CallOp>())
    if (auto kernel = symbols.lookup<func::FuncOp>(call.getCallee()); kernel && !kernel.isExternal()) {
      Operation *end = kernel.getBody().back().getTerminator();
      loc = insideOf(end->getOperand(cast<OpResult>(argument).getResultNumber())).getLoc();
    }
  return isa<KvType>(argument.getType()) ? withoutLayer(loc) : loc;
}

/// Do two regions compute the same of their arguments, place by place?
static bool computeTheSame(FusedOp lhs, ArrayRef<Value> lhsArguments, FusedOp rhs, ArrayRef<Value> rhsArguments) {
  if (TypeRange(lhsArguments) != TypeRange(rhsArguments) || lhs.getResultTypes() != rhs.getResultTypes())
    return false;
  DenseMap<Value, Value> counterpart;
  for (auto [left, right] : llvm::zip_equal(lhsArguments, rhsArguments))
    counterpart[left] = right;
  return OperationEquivalence::isRegionEquivalentTo(
      &lhs.getBody(), &rhs.getBody(),
      [&](Value left, Value right) { return success(counterpart.lookup(left) == right); },
      [&](Value left, Value right) { counterpart[left] = right; }, OperationEquivalence::IgnoreLocations);
}

namespace {
struct OutlineKernels : lathe::lm::impl::LmOutlineKernelsBase<OutlineKernels> {
  using LmOutlineKernelsBase::LmOutlineKernelsBase;

  void runOnOperation() override {
    SymbolTable symbols(getOperation());
    SmallVector<func::FuncOp> kernels; // formed here: one that was there may have been edited
    SmallVector<FusedOp> regions;
    for (func::FuncOp function : getOperation().getOps<func::FuncOp>())
      llvm::append_range(regions, opsIn<FusedOp>(function));
    // Every op is pure: what nothing reads needs no kernel.
    for (FusedOp &region : llvm::reverse(regions))
      if (region->use_empty()) {
        region.erase();
        region = nullptr;
      }
    llvm::erase(regions, nullptr);
    for (FusedOp region : remarks ? regions : SmallVector<FusedOp>())
      sayBoundaries(region);
    auto step = regions.empty() ? func::FuncOp() : regions.front()->getParentOfType<func::FuncOp>();
    for (FusedOp region : regions) {
      SmallVector<Value> arguments = argumentsOf(region);
      func::FuncOp kernel = findEqual(kernels, region, arguments);
      OpBuilder builder(region);
      std::string name = kernel ? kernel.getSymName().str() : freshName(region, symbols);
      auto call = func::CallOp::create(builder, region.getLoc(), region.getResultTypes(), name, arguments);
      region->replaceAllUsesWith(call);
      if (kernel) {
        region.erase();
        continue;
      }
      kernels.push_back(outline(region, name, arguments, symbols));
    }
    if (step)
      FusionReport{.remarks = remarks}.say(step, "lm-outline-kernels: " + Twine(kernels.size()) + " kernels of " +
                                                     Twine(regions.size()) + " regions");
  }

  /// Why those who read the region's results are in other kernels.
  static void sayBoundaries(FusedOp region) {
    for (Operation *consumer : consumersOf(region))
      if (auto other = dyn_cast<FusedOp>(consumer))
        for (Operation &op : other.getBody().front())
          if (llvm::any_of(op.getOperands(), [&](Value operand) { return operand.getDefiningOp() == region; })) {
            FusionReport{.remarks = true}.say(&op, "not in one kernel with " + region.getName() + ": " +
                                                       whyApart(region, &op));
            break;
          }
  }

  static func::FuncOp findEqual(ArrayRef<func::FuncOp> kernels, FusedOp region, ArrayRef<Value> arguments) {
    for (func::FuncOp kernel : kernels) {
      SmallVector<Value> parameters(kernel.getArguments());
      if (computeTheSame(*kernel.getOps<FusedOp>().begin(), parameters, region, arguments))
        return kernel;
    }
    return nullptr;
  }

  /// The region's name, counted on where another kernel or function has it.
  static std::string freshName(FusedOp region, SymbolTable &symbols) {
    std::string name = region.getName().str();
    for (int copy = 2; symbols.lookup(name); ++copy)
      name = (region.getName() + "_" + Twine(copy)).str();
    return name;
  }

  /// Moves the region into a function of its own at the module's end.
  static func::FuncOp outline(FusedOp region, StringRef name, ArrayRef<Value> arguments, SymbolTable &symbols) {
    auto builder = OpBuilder::atBlockEnd(region->getParentOfType<ModuleOp>().getBody());
    auto type = builder.getFunctionType(TypeRange(arguments), region.getResultTypes());
    auto kernel = func::FuncOp::create(builder, region.getLoc(), name, type);
    kernel.setPrivate();
    kernel->setAttr(kernelAttribute, builder.getUnitAttr());
    symbols.insert(kernel);
    region.setName(name);
    region.walk([](KvAppendOp append) { append->setLoc(withoutLayer(append.getLoc())); });

    SmallVector<Location> locs;
    for (Value argument : arguments)
      locs.push_back(parameterLoc(argument, symbols));
    Block *body = builder.createBlock(&kernel.getBody(), {}, TypeRange(arguments), locs);
    region->moveBefore(body, body->end());
    for (auto [argument, parameter] : llvm::zip_equal(arguments, body->getArguments()))
      replaceAllUsesInRegionWith(argument, parameter, region.getBody());
    func::ReturnOp::create(builder, region.getLoc(), region.getResults());
    return kernel;
  }
};
} // namespace
