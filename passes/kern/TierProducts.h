//===- TierProducts.h - what kernels of an ISA tier may use ---------------===//
#pragma once

#include "mlir/Support/LLVM.h"

#include <optional>
#include <string>

namespace lathe::kern {

/// How a tier multiplies bytes: Σ of 4 products of an unsigned weight byte and a signed activation byte, added to i32.
enum class ByteDot {
  vnni512, ///< one vpdpbusd on 64 bytes
  vnni256, ///< two on 32 bytes
  sign256, ///< AVX2: |w| and a with w's sign through maddubs; exact, since |w| <= 128 and |a| <= 127
};

struct TierProducts {
  llvm::StringRef tier; ///< with its features (runtime/TierName.h)
  ByteDot byteDot;
  bool tiles;        ///< AMX: products of a tile of rows by a tile of columns
  bool gfni = false; ///< the bits of codes may be moved by vgf2p8affineqb
  bool bf16 = false; ///< bf16 weights are multiplied by activations in bf16
};

/// Nothing for a tier that nobody knows, or with a feature that it cannot have. The names are those of
/// compiler/CpuCodegen and runtime/CpuFeatures; `tier` must outlive what is returned.
std::optional<TierProducts> findTierProducts(llvm::StringRef tier);
/// "amx, avx512vnni (with +bf16, +gfni), avxvnni or x86-64-v3", for messages.
std::string tierNames();

} // namespace lathe::kern
