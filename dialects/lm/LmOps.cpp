//===- LmOps.cpp - verifiers and fusion roles of the lm dialect ------------===//
#include "dialects/lm/LmDialect.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "mlir/IR/PatternMatch.h"

#define GET_OP_CLASSES
#include "dialects/lm/LmOps.cpp.inc"

using namespace mlir;
using namespace lathe::lm;

static RankedTensorType tensor(Value value) { return cast<RankedTensorType>(value.getType()); }
static int64_t width(Value value) { return tensor(value).getShape().back(); }
/// Keeps the product of two sizes from an edited file far from overflow.
static bool sane(int64_t size) { return size >= 1 && size <= int64_t(1) << 31; }

/// [?, width] activations; only a linear reads quantised ones.
static LogicalResult verifyRows(Operation *op, Value value, StringRef what, bool mayBeQuantized = false) {
  auto type = tensor(value);
  if (type.getRank() != 2 || !type.isDynamicDim(0) || !sane(type.getDimSize(1)))
    return op->emitOpError() << "expected " << what << " of shape [?, width], found " << type;
  bool quantized = mayBeQuantized && quantOf(type) && type.getElementType().isInteger(8);
  if (!quantized && (!type.getElementType().isF32() || type.getEncoding()))
    return op->emitOpError() << "expected " << what << " in f32" << (mayBeQuantized ? ", or i8 with #lm.quant" : "")
                             << ", found " << type;
  return success();
}

/// A weight, whatever op it came from.
static LogicalResult verifyWeight(Operation *op, Value value) {
  auto type = tensor(value);
  if (type.getRank() < (quantOf(type) ? 2 : 1) || type.getRank() > 2 || !llvm::all_of(type.getShape(), sane))
    return op->emitOpError() << "expected a static shape of one or two dimensions, two when quantised, found " << type;
  QuantAttr quant = quantOf(type);
  if (quant ? !isCode(type.getElementType()) : !isStoredFloat(type.getElementType()) || type.getEncoding())
    return op->emitOpError() << "expected f32, bf16 or f16 elements, or i8, i6 or i4 with #lm.quant, found " << type;
  if (quant && quant.getMethod() == QuantMethod::absmax && !type.getElementType().isInteger(8))
    return op->emitOpError() << "expected i8 with method absmax, found " << type;
  return success();
}

static LogicalResult verifyVector(Operation *op, Value value, StringRef what, int64_t length) {
  if (!value)
    return success();
  auto type = tensor(value);
  if (type.getRank() != 1 || type.getDimSize(0) != length || !type.getElementType().isF32() || type.getEncoding())
    return op->emitOpError() << "expected " << what << " of " << length << " f32 elements, found " << type;
  return success();
}

LogicalResult WeightOp::verify() { return verifyWeight(*this, getResult()); }

LogicalResult StackOp::verify() {
  if (getInputs().empty())
    return emitOpError() << "expected at least one input";
  for (Value input : getInputs())
    if (failed(verifyWeight(*this, input)))
      return failure();
  auto first = tensor(getInputs()[0]), result = tensor(getResult());
  int64_t rows = 0;
  for (Value input : getInputs()) {
    auto type = tensor(input);
    if (type.getRank() != first.getRank() || (type.getRank() == 2 && type.getDimSize(1) != first.getDimSize(1)) ||
        type.getElementType() != first.getElementType() || type.getEncoding() != first.getEncoding())
      return emitOpError() << "expected inputs of equal width and element, found " << first << " and " << type;
    if (getInterleave() && type != first)
      return emitOpError() << "expected equal shapes to interleave, found " << first << " and " << type;
    rows += type.getDimSize(0);
  }
  if (getInterleave() && int64_t(*getInterleave()) < 1)
    return emitOpError() << "expected a positive interleave, found " << int64_t(*getInterleave());
  if (result.getRank() != first.getRank() || result.getDimSize(0) != rows ||
      result.getElementType() != first.getElementType() || result.getEncoding() != first.getEncoding() ||
      (first.getRank() == 2 && result.getDimSize(1) != first.getDimSize(1)))
    return emitOpError() << "expected a result of " << rows << " rows like the inputs, found " << result;
  return success();
}

