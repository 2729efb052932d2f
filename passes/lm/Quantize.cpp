//===- Quantize.cpp - lm-quantize ------------------------------------------===//
//
// Linears compute in 8 bits: weights with bf16 scales, inputs with f32 scales, one scale a row and group. An input
// that several linears read is quantised once. Gains and biases stay f32.
//
//   %w = lm.weight "q" : tensor<576x576xf32>
//   %q = lm.linear %n, %w : (tensor<?x576xf32>, tensor<576x576xf32>) -> tensor<?x576xf32>
//
//   %w = lm.weight "q" : tensor<576x576xi8, #lm.quant<group = 64, scale = bf16>>
//   %c = lm.quantize %n : tensor<?x576xf32> -> tensor<?x576xi8, #lm.quant<group = 64, scale = f32>>
//   %q = lm.linear %c, %w : (tensor<?x576xi8, …>, tensor<576x576xi8, …>) -> tensor<?x576xf32>
//
//===----------------------------------------------------------------------===//
#include "passes/lm/FusionUtils.h"
#include "passes/lm/LmPasses.h"

#include "mlir/IR/Builders.h"

#define DEBUG_TYPE "lm-quantize"

namespace lathe::lm {
#define GEN_PASS_DEF_LMQUANTIZE
#include "passes/lm/LmPasses.h.inc"
} // namespace lathe::lm

using namespace mlir;
using namespace lathe::lm;

namespace {
struct Quantize : lathe::lm::impl::LmQuantizeBase<Quantize> {
  using LmQuantizeBase::LmQuantizeBase;

  void runOnOperation() override {
    report = {.remarks = remarks};
    func::FuncOp function = getOperation();
    Builder builder(&getContext());
    auto emitError = [&] { return function.emitError() << "lm-quantize: "; };
    if (failed(QuantAttr::verify(emitError, group, builder.getBF16Type())))
      return signalPassFailure();
    weightQuant = QuantAttr::get(&getContext(), group, builder.getBF16Type());
    inputQuant = QuantAttr::get(&getContext(), group, builder.getF32Type());

    codes.clear();
    weights = inputs = 0;
    for (LinearOp linear : opsIn<LinearOp>(function))
      quantizeLinear(linear);
    for (EmbedOp embed : opsIn<EmbedOp>(function))
      if (!quantOf(embed.getTable().getType()) && !quantizeWeight(embed.getTable()))
        report.refuse(embed, "table left in float: it is no weight, or a weight with other uses");
    if (!function->hasAttr(kernelAttribute))
      report.say(function, "lm-quantize: " + Twine(weights) + " weights, " + Twine(inputs) + " inputs quantised, " +
                               Twine(report.refused) + " refused");
  }

  void quantizeLinear(LinearOp linear) {
    if (quantOf(linear.getInput().getType()))
      return;
    if (!quantizeWeight(linear.getWeight()))
      return report.refuse(linear,
                           "linear left in float: its weight is computed, or has other uses than linear and embed");
    Value &code = codes[linear.getInput()];
    if (!code) {
      OpBuilder builder(linear);
      ++inputs;
      code = QuantizeOp::create(builder, codeLoc(linear.getInput()), coded(linear.getInput(), inputQuant),
                                linear.getInput());
    }
    linear.getInputMutable().assign(code);
  }

  /// True when the weight is, or has become, a quantised lm.weight.
  bool quantizeWeight(Value weight) {
    auto op = weight.getDefiningOp<WeightOp>();
    if (!op)
      return false;
    if (quantOf(weight.getType()))
      return true;
    for (OpOperand &use : weight.getUses()) {
      auto linear = dyn_cast<LinearOp>(use.getOwner());
      bool table = isa<EmbedOp>(use.getOwner());
      if (!table && (!linear || use.get() != linear.getWeight() || linear.getBias() == weight))
        return false;
    }
    ++weights;
    weight.setType(coded(weight, weightQuant));
    return true;
  }

  static RankedTensorType coded(Value value, QuantAttr quant) {
    auto type = cast<RankedTensorType>(value.getType());
    return RankedTensorType::get(type.getShape(), IntegerType::get(type.getContext(), 8), quant);
  }

  /// "n_codes" of a value named "n".
  static Location codeLoc(Value value) {
    auto name = dyn_cast<NameLoc>(value.getLoc());
    if (!name)
      return value.getLoc();
    return NameLoc::get(StringAttr::get(name.getContext(), name.getName().strref() + "_codes"), name.getChildLoc());
  }

  QuantAttr weightQuant, inputQuant;
  DenseMap<Value, Value> codes;

  FusionReport report;
  int64_t weights = 0, inputs = 0;
};
} // namespace
