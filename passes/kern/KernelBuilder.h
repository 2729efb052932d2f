//===- KernelBuilder.h - bodies of kernels --------------------------------===//
#pragma once

#include "passes/kern/Emitter.h"
#include "passes/kern/KernelArguments.h"

namespace lathe::kern {

/// Builds the kernel of `signature` under `schedule` at the end of `module`, named like the lm function, for many rows
/// with "_many" behind it.
mlir::FailureOr<mlir::func::FuncOp> buildKernel(mlir::ModuleOp module, const KernelSignature &signature,
                                                ScheduleAttr schedule);

/// What the builders of the kernel kinds share.
struct KernelContext {
  const KernelSignature &signature;
  ScheduleAttr schedule;
  mlir::func::FuncOp kernel;
  Emitter e;

  KernelContext(const KernelSignature &signature, ScheduleAttr schedule, mlir::func::FuncOp kernel)
      : signature(signature), schedule(schedule), kernel(kernel),
        e(signature.anchor->getLoc(), kernel.getContext(), signature.device) {}

  /// Whether products with a weight of this coding, which may be null, are made in AMX tiles where there are rows for
  /// it.
  bool usesAmx(CodingAttr coding) const {
    int64_t least = schedule.getAmxRows();
    return coding && coding.isSignedByte() && least != 0 && least <= schedule.getRows();
  }
  /// GPU, many rows: column tiles of a block, as many as the schedule has columns for.
  int64_t gemmTiles() const {
    int64_t columns = signature.panelsPerTile * panelWidth;
    return std::clamp<int64_t>(schedule.getColumns() / columns, 1, signature.tiles);
  }
  /// The kernel's buffer for an argument of the lm function; null (and an error at `op`) when there is none.
  mlir::Value buffer(Argument::Kind kind, mlir::Value lmValue, Part part = Part::values);
  /// GPU: the arrays of a matrix, its values or its codes and scales, which kern.block_dot takes.
  llvm::SmallVector<mlir::Value> weight(mlir::Value lmValue);
  mlir::Value ropeTable(lm::RopeOp rope, Part part);
  mlir::Value output(int64_t result);
  /// Where split attention puts its partial results.
  mlir::Value partials();
};

mlir::LogicalResult buildLinear(KernelContext &context);
mlir::LogicalResult buildAttention(KernelContext &context);
mlir::LogicalResult buildEmbed(KernelContext &context);
// The same for a block of a GPU.
mlir::LogicalResult buildBlockLinear(KernelContext &context);
mlir::LogicalResult buildBlockGemm(KernelContext &context); ///< under a schedule for many rows
mlir::LogicalResult buildBlockAttention(KernelContext &context);
mlir::LogicalResult buildBlockEmbed(KernelContext &context);

} // namespace lathe::kern
