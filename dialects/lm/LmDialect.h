//===- LmDialect.h - the dialect of models --------------------------------===//
#pragma once

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "dialects/lm/LmEnums.h.inc"

#include "dialects/lm/LmDialect.h.inc"

#define GET_ATTRDEF_CLASSES
#include "dialects/lm/LmAttributes.h.inc"

#define GET_TYPEDEF_CLASSES
#include "dialects/lm/LmTypes.h.inc"

namespace lathe::lm {

/// What an op may be inside `lm.fused`. `span` is the number of neighbouring columns it needs together: 1 elementwise,
/// a head for rope, 0 a whole row.
struct FusionRole {
  bool anchor = false, prologue = false, epilogue = false;
  int64_t span = 1;
};

} // namespace lathe::lm

#include "dialects/lm/LmInterfaces.h.inc"

#define GET_OP_CLASSES
#include "dialects/lm/LmOps.h.inc"

namespace lathe::lm {

/// Whether elements may be codes: i8 (signed), i6 or i4.
bool isCode(mlir::Type element);
/// Whether a weight may be stored in these floats: f32, bf16 or f16.
bool isStoredFloat(mlir::Type element);
/// The quantisation of a tensor type, null when it has none.
QuantAttr quantOf(mlir::Type type);

/// Inverse frequencies of the pairs of a head of `dim` columns, and the factor that cos and sin are multiplied by (1
/// but for yarn). Formulas: Hugging Face modeling_rope_utils.py, computed in double.
struct RopeFrequencies {
  llvm::SmallVector<double> inverse;
  double attentionFactor = 1.0;
};
RopeFrequencies ropeFrequencies(RopeAttr rope, int64_t dim);

} // namespace lathe::lm
