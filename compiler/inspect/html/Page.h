//===- Page.h - an artifact as one self-contained HTML page ---------------===//
#pragma once

#include "compiler/inspect/Inspection.h"

namespace lathe {

/// The page: model and config, stages side by side, kernels with IR and code on `tier`, the launches of a step, the
/// memory over time, what was fused and why not more. It needs no network and no other file, and says everything
/// without scripts too. Everything that comes from the artifact is escaped.
Result<std::string> writePage(Inspection &inspection, const ShownTier &tier);

} // namespace lathe
