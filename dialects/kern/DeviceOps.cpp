//===- DeviceOps.cpp - verifiers of what a block of a GPU does together -----===//
#include "dialects/kern/KernDialect.h"

using namespace mlir;
using namespace lathe::kern;

namespace {

MemRefType memref(Value value) { return cast<MemRefType>(value.getType()); }

/// Rows of a block in shared memory.
bool isRows(MemRefType type) { return type.getRank() == 2 && isBare(type) && type.hasStaticShape(); }

/// Pages of floats whose elements can be multiplied as they stand, or of codes.
bool isPages(MemRefType type) {
  return type.getRank() == 4 && isBare(type) && type.isDynamicDim(0) &&
         (type.getElementType().isF32() || type.getElementType().isBF16() || type.getElementType().isInteger(8));
}

/// Columns of a head's key; 0 where there is no room for its scales.
int64_t keyColumns(MemRefType keys) {
  return keys.getElementType().isInteger(8) ? std::max<int64_t>(0, keys.getDimSize(2) - scaleBytes)
                                            : keys.getDimSize(3);
}

LogicalResult verifyCodes(Operation *op, MemRefType pages, bool keys) {
  if (!isPages(pages) || !pages.getElementType().isInteger(8) || (keys && keyColumns(pages) == 0))
    return op->emitOpError() << "expected pages of i8 [?, head, dim" << (keys ? " + 8" : "") << ", position], found "
                             << pages;
  return success();
}

template <typename Along> LogicalResult verifyAlong(Along op, VectorType vector) {
  auto type = memref(op.getMemref());
  int64_t dim = op.getDim();
  if (!isBare(type) || static_cast<int64_t>(op.getIndices().size()) != type.getRank())
    return op.emitOpError() << "expected an index for each dimension of bare memory, found " << op.getIndices().size()
                            << " for " << type;
  if (dim < 0 || dim >= type.getRank() || static_cast<int64_t>(op.getStride()) < 1)
    return op.emitOpError() << "expected a dimension below " << type.getRank() << " and a positive stride, found "
                            << dim << " and " << op.getStride();
  if (vector.getElementType() != type.getElementType())
    return op.emitOpError() << "expected elements of " << type.getElementType() << ", found " << vector;
  return success();
}

} // namespace

LogicalResult LoadAlongOp::verify() { return verifyAlong(*this, cast<VectorType>(getResult().getType())); }
LogicalResult StoreAlongOp::verify() { return verifyAlong(*this, cast<VectorType>(getValue().getType())); }

LogicalResult LoadCodesOp::verify() {
  MemRefType codes = memref(getCodes());
  if (!isBare(codes) || !isDeviceValues(codes) || !codes.getElementType().isInteger(8))
    return emitOpError() << "expected codes [panels][blocks][" << devicePanel << "][" << deviceBlockBytes
                         << "] of i8, found " << codes;
  if (getResult().getType() != VectorType::get({lanes}, Float32Type::get(getContext())))
    return emitOpError() << "expected " << lanes << " lanes of f32, found " << getResult().getType();
  return success();
}

LogicalResult PrefetchOp::verify() {
  MemRefType weight = memref(getWeight());
  auto columns = static_cast<int64_t>(getColumns());
  if (!isBare(weight) || weight.getRank() != 4 || !weight.hasStaticShape() || weight.getDimSize(2) != devicePanel)
    return emitOpError() << "expected a weight [panels][blocks][" << devicePanel << "][elements], found " << weight;
  if (columns < 1 || columns % devicePanel != 0 || columns > weight.getDimSize(0) * devicePanel)
    return emitOpError() << "expected whole panels of " << devicePanel << " columns, at most "
                         << weight.getDimSize(0) * devicePanel << ", found " << columns;
  return success();
}

