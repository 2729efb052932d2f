//===- BenchKernel.h - lathe bench --kernel -------------------------------===//
#pragma once

#include "tools/lathe/Model.h"

namespace lathe {

struct KernelBenchFlags {
  std::string kernel;
  std::vector<int64_t> rows; ///< empty: 1, 2, 4, 8, 16 and 512, as far as the context goes
  int64_t depth = 0, repetitions = 5;
  bool json = false;
};

/// Times one kernel on cold weights for each number of rows and prints a table.
Result<void> benchKernel(const ModelFlags &model, const KernelBenchFlags &flags);

} // namespace lathe
