//===- CudaExpressions.h - values in the text of a kernel -------------------===//
//
// How a value is written where it is used: by its name, or as the expression that it is where it may stand inline.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/CudaNames.h"

#include "mlir/IR/BuiltinAttributeInterfaces.h"

#include <optional>
#include <string>

namespace lathe {

class CudaExpressions {
public:
  /// How strongly an expression holds together: what stands inside a stronger one gets parentheses.
  enum Strength { weakest, choice, both, comparison, sum, product, atom };
  struct Expression {
    std::string text;
    Strength strength = atom;
  };

  explicit CudaExpressions(mlir::func::FuncOp kernel) : kernel(kernel), names(kernel) {}

  /// A value where it is used.
  std::string use(mlir::Value value, Strength around = weakest);
  /// The same, of an element the number: one that is assigned to another stays what it is, and the host's are objects
  /// of several types.
  std::string stored(mlir::Value value);
  std::string typeOf(mlir::Type type);
  /// An element of memory, or with a vector's type the thread's lane of it, along `dim`.
  std::string element(mlir::Value memref, mlir::ValueRange indices, mlir::Type vector = {});
  std::string elementAlong(mlir::Value memref, mlir::ValueRange indices, int64_t dim, int64_t stride,
                           mlir::Type vector);
  /// `lane` places behind an index.
  std::string offset(mlir::Value index, const std::string &lane);
  static std::string lanesOf(mlir::Type vector);
  static bool isRead(mlir::Operation &op);

  /// What an op with one result computes; nothing where it is no expression.
  std::optional<Expression> expression(mlir::Operation &op);
  /// Whether a value may stand where it is used instead of having a name: it is used once, in its own block, and what
  /// it reads cannot have changed.
  bool standsInline(mlir::Operation &op);
  /// Writes `expression` wherever the value is used.
  void keep(mlir::Value value, Expression expression) { inlined[value] = std::move(expression); }

protected:
  void wrong(const std::string &what); ///< the first mistake is kept

  mlir::func::FuncOp kernel;
  CudaNames names;
  std::string problem;

private:
  std::string constant(mlir::TypedAttr value);
  Expression binary(mlir::Operation &op, const char *sign, Strength strength);
  Expression call(const std::string &function, mlir::ValueRange operands);
  bool readsLater(mlir::Operation &load);
  bool reducesInPlace(mlir::Operation &reduce);

  llvm::DenseMap<mlir::Value, Expression> inlined;
};

} // namespace lathe