LogicalResult EmbedOp::verify() {
  if (failed(verifyRows(*this, getResult(), "a result")))
    return failure();
  if (failed(verifyWeight(*this, getTable())))
    return failure();
  if (tensor(getTable()).getRank() != 2 || width(getTable()) != width(getResult()))
    return emitOpError() << "expected a table of width " << width(getResult()) << ", found " << getTable().getType();
  return success();
}

LogicalResult SelectRowsOp::verify() { return verifyRows(*this, getInput(), "an input"); }

LogicalResult NormOp::verify() {
  if (failed(verifyRows(*this, getInput(), "an input")))
    return failure();
  if (getInput().getType() != getResult().getType())
    return emitOpError() << "expected the result's type to be the input's, " << getInput().getType() << ", found "
                         << getResult().getType();
  int64_t group = getPer().value_or(width(getInput()));
  if (group < 1 || width(getInput()) % group != 0)
    return emitOpError() << "expected 'per' to divide the width " << width(getInput()) << ", found " << group;
  if (failed(verifyVector(*this, getGain(), "a gain", group)) ||
      failed(verifyVector(*this, getBias(), "a bias", group)))
    return failure();
  if (getKind() == NormKind::rms && getBias())
    return emitOpError() << "expected no bias on an rms norm";
  return success();
}

LogicalResult LinearOp::verify() {
  if (failed(verifyRows(*this, getInput(), "an input", true)) || failed(verifyRows(*this, getResult(), "a result")) ||
      failed(verifyWeight(*this, getWeight())))
    return failure();
  auto weight = tensor(getWeight());
  if (weight.getRank() != 2 || weight.getDimSize(1) != width(getInput()) || weight.getDimSize(0) != width(getResult()))
    return emitOpError() << "expected a weight of shape [" << width(getResult()) << ", " << width(getInput())
                         << "], found " << weight;
  QuantAttr in = quantOf(getInput().getType()), of = quantOf(weight);
  if (in && (!of || (in.getGroup() % of.getGroup() != 0 && of.getGroup() % in.getGroup() != 0)))
    return emitOpError() << "expected input and weight quantised in groups of which one divides the other, or an input "
                            "in floats, found "
                         << getInput().getType() << " and " << weight;
  return verifyVector(*this, getBias(), "a bias", width(getResult()));
}

LogicalResult SplitOp::verify() {
  if (failed(verifyRows(*this, getInput(), "an input")))
    return failure();
  int64_t sum = 0;
  for (Value result : getResults()) {
    if (failed(verifyRows(*this, result, "results")))
      return failure();
    if (getInterleave() && result.getType() != getResults()[0].getType())
      return emitOpError() << "expected equal results to undo an interleaved stack, found " << result.getType();
    sum += width(result);
  }
  if (getInterleave() && int64_t(*getInterleave()) < 1)
    return emitOpError() << "expected a positive interleave, found " << int64_t(*getInterleave());
  if (sum != width(getInput()))
    return emitOpError() << "expected results of " << width(getInput()) << " columns together, found " << sum;
  return success();
}

LogicalResult QuantizeOp::verify() {
  auto in = tensor(getInput()), out = tensor(getResult());
  if (failed(verifyRows(*this, getInput(), "an input")))
    return failure();
  if (in.getShape() != out.getShape() || !quantOf(out) || !out.getElementType().isInteger(8) ||
      quantOf(out).getMethod() != QuantMethod::absmax)
    return emitOpError() << "expected a result of the input's shape in i8 with #lm.quant of method absmax, found "
                         << out;
  return success();
}

LogicalResult RopeOp::verify() {
  if (failed(verifyRows(*this, getInput(), "an input")))
    return failure();
  int64_t dim = getDim();
  if (dim < 2 || dim % 2 != 0 || width(getInput()) % dim != 0)
    return emitOpError() << "expected an even dim that divides the width " << width(getInput()) << ", found " << dim;
  return success();
}

