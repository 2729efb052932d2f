//===- Nvdisasm.h - cubins as instructions ----------------------------------===//
#pragma once

#include "runtime/support/Error.h"

#include <string>
#include <string_view>

namespace lathe {

/// The SASS of a cubin as NVIDIA's nvdisasm prints it. It is looked for in LATHE_NVDISASM, PATH, the CUDA toolkit and
/// the wheel nvidia-cuda-nvdisasm of a virtual environment; ExitCode::runtime: not found.
Result<std::string> disassembleCubin(std::string_view cubin);

} // namespace lathe
