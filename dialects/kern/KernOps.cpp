//===- KernOps.cpp - verifiers of the kern dialect --------------------------===//
#include "dialects/kern/KernDialect.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/OpImplementation.h"

#define GET_OP_CLASSES
#include "dialects/kern/KernOps.cpp.inc"

using namespace mlir;
using namespace lathe::kern;

LogicalResult ScratchOp::verify() {
  auto type = cast<MemRefType>(getResult().getType());
  if (!type.hasStaticShape() || !type.getLayout().isIdentity())
    return emitOpError() << "expected a static shape without layout, found " << type;
  return success();
}

LogicalResult ReduceOp::verify() {
  auto type = cast<VectorType>(getInput().getType());
  if (type.getRank() != 1 || !llvm::isPowerOf2_64(type.getDimSize(0)))
    return emitOpError() << "expected a vector of a power of two of lanes, found " << type;
  if (getResult().getType() != type.getElementType())
    return emitOpError() << "expected result type " << type.getElementType() << ", found " << getResult().getType();
  return success();
}

LogicalResult DotOp::verify() {
  auto shape = [](Value value) { return cast<MemRefType>(value.getType()).getShape(); };
  auto check = [&](Value value, StringRef what, Type element, ArrayRef<int64_t> inner) -> LogicalResult {
    auto type = cast<MemRefType>(value.getType());
    if (type.getElementType() != element || type.getShape().drop_front() != inner)
      return emitOpError() << "expected " << what << " [?]x[" << inner << "] of " << element << ", found " << type;
    return success();
  };
  Builder b(getContext());
  int64_t k = getK();
  if (k < 1 || getMaxCount() < 1)
    return emitOpError() << "expected positive k and rows, found " << k << " and " << getMaxCount();
  auto into = cast<MemRefType>(getInto().getType());
  if (into.getRank() != 2 || !into.hasStaticShape() || into.getDimSize(0) < static_cast<int64_t>(getMaxCount()) || into.getDimSize(1) % panelWidth != 0)
    return emitOpError() << "expected a result of at least " << getMaxCount() << " rows of whole panels, found " << into;
  if (!getGroup()) {
    if (getInput().size() != 1 || getWeight().size() != 1)
      return emitOpError() << "expected one input and one weight array without a group";
    if (shape(getInput()[0]).size() != 2 || shape(getInput()[0])[1] < k)
      return emitOpError() << "expected an input of at least " << k << " columns, found " << getInput()[0].getType();
    return check(getWeight()[0], "a weight", b.getF32Type(), {k, panelWidth});
  }
  int64_t group = *getGroup();
  if (group < 4 || group % 4 != 0)
    return emitOpError() << "expected a group of a positive multiple of 4, found " << group;
  if (getInput().size() != 3 || getWeight().size() != 2)
    return emitOpError() << "expected codes, scales and offsets by codes and scales with a group";
  int64_t groups = ceilDiv(k, group);
  if (failed(check(getInput()[0], "input codes", b.getI8Type(), {roundUp(k, lanes)})) || failed(check(getInput()[1], "input scales", b.getF32Type(), {groups})) ||
      failed(check(getInput()[2], "input offsets", b.getI32Type(), {groups})) ||
      failed(check(getWeight()[0], "weight codes", b.getI8Type(), {ceilDiv(k, 4), panelWidth, 4})) ||
      failed(check(getWeight()[1], "weight scales", b.getBF16Type(), {groups, panelWidth})))
    return failure();
  return success();
}
