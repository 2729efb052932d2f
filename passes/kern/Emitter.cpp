//===- Emitter.cpp - short words for building kernel bodies ----------------===//
#include "passes/kern/Emitter.h"

#include "mlir/Dialect/Math/IR/Math.h"

#include <numeric>

using namespace mlir;
using namespace lathe::kern;

Value Emitter::index(int64_t value) { return arith::ConstantIndexOp::create(b, value); }
Value Emitter::constant(float value) { return arith::ConstantOp::create(b, b.getF32FloatAttr(value)); }
Value Emitter::splat(float value) { return arith::ConstantOp::create(b, DenseElementsAttr::get(vec(), value)); }

Value Emitter::mask(int64_t count) {
  auto type = VectorType::get({width}, b.getI1Type());
  count = std::clamp<int64_t>(count, 0, width);
  if (device)
    return vector::ConstantMaskOp::create(b, type, ArrayRef<int64_t>{count});
  SmallVector<bool> bits(width, false);
  std::fill_n(bits.begin(), count, true);
  return arith::ConstantOp::create(b, DenseElementsAttr::get(type, bits));
}

Value Emitter::counting() {
  if (device)
    return arith::IndexCastOp::create(b, VectorType::get({width}, b.getI32Type()),
                                      vector::StepOp::create(b, VectorType::get({width}, b.getIndexType())));
  SmallVector<int32_t> numbers(width);
  std::iota(numbers.begin(), numbers.end(), 0);
  return arith::ConstantOp::create(
      b, DenseElementsAttr::get(VectorType::get({width}, b.getI32Type()), ArrayRef<int32_t>(numbers)));
}

static bool isFloat(Value x) { return isa<FloatType>(getElementTypeOrSelf(x.getType())); }

Value Emitter::add(Value x, Value y) {
  return isFloat(x) ? Value(arith::AddFOp::create(b, x, y)) : Value(arith::AddIOp::create(b, x, y));
}
Value Emitter::sub(Value x, Value y) {
  return isFloat(x) ? Value(arith::SubFOp::create(b, x, y)) : Value(arith::SubIOp::create(b, x, y));
}
Value Emitter::mul(Value x, Value y) {
  return isFloat(x) ? Value(arith::MulFOp::create(b, x, y)) : Value(arith::MulIOp::create(b, x, y));
}
Value Emitter::fma(Value x, Value y, Value z) { return math::FmaOp::create(b, x, y, z); }

Value Emitter::reduce(Combine kind, Value vector) {
  Value partial = width == lanes ? Value() : scratch({blockWarps}, getElementTypeOrSelf(vector.getType()));
  name(partial, "partial");
  return ReduceOp::create(b, getElementTypeOrSelf(vector.getType()), CombineAttr::get(b.getContext(), kind), vector,
                          partial);
}

Value Emitter::load(Value memref, ValueRange indices) {
  Type element = cast<MemRefType>(memref.getType()).getElementType();
  Value raw = vector::LoadOp::create(b, VectorType::get({width}, element), memref, indices);
  return element.isF32() ? raw : Value(arith::ExtFOp::create(b, vec(), raw));
}

Value Emitter::loadValid(Value memref, ValueRange indices, int64_t valid) {
  if (valid >= width)
    return load(memref, indices);
  Type element = cast<MemRefType>(memref.getType()).getElementType();
  auto type = VectorType::get({width}, element);
  Value zeros = arith::ConstantOp::create(b, b.getZeroAttr(type));
  Value raw = vector::MaskedLoadOp::create(b, type, memref, indices, mask(valid), zeros);
  return element.isF32() ? raw : Value(arith::ExtFOp::create(b, vec(), raw));
}

void Emitter::store(Value vector, Value memref, ValueRange indices) {
  Type element = cast<MemRefType>(memref.getType()).getElementType();
  if (!element.isF32())
    vector = arith::TruncFOp::create(b, VectorType::get({width}, element), vector);
  vector::StoreOp::create(b, vector, memref, indices);
}

