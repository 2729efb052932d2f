//===- Quantize.cpp - lm-quantize ------------------------------------------===//
//
// Linears compute with codes: weights as the scheme says, inputs in 8 bits with f32 scales, one scale a row and group.
// An input that several linears read is quantised once. Weights in bf16 or f16 are multiplied by inputs in f32, and so
// are codes where the target wants float-inputs. Gains and biases stay f32.
//
//   %w = lm.weight "q" : tensor<576x576xf32>
//   %q = lm.linear %n, %w : (tensor<?x576xf32>, tensor<576x576xf32>) -> tensor<?x576xf32>
//
//   %w = lm.weight "q" : tensor<576x576xi8, #lm.quant<group = 64, scale = bf16>>
//   %c = lm.quantize %n : tensor<?x576xf32> -> tensor<?x576xi8, #lm.quant<group = 32, scale = f32>>
//   %q = lm.linear %c, %w : (tensor<?x576xi8, …>, tensor<576x576xi8, …>) -> tensor<?x576xf32>
//
//===----------------------------------------------------------------------===//
#include "passes/lm/FusionUtils.h"
#include "passes/lm/LmPasses.h"
#include "passes/lm/StoredFormat.h"

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
    if (scheme != "bf16" && scheme != "int8" && scheme != "int4" && scheme != "keep") {
      emitError() << "expected scheme bf16, int8, int4 or keep, found '" << scheme << "'";
      return signalPassFailure();
    }
    auto quant = [&](int64_t elements, Type scale, bool minimum, QuantMethod method) {
      return QuantAttr::getChecked(emitError, &getContext(), elements, scale, int64_t(0), minimum, int64_t(0), method);
    };
    // What 8 bits are for in int4 is what must be exact: groups as in int8's default.
    eightBits =
        quant(scheme == "int4" ? sensitiveGroup : int64_t(group), builder.getBF16Type(), false, QuantMethod::absmax);
    inputQuant = quant(inputGroup, builder.getF32Type(), false, QuantMethod::absmax);
    fourBits = quant(group, builder.getF16Type(), true, QuantMethod::search);
    if (!eightBits || !inputQuant || !fourBits)
      return signalPassFailure();

    codes.clear();
    weights = inputs = 0;
    for (LinearOp linear : opsIn<LinearOp>(function))
      quantizeLinear(linear);
    for (EmbedOp embed : opsIn<EmbedOp>(function))
      if (!isStored(embed.getTable()) && !storeWeight(embed.getTable()))
        report.refuse(embed, "table left in float: it is no weight, or a weight with other uses");
    if (!function->hasAttr(kernelAttribute))
      report.say(function, "lm-quantize: " + Twine(weights) + " weights, " + Twine(inputs) + " inputs quantised, " +
                               Twine(report.refused) + " refused");
  }

  void quantizeLinear(LinearOp linear) {
    if (quantOf(linear.getInput().getType()))
      return;
    if (!isStored(linear.getWeight()) && !storeWeight(linear.getWeight()))
      return report.refuse(linear, "linear left in float: its weight is computed, not stored in blocks, or has other "
                                   "uses than linear and embed");
    if (floatInputs || !quantOf(linear.getWeight().getType()))
      return;
    Value &code = codes[linear.getInput()];
    if (!code) {
      OpBuilder builder(linear);
      ++inputs;
      code = QuantizeOp::create(builder, codeLoc(linear.getInput()), coded(linear.getInput(), inputQuant),
                                linear.getInput());
    }
    linear.getInputMutable().assign(code);
  }

  /// Whether this is a lm.weight that has got its type.
  static bool isStored(Value weight) {
    return weight.getDefiningOp<WeightOp>() &&
           (quantOf(weight.getType()) || !getElementTypeOrSelf(weight.getType()).isF32());
  }

  /// Gives a lm.weight of f32 the type that the scheme has for it; false when there is none.
  bool storeWeight(Value weight) {
    auto op = weight.getDefiningOp<WeightOp>();
    if (!op)
      return false;
    for (OpOperand &use : weight.getUses()) {
      auto linear = dyn_cast<LinearOp>(use.getOwner());
      bool table = isa<EmbedOp>(use.getOwner());
      if (!table && (!linear || use.get() != linear.getWeight() || linear.getBias() == weight))
        return false;
    }
    RankedTensorType type = typeOf(op);
    if (!type)
      return false;
    ++weights;
    weight.setType(type);
    return true;
  }

  /// The type that the scheme has for a weight; null: it stays f32.
  RankedTensorType typeOf(WeightOp op) {
    if (scheme == "int8" || (scheme == "int4" && isSensitive(op)))
      return coded(op, eightBits);
    if (scheme == "int4")
      return coded(op, fourBits, 4);
    StringRef stored = scheme == "bf16" ? "BF16" : op.getStored().value_or("");
    if (FloatType element = storedFloat(&getContext(), stored))
      return cast<RankedTensorType>(op.getType()).clone(element);
    auto [bits, quant] = storedFormat(&getContext(), stored);
    return quant ? coded(op, quant, bits) : RankedTensorType();
  }

  /// Tables of embeddings, and the head, whose errors reach the logits undiminished.
  static bool isSensitive(WeightOp op) {
    return llvm::any_of(op->getUsers(), [](Operation *user) {
      return isa<EmbedOp>(user) || llvm::any_of(user->getUsers(), llvm::IsaPred<func::ReturnOp>);
    });
  }

  static RankedTensorType coded(Value value, QuantAttr quant, int64_t bits = 8) {
    auto type = cast<RankedTensorType>(value.getType());
    return RankedTensorType::get(type.getShape(), IntegerType::get(type.getContext(), bits), quant);
  }

  /// "n_codes" of a value named "n", whose location stays inside.
  static Location codeLoc(Value value) {
    auto name = dyn_cast<NameLoc>(value.getLoc());
    if (!name)
      return value.getLoc();
    return NameLoc::get(StringAttr::get(name.getContext(), name.getName().strref() + "_codes"), name);
  }

  static constexpr int64_t sensitiveGroup = 32;
  QuantAttr eightBits, fourBits, inputQuant;
  DenseMap<Value, Value> codes;

  FusionReport report;
  int64_t weights = 0, inputs = 0;
};
} // namespace
