//===- KernDialect.cpp - attributes of the kern dialect --------------------===//
#include "dialects/kern/KernDialect.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace lathe::kern;

#include "dialects/kern/KernDialect.cpp.inc"
#include "dialects/kern/KernEnums.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "dialects/kern/KernAttributes.cpp.inc"

void KernDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/kern/KernAttributes.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialects/kern/KernOps.cpp.inc"
      >();
}

LogicalResult ScheduleAttr::verify(llvm::function_ref<InFlightDiagnostic()> emitError, StringAttr target,
                                   int64_t unitBlock, int64_t rows, int64_t columns) {
  if (unitBlock < 1 || rows < 1)
    return emitError() << "expected positive unit_block and rows, found " << unitBlock << " and " << rows;
  if (columns != lanes && columns != panelWidth)
    return emitError() << "expected columns " << lanes << " or " << panelWidth << ", found " << columns;
  return success();
}

LogicalResult PackAttr::verify(llvm::function_ref<InFlightDiagnostic()> emitError, Order order, int64_t dim) {
  if (dim < 1)
    return emitError() << "expected a positive dim, found " << dim;
  return success();
}
