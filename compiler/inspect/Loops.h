//===- Loops.h - the loops of a kernel's machine code ---------------------===//
#pragma once

#include "compiler/Disassembly.h"

#include <cstdint>
#include <string>
#include <vector>

namespace lathe {

/// A loop that multiplies, without the loops that it holds.
struct CodeLoop {
  std::vector<size_t> instructions; ///< indices, rising; those of loops inside are not among them
  int64_t products = 0;             ///< instructions that multiply
  int64_t multiplyAdds = 0;         ///< element products of one round; a tile instruction counts a full tile
  std::string mnemonic;             ///< of the instruction that makes most of them
};

/// The loops with products, each product counted in the innermost loop that it is in; the loop with the most
/// multiplyAdds first (equal ones by place). A loop is the natural loop of a back edge: a jump to a block that
/// dominates the one it stands in (Aho, Sethi, Ullman, Compilers, 10.4). Jumps through registers and tables have no
/// edges, so what only they reach is in no loop.
std::vector<CodeLoop> productLoops(const std::vector<Instruction> &code);

/// Element products of one instruction, 0 for one that does not multiply: "vpdpbusd zmm3, …" has 64.
int64_t multiplyAddsOf(const Instruction &instruction);

/// "24 vpdpbusd and the like in 31 instructions, 1536 multiply-adds a round".
std::string describe(const CodeLoop &loop);

/// The code, a line an instruction with its offset; a margin `|` marks the first loop.
std::string printCode(const std::vector<Instruction> &code, const std::vector<CodeLoop> &loops);

} // namespace lathe
