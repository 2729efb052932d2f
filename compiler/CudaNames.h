//===- CudaNames.h - what the values of a kernel are called ---------------===//
#pragma once

#include "mlir/IR/Value.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringMap.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

#include <string>

namespace lathe {

/// Names for values: the model's words where a location has one, else a word for what the op does; counted on where one
/// is taken.
class CudaNames {
public:
  explicit CudaNames(mlir::func::FuncOp kernel);

  const std::string &of(mlir::Value value);
  /// The value's own word, or `word` where it has none.
  const std::string &take(mlir::Value value, llvm::StringRef word);
  /// `word`, whatever the value's own word is.
  const std::string &call(mlir::Value value, llvm::StringRef word);
  /// `value` is called like `other`.
  void same(mlir::Value value, mlir::Value other) { names[value] = of(other); }

  /// A name that nothing has, and takes it.
  std::string unused(llvm::StringRef word);

private:
  llvm::DenseMap<mlir::Value, std::string> names;
  llvm::StringMap<int64_t> taken; ///< and how often
};

} // namespace lathe
