//===- ConvertKernToVector.cpp - kernels as vector code over bare pointers ---===//
//
//   func.func @k(%x: memref<?x576xf32>, …)      ->   func.func @k(%buffers: !llvm.ptr, %step: !llvm.ptr, %u0: i64, …,
//   %scratch: !llvm.ptr) %v = vector.load %x[%r, %c]                 ->   %v = llvm.load (x + (r * 576 + c) * 4) %p =
//   kern.batch row_position[%r]            ->   %p = llvm.load (step->rowPosition + r * 4) kern.dot …, kern.reduce … ->
//   loops and trees of vector operations
//
// The signature is KernelFn of runtime/Abi.h.
//
//===----------------------------------------------------------------------===//
#include "passes/kern/ExpandExp.h"
#include "passes/kern/KernPasses.h"
#include "passes/kern/LowerDot.h"

#include "runtime/Abi.h"
#include "runtime/TierName.h"

#include "mlir/Dialect/Arith/Transforms/Passes.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

#include <cstddef>

namespace lathe::kern {
#define GEN_PASS_DEF_CONVERTKERNTOVECTOR
#include "passes/kern/KernPasses.h.inc"
} // namespace lathe::kern

#define DEBUG_TYPE "convert-kern-to-vector"

using namespace mlir;
using namespace lathe;
using namespace lathe::kern;

namespace {

class KernelLowering {
public:
  KernelLowering(func::FuncOp kernel, const TierProducts &products)
      : kernel(kernel), products(products), pointer(LLVM::LLVMPointerType::get(kernel.getContext())) {}

  LogicalResult run();

private:
  LogicalResult check();
  LogicalResult checkTiles();
  /// Tiles get their shapes where the kernel begins, in calls of enough rows, and are released where it ends.
  void setUpTiles(Memory &m);
  void lower(Operation *op);
  ScheduleAttr schedule() { return kernel->getAttrOfType<ScheduleAttr>(scheduleAttr); }
  Value base(Value memref) { return pointers.lookup(memref); }
  Value address(Memory &m, Value memref, ValueRange indices) {
    return m.address(base(memref), cast<MemRefType>(memref.getType()), indices);
  }
  Value reduce(Memory &m, ReduceOp op);
  /// The next bytes of scratch.
  Value allocate(Memory &m, int64_t bytes) {
    int64_t at = scratchBytes;
    scratchBytes = roundUp(scratchBytes + bytes, 64);
    return m.offset(scratch, m.index(at));
  }
  /// Element `i` of an int32 array that the step points to.
  Value element(Memory &m, size_t field, Value i);

  func::FuncOp kernel;
  const TierProducts &products;
  DotOp tileDot; ///< one of those with unpacked codes
  Value tileRing;
  Type pointer;
  Value buffers, step, range[4], scratch, prepared;
  int64_t scratchBytes = 0;
  llvm::DenseMap<Value, Value> pointers;
};

} // namespace

Value KernelLowering::element(Memory &m, size_t field, Value i) {
  Value array = m.load(pointer, m.offset(step, m.index(field)));
  Value at = m.offset(array, arith::MulIOp::create(m.b, i, m.index(4)));
  return arith::IndexCastOp::create(m.b, m.b.getIndexType(), m.load(m.b.getI32Type(), at));
}

Value KernelLowering::reduce(Memory &m, ReduceOp op) {
  Value value = op.getInput();
  bool isFloat = isa<FloatType>(op.getResult().getType());
  auto combine = [&](Value x, Value y) -> Value {
    if (op.getKind() == Combine::add)
      return isFloat ? Value(arith::AddFOp::create(m.b, x, y)) : Value(arith::AddIOp::create(m.b, x, y));
    return isFloat ? Value(arith::MaximumFOp::create(m.b, x, y)) : Value(arith::MaxSIOp::create(m.b, x, y));
  };
  for (int64_t size = cast<VectorType>(value.getType()).getDimSize(0) / 2; size >= 1; size /= 2) {
    Value low = vector::ExtractStridedSliceOp::create(m.b, value, int64_t(0), size, int64_t(1));
    Value high = vector::ExtractStridedSliceOp::create(m.b, value, size, size, int64_t(1));
    value = combine(low, high);
  }
  return vector::ExtractOp::create(m.b, value, int64_t(0));
}

