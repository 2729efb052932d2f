//===- Nvdisasm.h - cubins as instructions ----------------------------------===//
#pragma once

#include "runtime/support/Error.h"

#include <string>
#include <string_view>

namespace lathe {

/// The SASS of a cubin as NVIDIA's nvdisasm prints it (runtime/support/CudaToolkit.h says where it is looked for);
/// ExitCode::runtime: not found.
Result<std::string> disassembleCubin(std::string_view cubin);

} // namespace lathe
