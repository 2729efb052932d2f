//===- ConvertLmToKern.cpp - the step as launches of kernels ----------------===//
//
//   func.func private @o_residual(%x, %a, %w) -> …      module @avx512vnni { func.func @o_residual(%x: memref<…>, …) {
//   … kern.dot … } } func.func @step(%batch, %kv0) {                     func.func @step() {
//     %w = lm.weight "…"                          ->      %w = kern.weight codes ["…"] …
//     %y = call @o_residual(%x, %a, %w)                   %y = kern.buffer rows
//   }                                                     kern.launch @o_residual(%x, %a, %w, %y)
//
//===----------------------------------------------------------------------===//
#include "passes/kern/KernPasses.h"
#include "passes/kern/KernelBuilder.h"

#include "llvm/ADT/MapVector.h"

namespace lathe::kern {
#define GEN_PASS_DEF_CONVERTLMTOKERN
#include "passes/kern/KernPasses.h.inc"
} // namespace lathe::kern

#define DEBUG_TYPE "convert-lm-to-kern"

using namespace mlir;
using namespace lathe;
using namespace lathe::kern;

namespace {

/// The names of the tensors a weight value is made of; a constant (a bias of zeros) of n rows is "zeros n".
FailureOr<SmallVector<Attribute>> sourcesOf(Value value) {
  Operation *op = value.getDefiningOp();
  if (auto weight = dyn_cast_or_null<lm::WeightOp>(op))
    return SmallVector<Attribute>{weight.getSourceAttr()};
  if (auto constant = dyn_cast_or_null<arith::ConstantOp>(op))
    if (auto dense = dyn_cast<DenseElementsAttr>(constant.getValue());
        dense && dense.isSplat() && isa<FloatType>(dense.getElementType()) && dense.getSplatValue<APFloat>().isZero())
      return SmallVector<Attribute>{
          StringAttr::get(op->getContext(), "zeros " + Twine(dense.getType().getShape().front()))};
  if (auto stack = dyn_cast_or_null<lm::StackOp>(op)) {
    SmallVector<Attribute> all;
    for (Value input : stack.getInputs()) {
      auto some = sourcesOf(input);
      if (failed(some))
        return failure();
      all.append(*some);
    }
    return all;
  }
  return op ? op->emitOpError() << "expected a weight, a stack of weights or zeros"
            : emitError(value.getLoc()) << "expected a weight";
}

class HostBuilder {
public:
  HostBuilder(func::FuncOp step, const llvm::StringMap<KernelSignature> &signatures)
      : step(step), signatures(signatures), b(step.getContext()), symbols(step->getParentOfType<ModuleOp>()) {}

  FailureOr<func::FuncOp> build();

private:
  LogicalResult launch(func::CallOp call);
  FailureOr<Value> weight(const Argument &argument, Value lmValue, Location loc);
  /// The layer of a KV value: which argument of the step it began as.
  int64_t layerOf(Value kv) { return layers.lookup(kv); }

  func::FuncOp step;
  const llvm::StringMap<KernelSignature> &signatures;
  OpBuilder b;
  SymbolTable symbols;
  llvm::DenseMap<Value, Value> buffers;
  llvm::DenseMap<Value, Unit> units;
  llvm::DenseMap<Value, int64_t> layers;
  llvm::MapVector<Attribute, Value> weights; ///< by everything that kern.weight says
};

} // namespace

FailureOr<Value> HostBuilder::weight(const Argument &argument, Value lmValue, Location loc) {
  SmallVector<Attribute> sources;
  if (lmValue) {
    auto found = sourcesOf(lmValue);
    if (failed(found))
      return failure();
    sources = *found;
  }
  SmallVector<Attribute> key{PartAttr::get(b.getContext(), argument.part), b.getArrayAttr(sources),
                             TypeAttr::get(argument.type), b.getI64IntegerAttr(argument.k)};
  if (argument.coding)
    key.push_back(argument.coding);
  if (argument.pack)
    key.push_back(argument.pack);
  if (argument.rope)
    key.push_back(argument.rope);
  Value &value = weights[b.getArrayAttr(key)];
  if (!value)
    value =
        WeightOp::create(b, loc, argument.type, PartAttr::get(b.getContext(), argument.part), b.getArrayAttr(sources),
                         argument.pack, argument.coding, argument.rope, b.getI64IntegerAttr(argument.k));
  return value;
}