void KernelLowering::lower(Operation *op) {
  OpBuilder builder(op);
  Memory m(builder, op->getLoc());
  auto replace = [&](Value value) {
    op->getResult(0).replaceAllUsesWith(value);
    op->erase();
  };
  if (auto load = dyn_cast<vector::LoadOp>(op))
    return replace(m.load(load.getType(), address(m, load.getBase(), load.getIndices())));
  if (auto load = dyn_cast<memref::LoadOp>(op))
    return replace(m.load(load.getType(), address(m, load.getMemRef(), load.getIndices())));
  if (auto store = dyn_cast<vector::StoreOp>(op)) {
    m.store(store.getValueToStore(), address(m, store.getBase(), store.getIndices()));
    return op->erase();
  }
  if (auto store = dyn_cast<memref::StoreOp>(op)) {
    m.store(store.getValueToStore(), address(m, store.getMemRef(), store.getIndices()));
    return op->erase();
  }
  if (auto load = dyn_cast<vector::MaskedLoadOp>(op))
    return replace(
        m.load(load.getType(), address(m, load.getBase(), load.getIndices()), load.getMask(), load.getPassThru()));
  if (auto store = dyn_cast<vector::MaskedStoreOp>(op)) {
    LLVM::MaskedStoreOp::create(m.b, store.getValueToStore(), address(m, store.getBase(), store.getIndices()),
                                store.getMask(), 4);
    return op->erase();
  }
  if (auto allocation = dyn_cast<ScratchOp>(op)) {
    auto type = cast<MemRefType>(allocation.getResult().getType());
    pointers[allocation.getResult()] = allocate(m, type.getNumElements() * type.getElementTypeBitWidth() / 8);
    return;
  }
  if (auto id = dyn_cast<ProgramIdOp>(op)) {
    for (int i = 0; i < 4; ++i)
      id.getResult(i).replaceAllUsesWith(arith::IndexCastOp::create(m.b, m.b.getIndexType(), range[i]));
    return op->erase();
  }
  if (auto known = dyn_cast<PreparedOp>(op)) {
    Value zero = arith::ConstantOp::create(m.b, m.b.getI64IntegerAttr(0));
    return replace(arith::CmpIOp::create(m.b, arith::CmpIPredicate::ne, prepared, zero));
  }
  if (auto batch = dyn_cast<BatchOp>(op)) {
    size_t field = 0;
    switch (batch.getField()) {
    case Field::token_ids:
      field = offsetof(LatheStep, tokenIds);
      break;
    case Field::row_sequence:
      field = offsetof(LatheStep, rowSequence);
      break;
    case Field::row_position:
      field = offsetof(LatheStep, rowPosition);
      break;
    case Field::logit_row:
      field = offsetof(LatheStep, logitRow);
      break;
    case Field::item_row:
      field = offsetof(LatheStep, itemRow);
      break;
    case Field::item_end:
      field = offsetof(LatheStep, itemEnd);
      break;
    case Field::item_chunk:
      field = offsetof(LatheStep, itemChunk);
      break;
    case Field::item_chunk_end:
      field = offsetof(LatheStep, itemChunkEnd);
      break;
    case Field::item_count:
      field = offsetof(LatheStep, itemCount);
      break;
    case Field::item_counter:
      field = offsetof(LatheStep, itemCounter);
      break;
    case Field::item_record:
      field = offsetof(LatheStep, itemRecord);
      break;
    }
    return replace(element(m, field, batch.getIndex()));
  }
  if (auto gather = dyn_cast<GatherPagesOp>(op)) {
    Value stride = m.load(m.b.getIndexType(), m.offset(step, m.index(offsetof(LatheStep, pageStride))));
    Value at = arith::AddIOp::create(m.b, arith::MulIOp::create(m.b, gather.getSequence(), stride).getResult(),
                                     gather.getLogical());
    return replace(element(m, offsetof(LatheStep, pageTable), at));
  }
  if (auto prefetch = dyn_cast<memref::PrefetchOp>(op)) {
    LLVM::Prefetch::create(m.b, address(m, prefetch.getMemref(), prefetch.getIndices()), 0, prefetch.getLocalityHint(),
                           1);
    return op->erase();
  }
  if (auto arrive = dyn_cast<ArriveOp>(op)) {
    Value counters = m.load(pointer, m.offset(step, m.index(offsetof(LatheStep, counters))));
    Value counter = m.offset(counters, arith::MulIOp::create(m.b, arrive.getCounter(), m.index(4)));
    Type i32 = m.b.getI32Type();
    Value one = arith::ConstantOp::create(m.b, m.b.getI32IntegerAttr(1));
    Value before = LLVM::AtomicRMWOp::create(m.b, LLVM::AtomicBinOp::add, counter, one, LLVM::AtomicOrdering::acq_rel);
    Value arrived = arith::AddIOp::create(m.b, before, one);
    Value last = arith::CmpIOp::create(m.b, arith::CmpIPredicate::eq, arrived,
                                       arith::IndexCastOp::create(m.b, i32, arrive.getCount()).getResult());
    // Nobody else touches the counter before the next launch, so a plain store will do.
    auto reset = scf::IfOp::create(m.b, last, /*withElseRegion=*/false);
    OpBuilder::InsertionGuard guard(m.b);
    m.b.setInsertionPointToStart(reset.thenBlock());
    m.store(arith::ConstantOp::create(m.b, m.b.getI32IntegerAttr(0)), counter);
    return replace(last);
  }
  if (auto reduction = dyn_cast<ReduceOp>(op))
    return replace(reduce(m, reduction));
  if (auto dot = dyn_cast<ByteDotOp>(op))
    return lowerByteDot(dot, products.byteDot);
  if (auto unpack = dyn_cast<UnpackOp>(op))
    return lowerUnpack(unpack, products, [&](Value memref) { return base(memref); });
  if (auto dot = dyn_cast<DotOp>(op)) {
    auto base = [&](Value memref) { return this->base(memref); };
    if (dot.getLibrary())
      return lowerLibraryDot(
          dot, products, m.load(pointer, m.offset(step, m.index(offsetof(LatheStep, library)))),
          [&](int64_t bytes) { return allocate(m, bytes); }, base);
    return lowerDot(dot, products, schedule(), base, tileRing);
  }
}

