//===- Emitter.h - short words for building kernel bodies -----------------===//
//
// A thin layer over ImplicitLocOpBuilder in the words of a kernel: vectors of 16 lanes, loops, row chunks. A worker of
// a CPU and a group of 16 threads of a GPU run the same program; what differs between them is said here once: who
// stores a scalar, where threads wait for each other, and which rows are whose.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "dialects/kern/KernDialect.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace lathe::kern {

/// Gives what makes a value a name, which stands in text that people read.
inline void name(mlir::Value value, llvm::StringRef name) {
  if (value)
    value.setLoc(mlir::NameLoc::get(mlir::StringAttr::get(value.getContext(), name), value.getLoc()));
}

class Emitter {
public:
  Emitter(mlir::Location loc, mlir::MLIRContext *context, bool device) : b(loc, context), device(device) {}

  mlir::ImplicitLocOpBuilder b;
  const bool device;     ///< whether the kernel is a GPU's
  int64_t width = lanes; ///< lanes of the vectors that are made; more only where all threads of a block work on one row

  mlir::FloatType f32() { return b.getF32Type(); }
  mlir::VectorType vec() { return mlir::VectorType::get({width}, f32()); }

  /// While it lives, what is made belongs to this op: its location, and with it the model's word and the config's line.
  class At {
  public:
    At(Emitter &e, mlir::Operation *op) : e(e), before(e.b.getLoc()) { e.b.setLoc(op->getLoc()); }
    ~At() { e.b.setLoc(before); }
    At(const At &) = delete;
    At &operator=(const At &) = delete;

  private:
    Emitter &e;
    mlir::Location before;
  };

  /// A vector's place in a row: `offset` columns behind `base`, which is null for 0, and how many of the row's columns
  /// are left there.
  struct Column {
    mlir::Value base;
    int64_t offset = 0, valid = 0;
  };
  mlir::Value at(const Column &column) {
    return !column.base ? index(column.offset) : column.offset ? add(column.base, index(column.offset)) : column.base;
  }
  /// Each vector of a row of `count` columns: written out for a CPU, whose registers they stay in; a loop for a GPU.
  void columns(int64_t count, llvm::function_ref<void(const Column &)> body);

  mlir::Value index(int64_t value);
  mlir::Value constant(float value);
  mlir::Value splat(float value);
  mlir::Value splat(mlir::Value scalar) { return mlir::vector::BroadcastOp::create(b, vec(), scalar); }
  /// lanes [0, count) true.
  mlir::Value mask(int64_t count);

  mlir::Value add(mlir::Value x, mlir::Value y);
  mlir::Value sub(mlir::Value x, mlir::Value y);
  mlir::Value mul(mlir::Value x, mlir::Value y);
  mlir::Value div(mlir::Value x, mlir::Value y) { return mlir::arith::DivFOp::create(b, x, y); }
  mlir::Value fma(mlir::Value x, mlir::Value y, mlir::Value z);
  mlir::Value max(mlir::Value x, mlir::Value y) { return mlir::arith::MaximumFOp::create(b, x, y); }
  /// x > y ? x : y, one instruction; `max` keeps a NaN of either.
  mlir::Value larger(mlir::Value x, mlir::Value y) {
    return select(mlir::arith::CmpFOp::create(b, mlir::arith::CmpFPredicate::OGT, x, y), x, y);
  }
  mlir::Value exp(mlir::Value x);
  mlir::Value minIndex(mlir::Value x, mlir::Value y) { return mlir::arith::MinSIOp::create(b, x, y); }
  mlir::Value compare(mlir::arith::CmpIPredicate predicate, mlir::Value x, mlir::Value y) {
    return mlir::arith::CmpIOp::create(b, predicate, x, y);
  }
  mlir::Value select(mlir::Value condition, mlir::Value x, mlir::Value y) {
    return mlir::arith::SelectOp::create(b, condition, x, y);
  }
  mlir::Value reduce(Combine kind, mlir::Value vector);
  /// 0, 1, … in the lanes, as i32.
  mlir::Value counting();

  /// Threads of a group, or of the block, wait for each other and see what each stored; nothing on a CPU.
  void sync(Scope scope = Scope::group) {
    if (device)
      BarrierOp::create(b, scope);
  }
  /// A column of scratch where each lane keeps a number of its own that is the same in all lanes: it needs no waiting.
  mlir::Value own() { return device ? LaneIdOp::create(b, b.getIndexType()).getResult() : index(0); }
  int64_t ownColumns() const { return device ? lanes : 1; }

  /// 16 floats at an element of a memref of f32 or bf16 (widened exactly).
  mlir::Value load(mlir::Value memref, mlir::ValueRange indices);
  /// The same with lanes from `valid` on zero; what stands there is not touched, and may lie behind the buffer's end.
  mlir::Value loadValid(mlir::Value memref, mlir::ValueRange indices, int64_t valid);
  /// 16 floats to a memref of f32 or bf16 (rounded to nearest even).
  void store(mlir::Value vector, mlir::Value memref, mlir::ValueRange indices);
  /// Only lanes [0, valid).
  void storeValid(mlir::Value vector, mlir::Value memref, mlir::ValueRange indices, int64_t valid);
  /// Asks for the line that holds an element; locality 3: into L1, 2: into L2.
  void prefetch(mlir::Value memref, mlir::ValueRange indices, unsigned locality);
  mlir::Value loadScalar(mlir::Value memref, mlir::ValueRange indices);
  void storeScalar(mlir::Value value, mlir::Value memref, mlir::ValueRange indices);
  /// What stores numbers that are the same in all lanes, once for all of them.
  void once(llvm::function_ref<void()> body);

  mlir::Value scratch(llvm::ArrayRef<int64_t> shape, mlir::Type element);
  mlir::Value batch(Field field, mlir::Value i) { return BatchOp::create(b, b.getIndexType(), field, i); }

  using Body = llvm::function_ref<void(mlir::Value)>;
  void loop(mlir::Value from, mlir::Value to, int64_t step, Body body);
  /// Each of [from, to) by one group of the block; all of them by a CPU's worker.
  void share(mlir::Value from, mlir::Value to, Body body);
  using CarryBody = llvm::function_ref<llvm::SmallVector<mlir::Value>(mlir::Value, mlir::ValueRange)>;
  llvm::SmallVector<mlir::Value> loop(mlir::Value from, mlir::Value to, int64_t step, mlir::ValueRange carried,
                                      CarryBody body);
  void when(mlir::Value condition, llvm::function_ref<void()> then);
  void either(mlir::Value condition, llvm::function_ref<void()> then, llvm::function_ref<void()> otherwise);
  /// A value of either.
  mlir::Value choose(mlir::Value condition, llvm::function_ref<mlir::Value()> then,
                     llvm::function_ref<mlir::Value()> otherwise);

  /// x / (1 + exp(-x)), elementwise.
  mlir::Value silu(mlir::Value x);
};

} // namespace lathe::kern
