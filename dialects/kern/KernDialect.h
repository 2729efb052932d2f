//===- KernDialect.h - the dialect of kernels -----------------------------===//
#pragma once

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/FunctionInterfaces.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "dialects/kern/KernEnums.h.inc"

#include "dialects/kern/KernDialect.h.inc"

#define GET_ATTRDEF_CLASSES
#include "dialects/kern/KernAttributes.h.inc"

#define GET_OP_CLASSES
#include "dialects/kern/KernOps.h.inc"

namespace lathe::kern {

/// Columns of a packed panel, and lanes of a vector. They are the same for all ISA tiers, since the packed weights are.
inline constexpr int64_t panelWidth = 32;
inline constexpr int64_t lanes = 16;

/// Positions that share one row of the high rope table: angle(p) = high[p / ropeSpan] + low[p % ropeSpan].
inline constexpr int64_t ropeSpan = 256;

/// Positions of one chunk of attention, counted from position 0: the unit of the online softmax, and of splitting.
inline constexpr int64_t chunkTokens = 256;

/// Elements along k that f32 products sum in one chain; the sums of these spans are added in order.
inline constexpr int64_t sumSpan = 256;

/// The one library that a schedule may leave products to, and the most rows of a call.
inline constexpr llvm::StringLiteral onednn = "onednn";
inline constexpr int64_t libraryRowsMost = 4096;

/// int8 keys: the quads of a position behind its codes. The first holds the f32 scale of the key, the second that of
/// the value.
inline constexpr int64_t scaleQuads = 2;
/// GPU: bytes of a position behind the codes of its head's key, the same two scales.
inline constexpr int64_t scaleBytes = 8;

/// Rows of an AMX tile, and the bytes of one of them.
inline constexpr int64_t amxTileRows = 16, amxTileBytes = 64;

/// GPU: threads of a block, output features of a panel, and bytes along k of one feature in a block of it. A group of
/// `lanes` threads holds a vector.
inline constexpr int64_t blockThreads = 256, devicePanel = 8, deviceBlockBytes = 64;
inline constexpr int64_t blockGroups = blockThreads / lanes, blockWarps = blockThreads / 32;
/// GPU: products take so many rows at a time; of bf16, k is summed in so many spans, each of them a warp's up to so
/// many rows (runtime/device/dot.cuh).
inline constexpr int64_t deviceTileRows = 8, deviceSpans = 8, deviceSpanRows = 16;
/// GPU: products of many rows take k by parts of so many columns of bf16, and so many stages of them; a block makes so
/// many columns at most (runtime/device/gemm.cuh). Bytes of shared memory that all architectures have for a block, less
/// what is not the product's.
inline constexpr int64_t gemmPart = 32, gemmStages = 2, gemmColumnsMost = 256, gemmSharedBytes = 90 << 10;
/// Where its sums are.
inline constexpr llvm::StringLiteral registerSpace = "registers";
/// The target of schedules, and the name of the module of kernels, for NVIDIA GPUs.
inline constexpr llvm::StringLiteral cudaTarget = "cuda";

inline int64_t ceilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t roundUp(int64_t a, int64_t b) { return ceilDiv(a, b) * b; }

/// Memory that a kernel addresses by its type alone: no layout, elements of whole bytes, all dimensions static but
/// perhaps the first.
bool isBare(mlir::MemRefType type);

/// The physical type of a matrix of floats with k columns: [panels][k][32] of f32 or f16, [panels][k/2][32][2] of bf16.
mlir::MemRefType valuesType(mlir::Type element, int64_t panels, int64_t k);
/// Elements along k that stand side by side in it: 2 of bf16, else 1.
int64_t valuesSpan(mlir::Type element);
/// The same matrix for a GPU: [panels of 8][blocks of k][8][elements of 64 bytes].
mlir::MemRefType deviceValuesType(mlir::Type element, int64_t panels, int64_t k);
/// Elements along k of such a block.
inline int64_t deviceBlock(mlir::Type element) { return deviceBlockBytes * 8 / element.getIntOrFloatBitWidth(); }
/// Whether a matrix of floats or codes is packed for a GPU.
bool isDeviceValues(mlir::MemRefType type);
/// The codes of a matrix for a GPU, as deviceValuesType has them, and its scales: [panels of 8][groups][8], where a
/// group of more than 64 elements has its scale once for each 64, and k is filled up to whole blocks.
mlir::MemRefType deviceTypeOf(CodingAttr coding, Part part, int64_t panels, int64_t k);
/// Whether an array is such scales.
bool isDeviceScales(mlir::MemRefType type);
/// Elements along k that share a scale there: 32 or 64.
inline int64_t deviceGroup(CodingAttr coding) { return coding.getGroup() % 64 == 0 ? 64 : 32; }
/// What a GPU multiplies: signed bytes without minima, in groups of a multiple of 32.
bool isDeviceCoding(CodingAttr coding);
/// Where element i of a row of codes stands among them on a GPU: codes are permuted within a block of 64, so that the
/// 16 bytes of a lane have codes of both halves (runtime/device/dot.cuh).
inline int64_t deviceCodePlace(int64_t i) { return i / 64 * 64 + i % 32 / 8 * 16 + i % 64 / 32 * 8 + i % 8; }

// Names of discardable attributes on kernels (func.func).
inline constexpr llvm::StringLiteral scheduleAttr = "kern.schedule";
inline constexpr llvm::StringLiteral unitAttr = "kern.unit";
inline constexpr llvm::StringLiteral tilesAttr = "kern.tiles";
inline constexpr llvm::StringLiteral tileBytesAttr = "kern.tile_bytes";
inline constexpr llvm::StringLiteral fusedAttr = "kern.fused";
/// GPU: what it holds, op by op: "norm attn_norm, config.toml:8".
inline constexpr llvm::StringLiteral sourcesAttr = "kern.sources";
/// GPU: a kernel that does the same as another one, for more rows: its name. Column tiles of a block, where not 1.
inline constexpr llvm::StringLiteral formOfAttr = "kern.form_of";
inline constexpr llvm::StringLiteral tilesPerBlockAttr = "kern.tiles_per_block";
inline constexpr llvm::StringLiteral unitFlopsAttr = "kern.unit_flops";

} // namespace lathe::kern
