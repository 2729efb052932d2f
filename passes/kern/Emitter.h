//===- Emitter.h - short words for building kernel bodies -----------------===//
//
// A thin layer over ImplicitLocOpBuilder in the words of a CPU kernel: 16-lane vectors, loops, row chunks.
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

class Emitter {
public:
  Emitter(mlir::Location loc, mlir::MLIRContext *context) : b(loc, context) {}

  mlir::ImplicitLocOpBuilder b;

  mlir::FloatType f32() { return b.getF32Type(); }
  mlir::VectorType vec() { return mlir::VectorType::get({lanes}, f32()); }

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

  mlir::Value scratch(llvm::ArrayRef<int64_t> shape, mlir::Type element);
  mlir::Value batch(Field field, mlir::Value i) { return BatchOp::create(b, b.getIndexType(), field, i); }

  using Body = llvm::function_ref<void(mlir::Value)>;
  void loop(mlir::Value from, mlir::Value to, int64_t step, Body body);
  using CarryBody = llvm::function_ref<llvm::SmallVector<mlir::Value>(mlir::Value, mlir::ValueRange)>;
  llvm::SmallVector<mlir::Value> loop(mlir::Value from, mlir::Value to, int64_t step, mlir::ValueRange carried,
                                      CarryBody body);
  void when(mlir::Value condition, llvm::function_ref<void()> then);
  void either(mlir::Value condition, llvm::function_ref<void()> then, llvm::function_ref<void()> otherwise);

  /// x / (1 + exp(-x)), elementwise.
  mlir::Value silu(mlir::Value x);
};

} // namespace lathe::kern