LogicalResult HostBuilder::launch(func::CallOp call) {
  auto found = signatures.find(call.getCallee());
  if (found == signatures.end())
    return call.emitOpError() << "expected a call of an outlined kernel, found '" << call.getCallee() << "'";
  const KernelSignature &signature = found->second;
  func::ReturnOp returned = signature.returned();
  auto resultOf = [&](int64_t fusedResult) -> Value {
    for (auto [i, operand] : llvm::enumerate(returned.getOperands()))
      if (operand == signature.fusedResult(fusedResult))
        return call.getResult(i);
    return {};
  };

  SmallVector<Value> operands;
  for (const Argument &argument : signature.arguments) {
    Value lmValue = argument.number < 0                       ? Value()
                    : argument.kind == Argument::Kind::output ? resultOf(argument.number)
                                                              : call.getOperand(argument.number);
    switch (argument.kind) {
    case Argument::Kind::weight: {
      auto value = weight(argument, lmValue, call.getLoc());
      if (failed(value))
        return failure();
      operands.push_back(*value);
      break;
    }
    case Argument::Kind::activation: {
      if (!buffers.contains(lmValue))
        return call.emitOpError() << "expected activations that a kernel before it gives";
      if (units.lookup(lmValue) != Unit::rows)
        return call.emitOpError()
               << "expected activations of all rows: a kernel after the rows were selected must select them itself";
      operands.push_back(buffers.lookup(lmValue));
      break;
    }
    case Argument::Kind::keys:
    case Argument::Kind::values:
      operands.push_back(
          KvOp::create(b, call.getLoc(), argument.type, b.getI64IntegerAttr(layerOf(lmValue)),
                       argument.kind == Argument::Kind::keys ? mlir::UnitAttr::get(b.getContext()) : mlir::UnitAttr()));
      break;
    case Argument::Kind::partials:
      operands.push_back(BufferOp::create(b, call.getLoc(), argument.type, Unit::partials, IntegerAttr(), false));
      break;
    case Argument::Kind::output: {
      Unit unit = signature.unit == Unit::logit_rows ? Unit::logit_rows : Unit::rows;
      bool logits =
          lmValue && llvm::any_of(lmValue.getUsers(), [](Operation *user) { return isa<func::ReturnOp>(user); });
      if (logits && unit != Unit::logit_rows)
        return call.emitOpError()
               << "expected the step's result to be of selected rows: it has room for the rows whose logits are wanted";
      auto buffer = BufferOp::create(b, call.getLoc(), argument.type, unit, IntegerAttr(), logits);
      if (lmValue) {
        buffers[lmValue] = buffer;
        units[lmValue] = unit;
      }
      operands.push_back(buffer);
      break;
    }
    }
  }
  for (Value result : call.getResults())
    if (isa<lm::KvType>(result.getType()))
      for (Value operand : call.getOperands())
        if (isa<lm::KvType>(operand.getType()))
          layers[result] = layerOf(operand);
  LaunchOp::create(b, call.getLoc(), call.getCallee(), operands);
  return success();
}

FailureOr<func::FuncOp> HostBuilder::build() {
  b.setInsertionPoint(step);
  auto host = func::FuncOp::create(b, step.getLoc(), "host", b.getFunctionType({}, {}));
  b.setInsertionPointToStart(host.addEntryBlock());
  int64_t layer = 0;
  for (BlockArgument argument : step.getArguments())
    if (isa<lm::KvType>(argument.getType()))
      layers[argument] = layer++;
  for (Operation &op : step.getBody().front().without_terminator()) {
    if (auto call = dyn_cast<func::CallOp>(op)) {
      if (failed(launch(call)))
        return failure();
    } else if (!isa<lm::WeightOp, lm::StackOp, arith::ConstantOp>(op)) {
      return op.emitOpError() << "expected weights and calls of kernels in the step: run lm-fuse-pipeline first";
    }
  }
  func::ReturnOp::create(b, step.getLoc());
  return host;
}

namespace {

struct ConvertLmToKern : kern::impl::ConvertLmToKernBase<ConvertLmToKern> {
  using Base::Base;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    auto step = module.lookupSymbol<func::FuncOp>("step");
    if (!step || !step.getBody().hasOneBlock()) {
      module.emitError() << "expected a function @step of one block";
      return signalPassFailure();
    }
    llvm::StringMap<KernelSignature> signatures;
    SmallVector<func::FuncOp> kernels;
    for (auto function : module.getOps<func::FuncOp>()) {
      if (function == step)
        continue;
      auto schedules = function->getAttrOfType<ArrayAttr>(schedulesAttr);
      auto isCuda = [](Attribute attribute) {
        auto schedule = dyn_cast<ScheduleAttr>(attribute);
        return schedule && schedule.getTarget() == cudaTarget;
      };
      bool device = schedules && llvm::any_of(schedules, isCuda);
      auto signature = signatureOf(function, context, device);
      if (failed(signature))
        return signalPassFailure();
      if (!schedules || !llvm::all_of(schedules, llvm::IsaPred<ScheduleAttr>)) {
        function.emitOpError() << "expected schedules: run kern-select-schedule first";
        return signalPassFailure();
      }
      if (device && !llvm::all_of(schedules, isCuda)) {
        function.emitOpError() << "expected schedules for CPUs or for CUDA: weights are packed for one of them";
        return signalPassFailure();
      }
      signatures.try_emplace(function.getName(), *signature);
      kernels.push_back(function);
    }
    auto host = HostBuilder(step, signatures).build();
    if (failed(host))
      return signalPassFailure();

    OpBuilder b(module.getBody(), module.getBody()->end());
    llvm::StringMap<ModuleOp> tiers;
    for (func::FuncOp function : kernels)
      for (Attribute attribute : function->getAttrOfType<ArrayAttr>(schedulesAttr)) {
        auto schedule = cast<ScheduleAttr>(attribute);
        ModuleOp &tier = tiers[schedule.getTarget().getValue()];
        if (!tier) {
          tier = ModuleOp::create(b, module.getLoc(), schedule.getTarget().getValue());
          tier->setAttr(tierAttr, schedule.getTarget());
        }
        const KernelSignature &signature = signatures.find(function.getName())->second;
        if (schedule.getLeastRows() != 0 && signature.panelsPerTile * panelWidth > gemmColumnsMost)
          continue; // heads that a product of many rows has no registers for: the other kernel does
        if (failed(buildKernel(tier, signature, schedule)))
          return signalPassFailure();
      }
    step.erase();
    host->setName("step");
    for (func::FuncOp function : kernels)
      function.erase();
  }
};

} // namespace
