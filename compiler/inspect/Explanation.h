//===- Explanation.h - what was fused, what was not, and why --------------===//
//
// The fusion passes run again over stage 00 with their remarks on. Every op gets a number in its location first, which
// survives all passes: a remark, and an op of a kernel, are so traced to each other whatever layer they are of.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/StageReader.h"
#include "compiler/inspect/Provenance.h"
#include "dialects/lm/LmDialect.h"

#include <string>
#include <string_view>
#include <vector>

namespace lathe {

/// An op of a kernel.
struct FusedPart {
  std::string role; ///< "prologue", "anchor", "epilogue"; of a kernel without an anchor, "body"
  std::string op;   ///< "lm.norm"
  std::string word; ///< what the model calls it: "attn_norm"
  std::string pass; ///< the pass that put it into the kernel
  std::vector<ConfigPlace> places;
};

/// A remark of a pass, and how often it was made for ops that differ in nothing but the layer.
struct Refusal {
  std::string pass, word, reason;
  int64_t count = 0;
};

struct KernelExplanation {
  std::string name;
  int64_t regions = 0; ///< regions of the step that this kernel computes
  std::vector<FusedPart> parts;
  std::vector<Refusal> refusals;
};

struct Explanation {
  std::vector<KernelExplanation> kernels;
  std::vector<std::string> passes; ///< what each pass did, in order
  std::vector<Refusal> others;     ///< of ops that are in no kernel
};

/// The kernels of a stage-00 text whose linears are stored as `quant` says.
Result<Explanation> explainFusion(std::string_view stage00, const std::string &quant, const std::string &family);

/// The ops of a region in order, without the passes that put them there.
std::vector<FusedPart> partsOf(lm::FusedOp region);

/// Why a schedule: that of this shape was measured, or the default of the table was taken since none was.
std::string explainSchedule(const ScheduleEntry &schedule, const ScheduleKey &key);

} // namespace lathe
