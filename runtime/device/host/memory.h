//===- memory.h - memory of a launch and of a block -------------------------===//
#pragma once

#include "lathe/host/executor.h"

#include <string>

namespace lathe::device::host {

/// Makes ready what the launch's parameters cover, and room for checks. False, with a report, where memory is missing.
bool prepareLaunch(const HostLaunch &launch, const Kernel &kernel, std::string &report);
/// A block begins: shared memory holds nothing.
void prepareBlock();

} // namespace lathe::device::host
