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

int64_t lathe::kern::valuesSpan(Type element) { return element.isBF16() ? 2 : 1; }

MemRefType lathe::kern::valuesType(Type element, int64_t panels, int64_t k) {
  int64_t span = valuesSpan(element);
  SmallVector<int64_t> shape{panels, ceilDiv(k, span), panelWidth};
  if (span != 1)
    shape.push_back(span);
  return MemRefType::get(shape, element);
}

MemRefType lathe::kern::deviceValuesType(Type element, int64_t panels, int64_t k) {
  int64_t block = deviceBlock(element);
  return MemRefType::get({panels, ceilDiv(k, block), devicePanel, block}, element);
}

bool lathe::kern::isDeviceValues(MemRefType type) {
  return type.getRank() == 4 && type.getElementType().isIntOrFloat() && type.getDimSize(2) == devicePanel &&
         type.getDimSize(3) == deviceBlock(type.getElementType());
}

MemRefType lathe::kern::deviceTypeOf(CodingAttr coding, Part part, int64_t panels, int64_t k) {
  MemRefType codes = deviceValuesType(IntegerType::get(coding.getContext(), 8), panels, k);
  if (part == Part::codes)
    return codes;
  int64_t groups = codes.getDimSize(1) * codes.getDimSize(3) / deviceGroup(coding);
  return MemRefType::get({panels, groups, devicePanel}, coding.getScale());
}

bool lathe::kern::isDeviceScales(MemRefType type) { return type.getRank() == 3 && type.getDimSize(2) == devicePanel; }

bool lathe::kern::isDeviceCoding(CodingAttr coding) {
  return coding.getBits() == 8 && coding.getBias() == 128 && !coding.getMinimum() && coding.getSuper() == 0 &&
         coding.getGroup() % 32 == 0;
}

LogicalResult ScheduleAttr::verify(llvm::function_ref<InFlightDiagnostic()> emitError, StringAttr target,
                                   int64_t unitBlock, int64_t rows, int64_t columns, int64_t amxRows,
                                   StringAttr library, int64_t libraryRows, int64_t leastRows, int64_t depth,
                                   StringAttr origin) {
  if (unitBlock < 1 || rows < 1)
    return emitError() << "expected positive unit_block and rows, found " << unitBlock << " and " << rows;
  if (leastRows != 0 || depth != 0) {
    if (leastRows < 2 || depth < 1 || depth % deviceBlockBytes != 0 || rows % deviceTileRows != 0 ||
        columns % panelWidth != 0 || columns < panelWidth || columns > gemmColumnsMost || rows != unitBlock ||
        rows * (4 * columns + 2 * gemmStages * depth) > gemmSharedBytes)
      return emitError() << "expected least_rows from 2, depth a multiple of " << deviceBlockBytes << ", rows one of "
                         << deviceTileRows << ", the same unit_block, columns one of " << panelWidth << " up to "
                         << gemmColumnsMost << ", and " << gemmSharedBytes << " bytes for sums and " << gemmStages
                         << " stages, found " << leastRows << ", " << depth << ", " << rows << ", " << unitBlock
                         << " and " << columns;
    return success();
  }
  if (columns != lanes && columns != panelWidth)
    return emitError() << "expected columns " << lanes << " or " << panelWidth << ", found " << columns;
  if (amxRows < 0 || amxRows > amxTileRows || (amxRows != 0 && rows > amxTileRows))
    return emitError() << "expected amx_rows from 0 to " << amxTileRows << ", and no more rows with them, found "
                       << amxRows << " and " << rows;
  if (library ? library.getValue() != onednn || libraryRows < 2 || libraryRows > unitBlock : libraryRows != 0)
    return emitError() << "expected library \"" << onednn << "\" with library_rows from 2 to unit_block, or neither";
  return success();
}

LogicalResult CodingAttr::verify(llvm::function_ref<InFlightDiagnostic()> emitError, int64_t bits, int64_t group,
                                 Type scale, int64_t bias, bool minimum, int64_t super, StringAttr method) {
  constexpr int64_t most = int64_t(1) << 31;
  if (bits != 4 && bits != 6 && bits != 8)
    return emitError() << "expected 4, 6 or 8 bits, found " << bits;
  if (group < lanes || group % lanes != 0 || group > most)
    return emitError() << "expected a group of a positive multiple of " << lanes << ", found " << group;
  if (!scale.isF32() && !scale.isBF16() && !scale.isF16())
    return emitError() << "expected scale f32, bf16 or f16, found " << scale;
  if (bias < 0 || bias > 128 || super < 0 || super > most || super % group != 0)
    return emitError() << "expected a bias from 0 to 128 and a super of whole groups, found " << bias << " and "
                       << super;
  return success();
}

SmallVector<Part> CodingAttr::parts() const {
  SmallVector<Part> all{Part::codes};
  auto add = [&](bool there, Part part) {
    if (there)
      all.push_back(part);
  };
  add(getBits() == 6, Part::codes_high);
  add(true, Part::scales);
  add(getSuper() != 0, Part::sub_scales);
  add(getMinimum(), Part::minima);
  add(getMinimum() && getSuper() != 0, Part::sub_minima);
  return all;
}

MemRefType CodingAttr::typeOf(Part part, int64_t panels, int64_t k) const {
  Type i8 = IntegerType::get(getContext(), 8);
  // Four bits in pairs of quads; six bits need whole fours of them.
  int64_t quads = getBits() == 8 ? ceilDiv(k, 4) : getBits() == 4 ? ceilDiv(k, 8) : 2 * ceilDiv(k, 16);
  switch (part) {
  case Part::codes:
    return MemRefType::get({panels, quads, panelWidth, 4}, i8);
  case Part::codes_high:
    return MemRefType::get({panels, ceilDiv(k, 16), panelWidth, 4}, i8);
  case Part::sub_scales:
  case Part::sub_minima:
    return MemRefType::get({panels, ceilDiv(k, getGroup()), panelWidth}, i8);
  default:
    return MemRefType::get({panels, ceilDiv(k, getSuper() ? getSuper() : getGroup()), panelWidth}, getScale());
  }
}

MemRefType CodingAttr::unpackedType(int64_t panels, int64_t k, int64_t inputGroup) const {
  int64_t unit = std::min(getGroup(), inputGroup);
  return MemRefType::get({panels, roundUp(k, unit) / 4, panelWidth, 4}, IntegerType::get(getContext(), 8));
}

LogicalResult PackAttr::verify(llvm::function_ref<InFlightDiagnostic()> emitError, Order order, int64_t dim) {
  if (dim < 1)
    return emitError() << "expected a positive dim, found " << dim;
  return success();
}
