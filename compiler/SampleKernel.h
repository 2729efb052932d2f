//===- SampleKernel.h - the kernel that draws tokens ------------------------===//
//
// The last launch of a step on CUDA. What it does is text of the device library (runtime/device/sample.cuh) that no
// stage shows: nothing of it depends on the model but the length of a row of logits.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/CudaPrinter.h"
#include "runtime/Plan.h"

#include <string_view>

namespace lathe {

/// Its name. No kernel of a model is called so: theirs say what they compute of it.
inline constexpr std::string_view sampleKernel = "sample";

/// Its text for `vocab` logits in rows of `stride`, a multiple of 4. ExitCode::internal: it is none.
Result<CudaText> printSampleKernel(int64_t vocab, int64_t stride);

/// Adds its launch to a plan for these architectures, behind all others, with the buffer of the tokens.
void addSampleLaunch(Plan &plan, const std::vector<std::string> &architectures, int64_t sharedBytes);

} // namespace lathe
