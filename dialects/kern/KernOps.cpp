//===- KernOps.cpp - verifiers of the kern dialect --------------------------===//
#include "dialects/kern/KernDialect.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/OpImplementation.h"

#define GET_OP_CLASSES
#include "dialects/kern/KernOps.cpp.inc"

using namespace mlir;
using namespace lathe::kern;

/// What the values of a matrix may be.
static bool isValue(Type element) { return element.isF32() || element.isBF16() || element.isF16(); }

/// Keeps a hand-edited size far from overflow.
static bool sane(int64_t size) { return size >= 1 && size <= int64_t(1) << 31; }

bool lathe::kern::isBare(MemRefType type) {
  if (type.getRank() == 0 || !type.getLayout().isIdentity() || !type.getElementType().isIntOrFloat() ||
      type.getElementTypeBitWidth() % 8 != 0)
    return false;
  return (type.isDynamicDim(0) || sane(type.getDimSize(0))) && llvm::all_of(type.getShape().drop_front(), sane);
}

LogicalResult ScratchOp::verify() {
  auto type = cast<MemRefType>(getResult().getType());
  if (!isBare(type) || !type.hasStaticShape())
    return emitOpError() << "expected a static shape of whole bytes without layout, found " << type;
  return success();
}

LogicalResult ReduceOp::verify() {
  auto type = cast<VectorType>(getInput().getType());
  if (type.getRank() != 1 || type.isScalable() || !llvm::isPowerOf2_64(type.getDimSize(0)))
    return emitOpError() << "expected a vector of a power of two of lanes, found " << type;
  if (getPartial() && cast<MemRefType>(getPartial().getType()).getShape() != ArrayRef<int64_t>{blockWarps})
    return emitOpError() << "expected scratch of " << blockWarps << ", found " << getPartial().getType();
  if (getResult().getType() != type.getElementType())
    return emitOpError() << "expected result type " << type.getElementType() << ", found " << getResult().getType();
  return success();
}

static LogicalResult checkGroups(Operation *op, int64_t group, int64_t inputGroup) {
  if (inputGroup < lanes || inputGroup % lanes != 0 || (group % inputGroup != 0 && inputGroup % group != 0))
    return op->emitOpError() << "expected an input group of a multiple of " << lanes << " that divides " << group
                             << " or is divided by it, found " << inputGroup;
  return success();
}

/// The array that kern.unpack makes and kern.dot reads.
static LogicalResult checkUnpacked(Operation *op, Value bytes, CodingAttr coding, int64_t k, int64_t inputGroup) {
  auto type = cast<MemRefType>(bytes.getType()), wanted = coding.unpackedType(1, k, inputGroup);
  if (!coding.isSignedByte())
    return op->emitOpError() << "expected codes that are signed bytes without their bias, found " << coding;
  if (!isBare(type) || !type.hasStaticShape() || type.getElementType() != wanted.getElementType() ||
      type.getShape().drop_front() != wanted.getShape().drop_front())
    return op->emitOpError() << "expected unpacked codes [?]x[" << wanted.getShape().drop_front() << "] of "
                             << wanted.getElementType() << ", found " << type;
  return success();
}

