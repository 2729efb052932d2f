//===- CudaToolkit.h - where parts of the CUDA toolkit are ------------------===//
//
// Looked for in the same order for all: what the environment names, where the system looks, $CUDA_HOME and $CUDA_PATH,
// /usr/local/cuda and /opt/cuda, and the wheels of PyPI in a virtual environment: the one that is active, and the one
// beside the program's folder (build/venv, where `tools/setup` and `tools/quickstart --cuda` put them). Nothing is
// opened here.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/support/Error.h"

#include <string>
#include <vector>

namespace lathe {

/// Where NVRTC may be, for dlopen, in order. First names without a folder, which the loader looks up. $LATHE_NVRTC, a
/// library or its folder, stands alone.
std::vector<std::string> nvrtcPlaces();

/// The program nvdisasm: $LATHE_NVDISASM, on PATH, in the toolkit or a wheel. ExitCode::runtime: not found.
Result<std::string> findNvdisasm();

} // namespace lathe
