//===- Memory.cpp - buffers as bare pointers ---------------------------------===//
#include "passes/kern/Memory.h"

using namespace mlir;
using namespace lathe::kern;

Value Memory::offset(Value base, Value bytes) {
  Value wide = bytes.getType().isIndex() ? Value(arith::IndexCastOp::create(b, b.getI64Type(), bytes)) : bytes;
  return LLVM::GEPOp::create(b, base.getType(), b.getI8Type(), base, LLVM::GEPArg(wide));
}

Value Memory::address(Value base, MemRefType type, ValueRange indices) {
  int64_t stride = type.getElementTypeBitWidth() / 8;
  Value bytes;
  for (int64_t d = type.getRank() - 1; d >= 0; --d) {
    Value term = stride == 1 ? indices[d] : Value(arith::MulIOp::create(b, indices[d], index(stride)));
    bytes = bytes ? Value(arith::AddIOp::create(b, bytes, term)) : term;
    stride *= type.getShape()[d];
  }
  return offset(base, bytes);
}

static unsigned alignmentOf(Type type) { return std::max(1u, getElementTypeOrSelf(type).getIntOrFloatBitWidth() / 8); }

Value Memory::load(Type type, Value address) {
  if (type.isIndex())
    return arith::IndexCastOp::create(b, type, LLVM::LoadOp::create(b, b.getI64Type(), address, 8).getResult());
  unsigned alignment = isa<LLVM::LLVMPointerType>(type) ? 8 : alignmentOf(type);
  return LLVM::LoadOp::create(b, type, address, alignment);
}

Value Memory::load(Type type, Value address, Value mask, Value otherwise) {
  return LLVM::MaskedLoadOp::create(b, type, address, mask, otherwise, alignmentOf(type));
}

void Memory::store(Value value, Value address) {
  LLVM::StoreOp::create(b, value, address, alignmentOf(value.getType()));
}
