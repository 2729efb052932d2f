//===- Disassembly.h - generated code as text -----------------------------===//
#pragma once

#include "runtime/support/Error.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lathe {

/// An instruction of a kernel; places count from the kernel's start.
struct Instruction {
  uint64_t offset = 0, bytes = 0;
  std::string text;               ///< "vpdpbusd zmm3, zmm5, zmm4"
  std::optional<uint64_t> target; ///< of a jump whose target stands in it

  std::string mnemonic() const { return text.substr(0, text.find(' ')); }
};

/// The instructions of one exported kernel of a tier's shared object.
Result<std::vector<Instruction>> disassemble(std::string_view sharedObject, const std::string &kernel,
                                             const std::string &tier);

} // namespace lathe