LogicalResult DotOp::verify() {
  auto check = [&](Value value, StringRef what, Type element, ArrayRef<int64_t> inner) -> LogicalResult {
    auto type = cast<MemRefType>(value.getType());
    if (type.getRank() == 0 || type.getElementType() != element || type.getShape().drop_front() != inner ||
        !type.getLayout().isIdentity())
      return emitOpError() << "expected " << what << " [?]x[" << inner << "] of " << element << ", found " << type;
    return success();
  };
  Builder b(getContext());
  int64_t k = getK();
  if (getLibrary() && *getLibrary() != onednn)
    return emitOpError() << "expected library \"" << onednn << "\", found \"" << *getLibrary() << '"';
  int64_t mostRows = getLibrary() ? libraryRowsMost : 64; // without a library each number of rows is a variant in code
  if (!sane(k) || getMaxCount() < 1 || static_cast<int64_t>(getMaxCount()) > mostRows)
    return emitOpError() << "expected a positive k and 1 to " << mostRows << " rows, found " << k << " and "
                         << getMaxCount();
  auto into = cast<MemRefType>(getInto().getType());
  if (into.getRank() != 2 || !isBare(into) || !into.hasStaticShape() || !into.getElementType().isF32() ||
      into.getDimSize(0) < static_cast<int64_t>(getMaxCount()) || into.getDimSize(1) % panelWidth != 0)
    return emitOpError() << "expected a result of at least " << getMaxCount() << " rows of whole panels in f32, found "
                         << into;
  if (!getCoding()) {
    if (getUnpacked())
      return emitOpError() << "expected a coding with unpacked codes";
    if (getInput().size() != 1 || getWeight().size() != 1)
      return emitOpError() << "expected one input and one weight array without a coding";
    auto input = cast<MemRefType>(getInput()[0].getType());
    if (input.getRank() == 2 && input.getElementType().isBF16()) {
      if (getLibrary())
        return emitOpError() << "expected an input of f32 for a library, found " << input;
      if (failed(check(getInput()[0], "an input", b.getBF16Type(), {roundUp(k, lanes)})))
        return failure();
      return check(getWeight()[0], "a weight", b.getBF16Type(),
                   valuesType(b.getBF16Type(), 1, k).getShape().drop_front());
    }
    if (input.getRank() != 2 || !input.getElementType().isF32() || !input.getLayout().isIdentity() ||
        input.getDimSize(1) < k)
      return emitOpError() << "expected an input of at least " << k << " columns of f32, found " << input;
    Type element = cast<MemRefType>(getWeight()[0].getType()).getElementType();
    if (!isValue(element))
      element = b.getF32Type();
    return check(getWeight()[0], "a weight", element, valuesType(element, 1, k).getShape().drop_front());
  }
  CodingAttr coding = *getCoding();
  int64_t group = coding.getGroup(), inputGroup = *getInputGroup();
  if (getLibrary() && (coding.getBits() != 8 || coding.getBias() != 128))
    return emitOpError() << "expected codes of 8 bits with bias 128 for a library, found " << coding;
  if (failed(checkGroups(*this, group, inputGroup)))
    return failure();
  auto parts = coding.parts();
  if (getInput().size() != (coding.getMinimum() ? 4 : 3) || getWeight().size() != parts.size())
    return emitOpError() << "expected " << (coding.getMinimum() ? 4 : 3) << " input and " << parts.size()
                         << " weight arrays for " << coding << ", found " << getInput().size() << " and "
                         << getWeight().size();
  if (failed(check(getInput()[0], "input codes", b.getI8Type(), {roundUp(k, lanes)})) ||
      failed(check(getInput()[1], "input scales", b.getF32Type(), {ceilDiv(k, inputGroup)})) ||
      failed(check(getInput()[2], "input offsets", b.getI32Type(), {ceilDiv(k, std::min(group, inputGroup))})) ||
      (coding.getMinimum() && failed(check(getInput()[3], "input sums", b.getF32Type(), {ceilDiv(k, group)}))))
    return failure();
  for (auto [part, value] : llvm::zip(parts, getWeight())) {
    MemRefType type = coding.typeOf(part, 1, k);
    if (failed(
            check(value, ("weight " + stringifyPart(part)).str(), type.getElementType(), type.getShape().drop_front())))
      return failure();
  }
  if (!getUnpacked())
    return success();
  if (getMaxCount() > amxTileRows)
    return emitOpError() << "expected at most " << amxTileRows << " rows with unpacked codes, found " << getMaxCount();
  return checkUnpacked(*this, getUnpacked(), coding, k, inputGroup);
}

LogicalResult UnpackOp::verify() {
  CodingAttr coding = getCoding();
  int64_t k = getK(), inputGroup = getInputGroup();
  if (!sane(k))
    return emitOpError() << "expected a positive k, found " << k;
  if (failed(checkGroups(*this, coding.getGroup(), inputGroup)))
    return failure();
  auto parts = coding.parts();
  if (getWeight().size() != parts.size())
    return emitOpError() << "expected " << parts.size() << " weight arrays for " << coding << ", found "
                         << getWeight().size();
  for (auto [part, value] : llvm::zip(parts, getWeight())) {
    auto type = cast<MemRefType>(value.getType()), wanted = coding.typeOf(part, 1, k);
    if (type.getRank() == 0 || type.getElementType() != wanted.getElementType() ||
        type.getShape().drop_front() != wanted.getShape().drop_front() || !type.getLayout().isIdentity())
      return emitOpError() << "expected weight " << stringifyPart(part) << " [?]x[" << wanted.getShape().drop_front()
                           << "] of " << wanted.getElementType() << ", found " << type;
  }
  return checkUnpacked(*this, getInto(), coding, k, inputGroup);
}

