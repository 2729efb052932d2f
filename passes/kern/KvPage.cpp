//===- KvPage.cpp - the place of one row's keys and values ------------------===//
#include "passes/kern/KvPage.h"

#include "passes/kern/ByteCodes.h"

#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::kern;

KvPage::KvPage(KernelContext &k, lm::KvAppendOp op, Value row) : e(k.e) {
  keys = k.buffer(Argument::Kind::keys, op.getKv());
  values = k.buffer(Argument::Kind::values, op.getKv());
  Value pageTokens = e.index(op.getKv().getType().getPage());
  position = e.batch(Field::row_position, row);
  Value sequence = e.batch(Field::row_sequence, row);
  page = GatherPagesOp::create(e.b, e.b.getIndexType(), sequence, arith::DivUIOp::create(e.b, position, pageTokens));
  place = arith::RemUIOp::create(e.b, position, pageTokens);
}

void KvPage::append(ArrayRef<Value> vectors, bool isKey, Value head, int64_t width) {
  if (cast<MemRefType>(keys.getType()).getElementType().isInteger(8))
    appendBytes(vectors, isKey, head, width);
  else
    appendFloats(vectors, isKey, head, width);
}

void KvPage::appendFloats(ArrayRef<Value> vectors, bool isKey, Value head, int64_t width) {
  Type element = cast<MemRefType>(keys.getType()).getElementType();
  for (auto [v, vector] : llvm::enumerate(vectors)) {
    int64_t column = v * lanes;
    if (!isKey) {
      e.store(vector, values, {page, head, place, e.index(column)});
      continue;
    }
    // Keys stand with positions side by side, so that 16 scores come of one multiply-add; a row's key is a column
    // there.
    Value rounded = element.isF32() ? vector : arith::TruncFOp::create(e.b, VectorType::get({lanes}, element), vector);
    for (int64_t i = 0; i < std::min(lanes, width - column); ++i)
      e.storeScalar(vector::ExtractOp::create(e.b, rounded, i), keys, {page, head, e.index(column + i), place});
  }
}

void KvPage::appendOnDevice(llvm::function_ref<Value(const Emitter::Column &)> load, bool isKey, Value head,
                            int64_t width) {
  Type element = cast<MemRefType>(values.getType()).getElementType();
  if (element.isInteger(8))
    return appendCodes(load, isKey, head, width);
  e.columns(width, [&](const Emitter::Column &c) {
    Value vector = load(c), column = e.at(c);
    if (isKey)
      return e.store(vector, keys, {page, head, place, column});
    if (!element.isF32())
      vector = arith::TruncFOp::create(e.b, VectorType::get({lanes}, element), vector);
    StoreAlongOp::create(e.b, vector, values, ValueRange{page, head, column, place}, 2, 1);
  });
}

/// ByteCodes' arithmetic on columns that are read twice: registers would be a thread's, and text a vector's.
void KvPage::appendCodes(llvm::function_ref<Value(const Emitter::Column &)> load, bool isKey, Value head,
                         int64_t width) {
  auto columns = [&](Value column) { return Emitter::Column{column, 0, lanes}; };
  Value largest = e.loop(e.index(0), e.index(width), lanes, {e.splat(0.0f)},
                         [&](Value column, ValueRange carried) -> SmallVector<Value> {
                           name(column, "column");
                           Value size = math::AbsFOp::create(e.b, load(columns(column)));
                           return {arith::MaxNumFOp::create(e.b, carried[0], size)};
                         })[0];
  ByteScale by(e, e.reduce(Combine::max, largest), 127.0f);
  StoreScaleOp::create(e.b, isKey, by.scale, keys, page, head, position);
  e.loop(e.index(0), e.index(width), lanes, [&](Value column) {
    name(column, "column");
    Value codes =
        arith::FPToSIOp::create(e.b, VectorType::get({lanes}, e.b.getI8Type()), by.code(e, load(columns(column))));
    StoreCodesOp::create(e.b, isKey, codes, isKey ? keys : values, page, head, position, column);
  });
}

void KvPage::appendBytes(ArrayRef<Value> vectors, bool isKey, Value head, int64_t width) {
  SmallVector<Value> head16(vectors);
  if (width % lanes != 0)
    head16.back() = e.select(e.mask(width % lanes), head16.back(), e.splat(0.0f));
  ByteCodes coded(e, head16, 127.0f);

  Type byte = e.b.getI8Type();
  auto quad = VectorType::get({4}, byte);
  Value zero = e.index(0), four = e.index(4);
  auto storeQuad = [&](Value bytes, int64_t number) {
    vector::StoreOp::create(e.b, bytes, keys, ValueRange{page, head, e.index(number), place, zero});
  };
  int64_t quads = cast<MemRefType>(keys.getType()).getDimSize(2) - scaleQuads;
  Value scale = vector::BroadcastOp::create(e.b, VectorType::get({1}, e.f32()), coded.scale);
  storeQuad(vector::BitCastOp::create(e.b, quad, scale), isKey ? quads : quads + 1);
  Value bias =
      arith::ConstantOp::create(e.b, DenseElementsAttr::get(VectorType::get({lanes}, byte), static_cast<int8_t>(-128)));
  Value row = arith::DivUIOp::create(e.b, place, four), slot = arith::RemUIOp::create(e.b, place, four);
  for (size_t v = 0; v < head16.size(); ++v) {
    Value bytes = coded.bytes(e, v);
    if (isKey) {
      bytes = arith::XOrIOp::create(e.b, bytes, bias);
      for (int64_t i = 0; i < lanes; i += 4)
        storeQuad(vector::ExtractStridedSliceOp::create(e.b, bytes, i, int64_t(4), int64_t(1)), (v * lanes + i) / 4);
      continue;
    }
    // A byte at a time: another worker may write the neighbours of the quad.
    for (int64_t i = 0; i < std::min<int64_t>(lanes, width - v * lanes); ++i)
      e.storeScalar(vector::ExtractOp::create(e.b, bytes, i), values, {page, head, row, e.index(v * lanes + i), slot});
  }
}
