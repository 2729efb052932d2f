//===- CpuCodegen.h - kernels to native code, one ISA tier at a time ------===//
#pragma once

#include "runtime/Plan.h"
#include "runtime/support/Error.h"

#include "mlir/IR/BuiltinOps.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace llvm {
class LLVMContext;
class Module;
} // namespace llvm

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

/// A tier's kernels on the way to native code. Once lowered, it shares nothing with others.
class TierCompilation {
public:
  explicit TierCompilation(const CpuTier &tier);
  ~TierCompilation();
  TierCompilation(TierCompilation &&) noexcept;

  const CpuTier &tier() const { return *compiledFor; }
  /// A tier's module of kernels (stage 20; it is lowered in place to LLVM) to LLVM IR. `dumped` gets the module's text
  /// after convert-kern-to-vector (stage 30) when not null. One at a time in an MLIRContext.
  Result<void> lower(mlir::ModuleOp tierModule, std::string *dumped);
  /// What was lowered to code, once. Several may do so at once, each in a thread of its own.
  Result<NativeCode> compile();

private:
  const CpuTier *compiledFor;
  NativeCode code;
  std::unique_ptr<llvm::LLVMContext> context;
  std::unique_ptr<llvm::Module> module;
};

} // namespace lathe