LogicalResult BlockDotOp::verify() {
  if (getWeight().empty() || getWeight().size() > 2)
    return emitOpError() << "expected a weight, or codes and scales, found " << getWeight().size() << " arrays";
  MemRefType input = memref(getInput()), weight = memref(getWeight()[0]), into = memref(getInto());
  if (!isBare(weight) || !isDeviceValues(weight))
    return emitOpError() << "expected a weight [panels][blocks][" << devicePanel << "][" << deviceBlockBytes
                         << " bytes], found " << weight;
  Type element = weight.getElementType();
  bool coded = getWeight().size() == 2;
  if (coded ? !element.isInteger(8) : !element.isF32() && !element.isBF16())
    return emitOpError() << "expected a weight of f32 or bf16, or codes of i8 with scales, found " << element;
  int64_t blocks = weight.getDimSize(1), k = blocks * weight.getDimSize(3);
  if (coded) {
    element = BFloat16Type::get(getContext());
    MemRefType scales = memref(getWeight()[1]);
    if (!isBare(scales) || !isDeviceScales(scales) || !isa<FloatType>(scales.getElementType()) ||
        scales.getDimSize(0) != weight.getDimSize(0) ||
        (scales.getDimSize(1) != blocks && scales.getDimSize(1) != 2 * blocks))
      return emitOpError() << "expected scales [" << weight.getDimSize(0) << "][" << blocks << " or " << 2 * blocks
                           << "][" << devicePanel << "] of floats, found " << scales;
  }
  if (getRow()) {
    int64_t block = weight.getDimSize(3);
    if (!isBare(input) || input.getRank() != 2 || !input.isDynamicDim(0) || !input.getElementType().isF32() ||
        lathe::kern::ceilDiv(input.getDimSize(1), block) != blocks)
      return emitOpError() << "expected activations of " << blocks << " blocks of " << block
                           << " columns in f32, found " << input;
  } else if (!isRows(input) || input.getElementType() != element || input.getDimSize(1) < k)
    return emitOpError() << "expected input rows of at least " << k << " columns of " << element << ", found " << input;
  if (!isRows(into) || !into.getElementType().isF32() || into.getDimSize(1) % (2 * devicePanel) != 0 ||
      into.getDimSize(0) % deviceTileRows != 0)
    return emitOpError() << "expected a result of a multiple of " << deviceTileRows << " rows and of "
                         << 2 * devicePanel << " columns in f32, found " << into;
  return success();
}

int64_t BlockDotOp::sumBytes() {
  MemRefType into = memref(getInto());
  int64_t rows = into.getDimSize(0), padded = into.getDimSize(1) + 4; // as DotSums in runtime/device/dot.cuh
  constexpr int64_t mostColumns = 128;                                // kFewColumns
  if (rows > deviceSpanRows)
    rows = into.getDimSize(1) <= mostColumns ? deviceTileRows : 0;
  return deviceSpans * rows * padded * 4;
}

LogicalResult StoreCodesOp::verify() {
  if (getCodes().getType() != VectorType::get({lanes}, IntegerType::get(getContext(), 8)))
    return emitOpError() << "expected " << lanes << " lanes of i8, found " << getCodes().getType();
  return verifyCodes(*this, memref(getPages()), getKeys());
}

LogicalResult StoreScaleOp::verify() { return verifyCodes(*this, memref(getPages()), true); }

/// What a weight is by its arrays: the k of a block, or 0 (and an error) where it is none that tensor cores multiply.
static int64_t gemmBlock(GemmStartOp op) {
  MemRefType weight = memref(op.getWeight().front());
  bool coded = op.getWeight().size() == 2;
  if (!isBare(weight) || !isDeviceValues(weight) ||
      (coded ? !weight.getElementType().isInteger(8) : !weight.getElementType().isBF16()))
    return 0;
  if (coded) {
    MemRefType scales = memref(op.getWeight()[1]);
    int64_t blocks = weight.getDimSize(1);
    if (!isBare(scales) || !isDeviceScales(scales) || !isa<FloatType>(scales.getElementType()) ||
        scales.getDimSize(0) != weight.getDimSize(0) ||
        (scales.getDimSize(1) != blocks && scales.getDimSize(1) != 2 * blocks))
      return 0;
  }
  return weight.getDimSize(3);
}

/// Sums of a product in registers.
static bool isSums(MemRefType type) {
  auto space = dyn_cast_or_null<StringAttr>(type.getMemorySpace());
  return space && space.getValue() == registerSpace && type.getRank() == 2 && type.hasStaticShape() &&
         type.getElementType().isF32() && type.getLayout().isIdentity() && type.getDimSize(0) % deviceTileRows == 0 &&
         type.getDimSize(1) % panelWidth == 0 && type.getDimSize(1) <= gemmColumnsMost;
}