void Emitter::storeValid(Value vector, Value memref, ValueRange indices, int64_t valid) {
  if (valid >= width)
    return store(vector, memref, indices);
  Type element = cast<MemRefType>(memref.getType()).getElementType();
  if (!element.isF32())
    vector = arith::TruncFOp::create(b, VectorType::get({width}, element), vector);
  vector::MaskedStoreOp::create(b, memref, indices, mask(valid), vector);
}

void Emitter::prefetch(Value memref, ValueRange indices, unsigned locality) {
  memref::PrefetchOp::create(b, memref, indices, /*isWrite=*/false, locality, /*isDataCache=*/true);
}

Value Emitter::exp(Value x) { return math::ExpOp::create(b, x); }

Value Emitter::loadScalar(Value memref, ValueRange indices) { return memref::LoadOp::create(b, memref, indices); }
void Emitter::storeScalar(Value value, Value memref, ValueRange indices) {
  memref::StoreOp::create(b, value, memref, indices);
}

void Emitter::columns(int64_t count, llvm::function_ref<void(const Column &)> body) {
  int64_t looped = device && count / width > 1 ? count / width * width : 0;
  if (looped != 0)
    loop(index(0), index(looped), width, [&](Value column) {
      name(column, "column");
      body({column, 0, width});
    });
  for (int64_t j = looped; j < count; j += width)
    body({Value(), j, count - j});
}

void Emitter::once(llvm::function_ref<void()> body) {
  if (!device)
    return body();
  when(compare(arith::CmpIPredicate::eq, LaneIdOp::create(b, b.getIndexType()), index(0)), body);
}

Value Emitter::scratch(ArrayRef<int64_t> shape, Type element) {
  return ScratchOp::create(b, MemRefType::get(shape, element));
}

void Emitter::loop(Value from, Value to, int64_t step, Body body) {
  auto op = scf::ForOp::create(b, from, to, index(step));
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPoint(op.getBody()->getTerminator());
  body(op.getInductionVar());
}

void Emitter::share(Value from, Value to, Body body) {
  if (!device)
    return loop(from, to, 1, body);
  Value first = add(from, GroupIdOp::create(b, b.getIndexType()));
  loop(first, to, blockGroups, body);
}

SmallVector<Value> Emitter::loop(Value from, Value to, int64_t step, ValueRange carried, CarryBody body) {
  auto op = scf::ForOp::create(b, from, to, index(step), carried);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(op.getBody());
  SmallVector<Value> next = body(op.getInductionVar(), op.getRegionIterArgs());
  scf::YieldOp::create(b, next);
  return SmallVector<Value>(op.getResults());
}

void Emitter::when(Value condition, llvm::function_ref<void()> then) {
  auto op = scf::IfOp::create(b, condition, /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(op.thenBlock());
  then();
}

void Emitter::either(Value condition, llvm::function_ref<void()> then, llvm::function_ref<void()> otherwise) {
  auto op = scf::IfOp::create(b, condition, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(op.thenBlock());
  then();
  b.setInsertionPointToStart(op.elseBlock());
  otherwise();
}

Value Emitter::choose(Value condition, llvm::function_ref<Value()> then, llvm::function_ref<Value()> otherwise) {
  auto op = scf::IfOp::create(b, TypeRange{b.getI1Type()}, condition, /*addThenBlock=*/true, /*addElseBlock=*/true);
  OpBuilder::InsertionGuard guard(b);
  for (auto [block, make] : {std::pair(op.thenBlock(), then), std::pair(op.elseBlock(), otherwise)}) {
    b.setInsertionPointToStart(block);
    scf::YieldOp::create(b, make());
  }
  return op.getResult(0);
}

Value Emitter::silu(Value x) { return div(x, add(splat(1.0f), exp(arith::NegFOp::create(b, x)))); }