LogicalResult KvAppendOp::verify() {
  KvType kv = getKv().getType();
  for (Value value : {getKey(), getValue()}) {
    if (failed(verifyRows(*this, value, "keys and values")))
      return failure();
    if (width(value) != kv.getHeads() * kv.getDim())
      return emitOpError() << "expected " << kv.getHeads() * kv.getDim() << " columns for " << kv << ", found "
                           << value.getType();
  }
  return success();
}

LogicalResult AttentionOp::verify() {
  KvType kv = getKv().getType();
  if (failed(verifyRows(*this, getQuery(), "a query")))
    return failure();
  if (getQuery().getType() != getResult().getType())
    return emitOpError() << "expected the result's type to be the query's, " << getQuery().getType() << ", found "
                         << getResult().getType();
  if (width(getQuery()) % (kv.getHeads() * kv.getDim()) != 0)
    return emitOpError() << "expected a query of a multiple of " << kv.getHeads() << " heads of " << kv.getDim()
                         << " columns, found " << getQuery().getType();
  if ((getMask() == MaskKind::window) != getWindow().has_value() || (getWindow() && int64_t(*getWindow()) < 1))
    return emitOpError() << "expected a positive window with mask 'window' and only there";
  return success();
}

LogicalResult GatedOp::verify() { return verifyRows(*this, getGate(), "a gate"); }

//===----------------------------------------------------------------------===//
// Fusion
//===----------------------------------------------------------------------===//

FusionRole LinearOp::fusionRole() { return {.anchor = true}; }
FusionRole AttentionOp::fusionRole() { return {.anchor = true}; }
FusionRole EmbedOp::fusionRole() { return {.anchor = true}; }
FusionRole SelectRowsOp::fusionRole() { return {.prologue = true}; }
FusionRole NormOp::fusionRole() {
  return {.prologue = !getPer(), .epilogue = true, .span = static_cast<int64_t>(getPer().value_or(0))};
}
FusionRole QuantizeOp::fusionRole() { return {.prologue = true, .span = quantOf(getResult().getType()).getGroup()}; }
FusionRole SplitOp::fusionRole() { return {.epilogue = true}; }
FusionRole RopeOp::fusionRole() { return {.epilogue = true, .span = static_cast<int64_t>(getDim())}; }
FusionRole KvAppendOp::fusionRole() { return {.epilogue = true, .span = getKv().getType().getDim()}; }
FusionRole GatedOp::fusionRole() { return {.prologue = true, .epilogue = true}; }

LogicalResult FusedOp::verifyRegions() {
  Operation *anchor = nullptr, *noPrologue = nullptr;
  auto yield = dyn_cast<YieldOp>(getBody().front().getTerminator());
  if (!yield || yield.getValues().getTypes() != getResults().getTypes())
    return emitOpError() << "expected an lm.yield of the results' types";
  for (Operation &op : getBody().front().without_terminator()) {
    auto fusable = dyn_cast<FusableOpInterface>(op);
    if (!fusable) {
      if (isa_and_nonnull<arith::ArithDialect>(op.getDialect()))
        continue;
      return emitOpError() << "expected ops that can be fused, found " << op.getName();
    }
    FusionRole role = fusable.fusionRole();
    if (role.anchor) {
      if (anchor) {
        auto error = emitOpError() << "expected at most one anchor, found " << anchor->getName() << " and "
                                   << op.getName();
        error.attachNote(op.getLoc()) << "the second anchor";
        return error;
      }
      if (noPrologue)
        return emitOpError() << "expected a prologue before the anchor, found " << noPrologue->getName();
      anchor = &op;
    } else if (anchor && (!role.epilogue || role.span == 0)) {
      return emitOpError() << "expected epilogues of a column tile after the anchor, found " << op.getName()
                           << (role.span == 0 ? " over whole rows" : "");
    } else if (!role.prologue && !noPrologue) {
      noPrologue = &op;
    }
  }
  return success();
}
