//===- Inspection.h - an artifact, opened to be looked at -----------------===//
#pragma once

#include "compiler/StageReader.h"
#include "compiler/inspect/Explanation.h"
#include "compiler/inspect/Provenance.h"
#include "runtime/Artifact.h"
#include "runtime/Plan.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace lathe {

/// From the first to the last launch that touches a buffer; -1: none does.
struct Lifetime {
  int64_t first = -1, last = -1;
};

/// What a kernel is, beside what the plan says of it. Bytes are those of the kernel's values, not of caches.
struct KernelFacts {
  const Kernel *kernel = nullptr;
  bool inStages = true; ///< false: it is text of the device library, which no stage shows
  int64_t launches = 0;
  int64_t readBytes = 0;     ///< activations that a row reads
  int64_t writtenBytes = 0;  ///< activations that a row writes
  int64_t appendedBytes = 0; ///< keys and values that a row writes
  int64_t positionBytes = 0; ///< keys and values that a row reads of each position (attention)
  ScheduleEntry schedule;    ///< on the tier that was asked for
  std::string why;           ///< why this schedule
  std::vector<FusedPart> parts;

  int64_t weightBytes() const { return kernel->tiles * kernel->bytesPerTile; }
  int64_t flopsPerTile() const { return kernel->tiles ? kernel->flopsPerUnit / kernel->tiles : 0; }
};

/// A kernel's code as text, the same for all targets.
struct KernelCode {
  std::string member;             ///< "kernels/amx.so", "kernels/attention.cu"
  std::vector<std::string> notes; ///< of CPUs the inner loop; of CUDA registers, spills and occupancy by architecture
  std::string text;               ///< assembly with the inner loop marked, or CUDA C++
};

/// The tier whose code and schedules are shown, and why that one.
struct ShownTier {
  std::string name; ///< "avx512vnni+bf16"; of CUDA the module's name
  std::string why;  ///< "what this machine runs"; of CUDA, where one text serves all architectures, ""
};

class Inspection {
public:
  static Result<std::unique_ptr<Inspection>> open(const std::string &path);

  const Artifact &artifact() const { return *file; }
  const Plan &plan() const { return launchTable; }
  const std::vector<ConfigLine> &config() const { return configLines; }
  bool forCuda() const { return file->manifest().target == "cuda"; }
  /// A member's bytes as text, "" when there is none.
  std::string_view text(std::string_view member) const;
  uint64_t weightBytes() const;
  /// "10-fused.mlir" and so on, in order.
  std::vector<std::string> stageFiles() const;
  /// The stage whose number is given ("10"), parsed once.
  Result<mlir::ModuleOp> stage(const std::string &number);
  /// The tier of this name; of "" what this machine would run, and where it runs none of them the best. An error names
  /// those that there are.
  Result<ShownTier> tier(const std::string &name) const;
  /// The kernel of this name; of CUDA also that of a form, under its symbol.
  Result<const Kernel *> kernel(const std::string &name) const;
  /// Kernels of the plan, of CUDA all their forms, each under its symbol.
  const std::vector<Kernel> &kernels() const { return forms; }
  Result<KernelFacts> facts(const Kernel &kernel, const std::string &tier);
  Result<KernelCode> code(const Kernel &kernel, const std::string &tier) const;
  Result<Explanation> explanation() const;
  /// Of each buffer of the plan.
  std::vector<Lifetime> lifetimes() const;

private:
  std::shared_ptr<const Artifact> file;
  Plan launchTable;
  std::vector<Kernel> forms;
  std::vector<ConfigLine> configLines;
  mlir::MLIRContext context{mlir::MLIRContext::Threading::DISABLED};
  std::map<std::string, mlir::OwningOpRef<mlir::ModuleOp>> stages;
};

/// "rows", "logit rows", "partials", "attention items".
const char *unitName(Unit unit);
/// "12 x 32 of 192 (default, cpu.toml:21)".
std::string scheduleText(const ScheduleEntry &schedule);
/// "1.4 MiB"
std::string sizeText(double bytes);

} // namespace lathe