LogicalResult GemmStartOp::verify() {
  if (getWeight().empty() || getWeight().size() > 2)
    return emitOpError() << "expected a weight, or codes and scales, found " << getWeight().size() << " arrays";
  if (gemmBlock(*this) == 0)
    return emitOpError() << "expected a weight [panels][blocks][" << devicePanel
                         << "][32] of bf16, or codes of 64 bytes with scales, found " << getWeight().getTypes();
  MemRefType sums = memref(getSums());
  if (!isSums(sums) || memref(getWeight().front()).getDimSize(0) * devicePanel < sums.getDimSize(1))
    return emitOpError() << "expected sums of a multiple of " << deviceTileRows << " rows and of " << panelWidth
                         << " columns, at most " << gemmColumnsMost << " and the weight's, in f32 in \""
                         << registerSpace << "\", found " << sums;
  return success();
}

LogicalResult GemmPieceOp::verify() {
  MemRefType input = memref(getInput()), sums = memref(getSums());
  auto start = getSums().getDefiningOp<GemmStartOp>();
  if (!start || !isSums(sums))
    return emitOpError() << "expected sums that kern.gemm_start gives, found " << sums;
  int64_t block = gemmBlock(start);
  if (!isBare(input) || input.getRank() != 4 || !input.hasStaticShape() || !input.getElementType().isBF16() ||
      input.getDimSize(2) != sums.getDimSize(0) || input.getDimSize(3) != gemmPart || block == 0 ||
      input.getDimSize(1) * gemmPart % block != 0)
    return emitOpError() << "expected stages [stages][parts][" << sums.getDimSize(0) << "][" << gemmPart
                         << "] of bf16, of whole blocks of " << block << " columns, found " << input;
  return success();
}

LogicalResult GemmStoreOp::verify() {
  MemRefType sums = memref(getSums()), into = memref(getInto());
  if (!isSums(sums) || !isRows(into) || !into.getElementType().isF32() ||
      into.getNumElements() != sums.getNumElements() || into.getDimSize(1) % (2 * devicePanel) != 0 ||
      sums.getDimSize(1) % into.getDimSize(1) != 0)
    return emitOpError() << "expected tiles of " << sums.getNumElements() << " elements in f32, of a multiple of "
                         << 2 * devicePanel << " columns, found " << into;
  return success();
}

LogicalResult BlockScoresOp::verify() {
  MemRefType queries = memref(getQueries()), keys = memref(getKeys()), into = memref(getInto());
  if (!isPages(keys) || keyColumns(keys) == 0)
    return emitOpError() << "expected keys [?, head, position, dim] of f32 or bf16, or [?, head, dim + 8, position] of "
                            "i8, found "
                         << keys;
  bool coded = keys.getElementType().isInteger(8);
  Type element = coded ? BFloat16Type::get(getContext()) : keys.getElementType();
  if (!isRows(queries) || queries.getElementType() != element || queries.getDimSize(1) < keyColumns(keys))
    return emitOpError() << "expected queries of at least " << keyColumns(keys) << " columns of " << element
                         << ", found " << queries;
  auto scales = MemRefType::get({chunkTokens}, Float32Type::get(getContext()));
  if (coded != static_cast<bool>(getScales()) || (coded && memref(getScales()) != scales))
    return emitOpError() << "expected scales " << scales << " for keys of i8, and for no others";
  if (!isRows(into) || !into.getElementType().isF32() || into.getDimSize(0) != queries.getDimSize(0) ||
      into.getDimSize(0) % deviceTileRows != 0 || into.getDimSize(1) < chunkTokens)
    return emitOpError() << "expected scores of " << queries.getDimSize(0) << " rows, a multiple of " << deviceTileRows
                         << ", of a chunk of " << chunkTokens << " positions in f32, found " << into;
  return success();
}

LogicalResult BlockWeighOp::verify() {
  MemRefType weights = memref(getWeights()), values = memref(getValues()), into = memref(getInto());
  if (!isPages(values))
    return emitOpError() << "expected values [?, head, dim, position] of f32, bf16 or i8, found " << values;
  if (!isRows(weights) || !weights.getElementType().isF32() || weights.getDimSize(1) < chunkTokens)
    return emitOpError() << "expected weights of a chunk of " << chunkTokens << " positions in f32, found " << weights;
  if (!isRows(into) || !into.getElementType().isF32() || into.getDimSize(0) != weights.getDimSize(0) ||
      into.getDimSize(1) < values.getDimSize(2))
    return emitOpError() << "expected a result of " << weights.getDimSize(0) << " rows of at least "
                         << values.getDimSize(2) << " columns in f32, found " << into;
  return success();
}
