//===- Reference.h - evaluates lm IR: the oracle of every test ------------===//
//
// Runs any module of lm, func and arith.addf/subf/mulf/divf on f32 tensors: before fusion, with lm.fused regions, after
// outlining, quantised or not. T is the arithmetic: double to ask what is right, float to ask what f32 can give. Plain
// loops on one thread; what an op means stands in ReferenceOps.cpp.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/ReferenceTensor.h"
#include "compiler/Weights.h"

#include "mlir/IR/BuiltinOps.h"

namespace lathe {

template <typename T> class Reference {
public:
  using Tensor = ReferenceTensor<T>;
  using Value = ReferenceValue<T>;

  /// The module must be verified and outlive this. Weights are read as they are used and dropped after their last use.
  Reference(mlir::ModuleOp module, std::shared_ptr<const WeightSource> weights)
      : module(module), weights(std::move(weights)) {}

  /// Runs @step on the batch and keeps the KV values it returns for the next call: logits [wanted, vocab], row-major.
  /// After an error the KV values are those before the call.
  Result<std::vector<float>> step(const ReferenceBatch &batch);

  /// Runs one function. Arguments must have the types of its signature (any number of rows where it says `?`).
  Result<std::vector<Value>> call(llvm::StringRef function, std::vector<Value> arguments) const;

  /// An empty KV value of an `!lm.kv` type.
  static Value emptyKv(mlir::Type type);

private:
  mlir::ModuleOp module;
  std::shared_ptr<const WeightSource> weights;
  std::vector<Value> state; ///< the KV values, in the order of @step's arguments
};

extern template class Reference<float>;
extern template class Reference<double>;

} // namespace lathe