/// What the lowering relies on and an edited kernel may break.
LogicalResult KernelLowering::check() {
  if (!kernel.getBody().hasOneBlock() || !schedule())
    return kernel.emitOpError() << "expected a kernel of one block with a " << scheduleAttr;
  for (Type type : kernel.getArgumentTypes())
    if (auto buffer = dyn_cast<MemRefType>(type); !buffer || !isBare(buffer))
      return kernel.emitOpError() << "expected bare buffers, found " << type;
  auto walked = kernel.walk([&](Operation *op) {
    if (auto dot = dyn_cast<DotOp>(op);
        dot && !products.bf16 && cast<MemRefType>(dot.getInput()[0].getType()).getElementType().isBF16()) {
      op->emitOpError() << "expected a tier with +bf16 for activations in bf16, found '" << products.tier << "'";
      return WalkResult::interrupt();
    }
    bool moves = isa<vector::LoadOp, vector::StoreOp, vector::MaskedLoadOp, vector::MaskedStoreOp, memref::LoadOp,
                     memref::StoreOp, memref::PrefetchOp, ScratchOp, UnpackOp, DotOp>(op);
    bool known = moves || isa<ProgramIdOp, PreparedOp, BatchOp, GatherPagesOp, ArriveOp, ByteDotOp, ReduceOp>(op) ||
                 !isa_and_nonnull<KernDialect, memref::MemRefDialect>(op->getDialect());
    if (known && (moves || llvm::none_of(op->getOperandTypes(), llvm::IsaPred<MemRefType>)))
      return WalkResult::advance();
    op->emitOpError() << "expected only loads, stores, prefetches, kern.unpack and kern.dot on a kernel's buffers";
    return WalkResult::interrupt();
  });
  return failure(walked.wasInterrupted());
}

LogicalResult KernelLowering::checkTiles() {
  auto walked = kernel.walk([&](DotOp dot) {
    if (!dot.getUnpacked())
      return WalkResult::advance();
    if (!products.tiles)
      dot.emitOpError() << "expected no unpacked codes: tier " << products.tier << " has no tiles";
    else if (schedule().getAmxRows() < 1 || schedule().getAmxRows() > int64_t(dot.getMaxCount()))
      dot.emitOpError() << "expected a schedule whose amx_rows are from 1 to the product's " << dot.getMaxCount()
                        << " rows, found " << schedule();
    else if (tileDot && amxShapes(tileDot) != amxShapes(dot))
      dot.emitOpError() << "expected all products of a kernel to have tiles of one shape";
    else {
      tileDot = dot;
      return WalkResult::advance();
    }
    return WalkResult::interrupt();
  });
  return failure(walked.wasInterrupted());
}

