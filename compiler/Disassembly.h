//===- Disassembly.h - generated code as text -----------------------------===//
#pragma once

#include "runtime/support/Error.h"

#include <string>
#include <string_view>

namespace lathe {

/// The instructions of one exported kernel of a tier's shared object, a line each: "  1d84:  vpdpbusd zmm3, …" (offsets
/// from the kernel's start).
Result<std::string> disassemble(std::string_view sharedObject, const std::string &kernel, const std::string &tier);

} // namespace lathe