LogicalResult WeightOp::verify() {
  auto type = cast<MemRefType>(getResult().getType());
  int64_t k = getK();
  if (!sane(k))
    return emitOpError() << "expected a positive k, found " << k;
  bool isRope = getPart() == Part::rope_low || getPart() == Part::rope_high,
       quantised = !isRope && getPart() != Part::values && getPart() != Part::vector;
  bool isMatrix = quantised || getPart() == Part::values;
  if (isRope != (getRope() && getRope()->getAbstractAttribute().getName() == "lm.rope") ||
      quantised != getCoding().has_value() || (isMatrix && !getPack()) || isRope == !getSources().empty())
    return emitOpError()
           << "expected sources, with a pack for a matrix and a coding for codes and scales, or a rope alone";
  Builder b(getContext());
  Type element = b.getF32Type();
  SmallVector<int64_t> shape(type.getShape());
  int64_t count = shape.empty() ? 0 : shape[0];
  if (quantised) {
    if (!llvm::is_contained(getCoding()->parts(), getPart()))
      return emitOpError() << "expected a part that " << *getCoding() << " has, found " << stringifyPart(getPart());
    bool device = isDeviceCoding(*getCoding()) && (isDeviceValues(type) || isDeviceScales(type));
    MemRefType wanted =
        device ? deviceTypeOf(*getCoding(), getPart(), count, k) : getCoding()->typeOf(getPart(), count, k);
    element = wanted.getElementType();
    shape.assign(wanted.getShape().begin(), wanted.getShape().end());
  }
  switch (getPart()) {
  case Part::values: {
    if (isValue(type.getElementType()))
      element = type.getElementType();
    MemRefType wanted = isDeviceValues(type) ? deviceValuesType(element, count, k) : valuesType(element, count, k);
    shape.assign(wanted.getShape().begin(), wanted.getShape().end());
    break;
  }
  case Part::rope_low:
    shape = {2, ropeSpan, roundUp(k / 2, lanes)};
    break;
  case Part::rope_high:
    shape = {2, shape.size() < 2 ? 1 : shape[1], roundUp(k / 2, lanes)};
    break;
  case Part::vector:
    shape = {count};
    break;
  default:
    break;
  }
  if (!isBare(type) || !type.hasStaticShape() || type.getElementType() != element || type.getShape() != ArrayRef(shape))
    return emitOpError() << "expected " << stringifyPart(getPart()) << " of shape [" << shape << "] in " << element
                         << ", found " << type;
  return success();
}

LogicalResult BufferOp::verify() {
  auto type = cast<MemRefType>(getResult().getType());
  if (type.getRank() != 2 || !isBare(type) || !type.isDynamicDim(0) || !type.getElementType().isF32())
    return emitOpError() << "expected rows [?, width] of f32, found " << type;
  int64_t slot = getSlot().value_or(0);
  if (slot < 0 || slot > 65535 || (getLogits() && getSlot()))
    return emitOpError() << "expected a slot from 0 to 65535, or none for the logits, found " << slot;
  return success();
}

LogicalResult KvOp::verify() {
  auto type = cast<MemRefType>(getResult().getType());
  int64_t layer = getLayer();
  if (layer < 0 || layer > 65535)
    return emitOpError() << "expected a layer from 0 to 65535, found " << layer;
  if (!isBare(type) || !type.isDynamicDim(0))
    return emitOpError() << "expected pages of any number, found " << type;
  if (type.getElementType().isInteger(8)) {
    bool device = type.getRank() == 4; // a GPU's
    if ((!device && (type.getRank() != 5 || type.getDimSize(4) != 4)) ||
        (getKeys() && type.getDimSize(2) <= (device ? scaleBytes : scaleQuads)))
      return emitOpError() << "expected pages of i8 [?, head, dim/4 + " << scaleQuads
                           << ", position, 4] or [?, head, position/4, dim, 4], for a GPU [?, head, dim + "
                           << scaleBytes << ", position] or [?, head, dim, position], found " << type;
    return success();
  }
  if (type.getRank() != 4 || (!type.getElementType().isF32() && !type.getElementType().isBF16()))
    return emitOpError() << "expected pages [?, head, dim, position] or [?, head, position, dim] of f32 or bf16, found "
                         << type;
  return success();
}

LogicalResult LaunchOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto module = (*this)->getParentOfType<ModuleOp>();
  if (!module)
    return success();
  for (auto tier : module.getOps<ModuleOp>()) {
    auto kernel = dyn_cast_or_null<FunctionOpInterface>(symbols.lookupSymbolIn(tier, getKernelAttr()));
    if (!kernel)
      return emitOpError() << "expected a kernel '" << getKernel() << "' in each tier, found none in '"
                           << tier.getName().value_or("") << "'";
    if (!kernel->getAttrOfType<ScheduleAttr>(scheduleAttr) || !kernel->getAttrOfType<lathe::kern::UnitAttr>(unitAttr) ||
        !kernel->getAttrOfType<StringAttr>(fusedAttr) ||
        !llvm::all_of(ArrayRef{tilesAttr, tileBytesAttr, unitFlopsAttr},
                      [&](StringRef name) { return kernel->getAttrOfType<IntegerAttr>(name); }))
      return emitOpError() << "expected a kernel '" << getKernel() << "' with " << scheduleAttr << ", " << unitAttr
                           << ", " << tilesAttr << ", " << tileBytesAttr << ", " << unitFlopsAttr << " and "
                           << fusedAttr;
    if (!llvm::all_of(kernel.getArgumentTypes(), llvm::IsaPred<MemRefType>))
      continue; // native by now
    if (kernel.getArgumentTypes() != ArrayRef<Type>(llvm::to_vector(getOperandTypes()))) {
      InFlightDiagnostic diagnostic = emitOpError() << "expected operands (" << kernel.getArgumentTypes()
                                                    << "), found (" << getOperandTypes() << ")";
      diagnostic.attachNote(kernel.getLoc()) << "the kernel in '" << tier.getName().value_or("") << "'";
      return diagnostic;
    }
  }
  return success();
}
