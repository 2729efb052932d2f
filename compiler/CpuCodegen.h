//===- CpuCodegen.h - kernels to native code, one ISA tier at a time ------===//
#pragma once

#include "runtime/Plan.h"
#include "runtime/support/Error.h"

#include "mlir/IR/BuiltinOps.h"

#include <map>
#include <string>
#include <vector>

namespace lathe {

/// An ISA tier, perhaps with features (runtime/TierName.h): a name in artifacts and on the command line, and what LLVM
/// calls it.
struct CpuTier {
  std::string name;
  std::string cpu;         ///< -mcpu
  std::string features;    ///< -mattr
  std::string vectorWidth; ///< prefer-vector-width
};
/// All tiers without features, best first: what is compiled for when nothing is said.
const std::vector<CpuTier> &cpuTiers();
/// The same and each with all features that it can have, best first. AVX512-BF16 (+bf16) multiplies bf16 weights by
/// activations that it rounds to bf16; GFNI (+gfni) changes no bit of a result.
const std::vector<CpuTier> &cpuTiersWithFeatures();
const CpuTier *findTier(const std::string &name);

struct NativeCode {
  std::string sharedObject;                    ///< ELF, position-independent, no undefined symbol
  std::map<std::string, int64_t> scratchBytes; ///< by kernel
  std::map<std::string, LibraryUse> libraries; ///< by kernel that leaves products to one
};

/// Compiles a tier's module of kernels (stage 20; it is lowered in place to LLVM). `dumped` gets the module's text
/// after convert-kern-to-vector (stage 30) when not null.
Result<NativeCode> compileTier(mlir::ModuleOp tierModule, const CpuTier &tier, std::string *dumped);

} // namespace lathe
