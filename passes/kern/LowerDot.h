//===- LowerDot.h - register tiles of a matrix product --------------------===//
#pragma once

#include "passes/kern/DotBuilder.h"

namespace lathe::kern {

/// Replaces a kern.dot by loops over k, one variant for each number of rows. A dot with unpacked codes has one for all
/// numbers from the schedule's amx_rows on; it needs `tileRing`, amxRingBytes of scratch.
void lowerDot(DotOp dot, const TierProducts &tier, ScheduleAttr schedule, DotBuilder::Base base, mlir::Value tileRing);

/// Shapes of the tiles of a dot with unpacked codes: what ldtilecfg reads, 64 bytes.
llvm::SmallVector<uint8_t> amxShapes(DotOp dot);
/// Bytes of scratch for the sums that are on their way from tiles to vectors.
int64_t amxRingBytes(DotOp dot, int64_t columns);
/// A dot with unpacked codes by AMX, for any number of rows.
void buildAmxDot(DotOp dot, mlir::OpBuilder &builder, const TierProducts &tier, int64_t columns, DotBuilder::Base base,
                 mlir::Value tileRing);
/// Replaces a kern.unpack by a loop over the panel's codes.
void lowerUnpack(UnpackOp unpack, const TierProducts &tier, DotBuilder::Base base);
/// Gives the tiles the shapes that stand at `address`, and takes them away again.
void configureTiles(Memory &m, llvm::ArrayRef<uint8_t> shapes, mlir::Value address);
void releaseTiles(Memory &m);

/// sum + the products of unsigned by signed bytes in fours, by vpdpbusd: vectors of 16 i32 and 64 i8.
mlir::Value vpdpbusd(mlir::ImplicitLocOpBuilder &b, ByteDot byteDot, mlir::Value sum, mlir::Value unsignedBytes,
                     mlir::Value signedBytes);

/// A unit's exact sums by the panel's 32 columns for one row, as vectors of i32, where `m` builds.
using UnitSums = llvm::function_ref<llvm::SmallVector<mlir::Value>(Memory &m, mlir::Value unit)>;

/// Adds one group of the weight, `count` elements of which are the row's, to row `slot` of a coded dot's result, as the
/// loops of `lowerDot` would, but the exact sums are given.
void addGroup(DotOp dot, mlir::OpBuilder &builder, const TierProducts &tier, mlir::Value slot, mlir::Value group,
              int64_t count, UnitSums sums, DotBuilder::Base base);

/// Replaces a kern.dot with a library by calls of `library` (a LatheLibrary), `allocate` gives so many bytes of
/// scratch.
void lowerLibraryDot(DotOp dot, const TierProducts &tier, mlir::Value library,
                     llvm::function_ref<mlir::Value(int64_t)> allocate, DotBuilder::Base base);

/// Replaces a kern.byte_dot by the tier's instructions.
void lowerByteDot(ByteDotOp dot, ByteDot byteDot);

} // namespace lathe::kern