void KernelLowering::setUpTiles(Memory &m) {
  if (!tileDot)
    return;
  SmallVector<uint8_t> shapes = amxShapes(tileDot);
  Value shapesAt = allocate(m, static_cast<int64_t>(shapes.size()));
  tileRing = allocate(m, amxRingBytes(tileDot, schedule().getColumns()));
  Value units = arith::SubIOp::create(m.b, range[1], range[0]);
  Value least = arith::ConstantOp::create(m.b, m.b.getI64IntegerAttr(schedule().getAmxRows()));
  Value enough = arith::CmpIOp::create(m.b, arith::CmpIPredicate::sge, units, least);
  auto inside = [&](Operation *before, llvm::function_ref<void(Memory &)> body) {
    OpBuilder at(before);
    auto when = scf::IfOp::create(at, kernel.getLoc(), enough, /*withElseRegion=*/false);
    OpBuilder in = when.getThenBodyBuilder();
    Memory memory(in, kernel.getLoc());
    body(memory);
  };
  inside(&*m.b.getInsertionPoint(), [&](Memory &in) { configureTiles(in, shapes, shapesAt); });
  inside(kernel.getBody().front().getTerminator(), [](Memory &in) { releaseTiles(in); });
}

LogicalResult KernelLowering::run() {
  if (failed(check()) || failed(checkTiles()))
    return failure();
  Block &entry = kernel.getBody().front();
  OpBuilder b(kernel.getContext());
  Location loc = kernel.getLoc();
  unsigned old = entry.getNumArguments();
  Type i64 = b.getI64Type();
  buffers = entry.addArgument(pointer, loc);
  step = entry.addArgument(pointer, loc);
  for (Value &value : range)
    value = entry.addArgument(i64, loc);
  scratch = entry.addArgument(pointer, loc);
  prepared = entry.addArgument(i64, loc);

  b.setInsertionPointToStart(&entry);
  Memory m(b, loc);
  for (unsigned i = 0; i < old; ++i)
    pointers[entry.getArgument(i)] = m.load(pointer, m.offset(buffers, m.index(8 * i)));
  setUpTiles(m);

  SmallVector<Operation *> ops;
  kernel.walk<WalkOrder::PreOrder>([&](Operation *op) {
    if (isa_and_nonnull<KernDialect, memref::MemRefDialect>(op->getDialect()) ||
        isa<vector::LoadOp, vector::StoreOp, vector::MaskedLoadOp, vector::MaskedStoreOp>(op))
      ops.push_back(op);
  });
  for (Operation *op : ops)
    lower(op);
  kernel.walk([&](ScratchOp op) { op.erase(); });
  entry.eraseArguments(0, old);
  kernel.setFunctionType(b.getFunctionType(entry.getArgumentTypes(), {}));
  kernel->setAttr(scratchBytesAttr, b.getI64IntegerAttr(scratchBytes));
  return success();
}

namespace {

struct ConvertKernToVector : kern::impl::ConvertKernToVectorBase<ConvertKernToVector> {
  using Base::Base;

  void runOnOperation() override {
    auto tier = getOperation()->getAttrOfType<StringAttr>(tierAttr);
    if (!tier) {
      getOperation().emitError() << "expected a tier's module of kernels (attribute " << tierAttr << ")";
      return signalPassFailure();
    }
    auto products = findTierProducts(tier.getValue());
    if (!products) {
      getOperation().emitError() << "expected tier " << tierNames() << ", found '" << tier.getValue() << "'";
      return signalPassFailure();
    }
    for (auto kernel : getOperation().getOps<func::FuncOp>())
      if (failed(KernelLowering(kernel, *products).run()))
        return signalPassFailure();

    // exp as a polynomial of vectors (LLVM would call libm a lane), bf16 as integer operations (it would call a
    // library).
    RewritePatternSet patterns(&getContext());
    populateExpandExpPattern(patterns);
    arith::populateExpandBFloat16Patterns(patterns);
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      return signalPassFailure();
  }
};

} // namespace
