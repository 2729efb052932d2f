//===- HostExecutor.h - what runs kernels on the CPU, compiled --------------===//
//
// host/*.cpp as a static library, in bytes: a compiler of kernels for the host links it to them instead of compiling
// it again for each model.
//
//===----------------------------------------------------------------------===//
#pragma once

#include <string_view>

namespace lathe {

/// A static library (ar) of position-independent code for x86-64-v3, which needs libc, libm and libstdc++. Lives as
/// long as the program.
std::string_view hostExecutor();

} // namespace lathe
