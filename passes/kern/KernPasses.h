//===- KernPasses.h - from fused lm to kernels to LLVM ---------------------===//
#pragma once

#include "dialects/kern/KernDialect.h"
#include "dialects/lm/LmDialect.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Pass/Pass.h"

namespace lathe {
struct ScheduleKey;
class ScheduleTable;
} // namespace lathe

namespace lathe::kern {

inline constexpr llvm::StringLiteral schedulesAttr = "kern.schedules";
/// Module attribute of a tier's module of kernels.
inline constexpr llvm::StringLiteral tierAttr = "kern.tier";
/// Function attribute of a lowered kernel: bytes of private memory.
inline constexpr llvm::StringLiteral scratchBytesAttr = "kern.scratch_bytes";
/// Rows of one attention block on CPUs: enough queries to reuse a page's keys from L1, few enough that a chunk gives
/// every worker several.
inline constexpr int64_t attentionRows = 16;

#define GEN_PASS_DECL
#include "passes/kern/KernPasses.h.inc"
#define GEN_PASS_REGISTRATION
#include "passes/kern/KernPasses.h.inc"

/// Whether a GPU's kernel stores to this buffer.
bool isStoredTo(mlir::Value buffer);

/// What a kernel's schedule is looked up by.
ScheduleKey scheduleKeyOf(lm::FusedOp fused, llvm::StringRef tier);
/// The pass with a table that has been read already.
std::unique_ptr<mlir::Pass> createKernSelectSchedule(const KernSelectScheduleOptions &options,
                                                     const ScheduleTable &table);

} // namespace lathe::kern
