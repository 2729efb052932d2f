//===- DotBuilder.h - what all products with a packed weight share --------===//
#pragma once

#include "passes/kern/Memory.h"
#include "passes/kern/TierProducts.h"

namespace lathe::kern {

/// Pieces of loops over a panel of a packed weight: its codes, scales and minima. `base` gives the pointer behind a
/// memref.
class DotBuilder {
public:
  using Base = llvm::function_ref<mlir::Value(mlir::Value)>;

protected:
  DotBuilder(mlir::OpBuilder &builder, DotOp dot, const TierProducts &tier, Base base)
      : m(builder, dot.getLoc()), b(m.b), tier(tier), base(base), coding(dot.getCoding()),
        inputGroup(dot.getInputGroup()), input(dot.getInput()), weight(dot.getWeight()), row(dot.getRow()),
        panel(dot.getPanel()), ahead(dot.getAhead()) {}
  DotBuilder(mlir::OpBuilder &builder, UnpackOp unpack, const TierProducts &tier, Base base)
      : m(builder, unpack.getLoc()), b(m.b), tier(tier), base(base), coding(unpack.getCoding()),
        inputGroup(unpack.getInputGroup()), weight(unpack.getWeight()), panel(unpack.getPanel()) {}

  mlir::VectorType vec(mlir::Type element, int64_t count = lanes) { return mlir::VectorType::get({count}, element); }
  mlir::Value at(mlir::Value memref, mlir::ValueRange indices) {
    return m.address(base(memref), mlir::cast<mlir::MemRefType>(memref.getType()), indices);
  }
  mlir::Value add(mlir::Value x, int64_t y) {
    return y == 0 ? x : mlir::Value(mlir::arith::AddIOp::create(b, x, m.index(y)));
  }
  mlir::Value add(mlir::Value x, mlir::Value y) { return mlir::arith::AddIOp::create(b, x, y); }
  mlir::Value splat(mlir::Value scalar) { return mlir::vector::BroadcastOp::create(b, vec(scalar.getType()), scalar); }
  mlir::Value zeros() {
    return mlir::arith::ConstantOp::create(b, mlir::DenseElementsAttr::get(vec(b.getF32Type()), 0.0f));
  }
  llvm::SmallVector<mlir::Value>
  loop(mlir::Value from, mlir::Value to, mlir::ValueRange carried,
       llvm::function_ref<llvm::SmallVector<mlir::Value>(mlir::Value, mlir::ValueRange)> body);

  /// A load of codes or of an uncoded weight, and the hint of what will be loaded a while later.
  mlir::Value stream(mlir::VectorType type, mlir::Value address);
  /// Elements along k whose sum is made in integers.
  int64_t unit() { return std::min<int64_t>(coding->getGroup(), *inputGroup); }
  /// An array of the weight; its place among the operands follows from the coding.
  mlir::Value part(Part wanted);
  /// Element `column` of row i of an input array.
  mlir::Value inputAt(size_t array, int64_t i, mlir::Value column) { return at(input[array], {add(row, i), column}); }
  /// The scale of row i in unit u, in all lanes.
  mlir::Value inputScale(int64_t i, mlir::Value u);
  /// Adds the minima of group g times the sum of the input to what row i has in some vectors of columns.
  void addMinima(llvm::MutableArrayRef<mlir::Value> sums, llvm::ArrayRef<mlir::Value> minima, int64_t i, mlir::Value g);
  /// groupFactor of each of some vectors from column `first` on.
  llvm::SmallVector<mlir::Value> factors(Part whole, Part sub, mlir::Value g, int64_t first, int64_t vectors);
  /// 16 scales or minima of group g, in f32, from column `lane` on.
  mlir::Value groupFactor(Part whole, Part sub, mlir::Value g, int64_t lane);
  /// Elements along k that a load of a matrix of floats covers.
  int64_t stepElements() { return valuesSpan(mlir::cast<mlir::MemRefType>(weight[0].getType()).getElementType()); }
  /// 16 columns of such a load in f32, from column `lane` on: one vector for each element along k.
  llvm::SmallVector<mlir::Value> values(mlir::Value step, int64_t lane);
  /// The operands that load number `step` of a unit's codes gives: 16 columns, four elements along k each.
  llvm::SmallVector<mlir::Value> quads(mlir::Value u, mlir::Value step, int64_t lane);
  mlir::Value call(llvm::StringRef name, mlir::Type result, mlir::ValueRange operands) {
    return mlir::LLVM::CallIntrinsicOp::create(b, result, b.getStringAttr(name), operands).getResults();
  }

  Memory m;
  mlir::ImplicitLocOpBuilder &b;
  const TierProducts &tier;
  Base base;
  std::optional<CodingAttr> coding;
  std::optional<int64_t> inputGroup; ///< elements along k that share a scale in the input
  mlir::ValueRange input, weight;
  mlir::Value row, panel;
  mlir::Value ahead; ///< bytes from what is loaded to what will be wanted soon; null: nothing is said
};

} // namespace lathe::kern
