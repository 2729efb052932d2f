// The loops of machine code, on listings written by hand.
#include "compiler/inspect/Loops.h"

#include <gtest/gtest.h>

namespace lathe {
namespace {

/// One byte an instruction, so that a target is a line's number.
std::vector<Instruction> listing(std::vector<std::pair<std::string, int64_t>> lines) {
  std::vector<Instruction> code;
  for (auto &[text, target] : lines) {
    code.push_back({.offset = code.size(), .bytes = 1, .text = text});
    if (target >= 0)
      code.back().target = target;
  }
  return code;
}

TEST(Loops, TheInnerLoopIsMarkedAndTheOuterOneIsNot) {
  auto code = listing({{"mov eax, 8", -1},
                       {"vmulps zmm1, zmm1, zmm2", -1}, // the outer loop begins
                       {"vpdpbusd zmm3, zmm5, zmm4", -1},
                       {"vpdpbusd zmm3, zmm6, zmm4", -1},
                       {"jne 2", 2},
                       {"add rax, 1", -1},
                       {"jne 1", 1},
                       {"ret", -1}});
  auto loops = productLoops(code);
  ASSERT_EQ(loops.size(), 2u);
  EXPECT_EQ(loops[0].instructions, (std::vector<size_t>{2, 3, 4}));
  EXPECT_EQ(loops[0].products, 2);
  EXPECT_EQ(loops[0].multiplyAdds, 128);
  EXPECT_EQ(loops[0].mnemonic, "vpdpbusd");
  EXPECT_EQ(loops[1].instructions, (std::vector<size_t>{1, 5, 6})) << "without the loop that it holds";
  EXPECT_NE(printCode(code, loops).find("|     2:  vpdpbusd"), std::string::npos);
  EXPECT_NE(printCode(code, loops).find("      1:  vmulps"), std::string::npos);
}

TEST(Loops, ABlockMovedBehindTheLoopBelongsToIt) {
  auto code = listing({{"xor eax, eax", -1},
                       {"test eax, eax", -1}, // the loop's head
                       {"je 7", 7},           // to the block behind
                       {"vfmadd231ps ymm0, ymm1, ymm2", -1},
                       {"cmp eax, ebx", -1},
                       {"jl 1", 1},
                       {"ret", -1},
                       {"vfmadd231ps ymm0, ymm1, ymm3", -1},
                       {"jmp 4", 4}});
  auto loops = productLoops(code);
  ASSERT_EQ(loops.size(), 1u) << "the jump from behind closes no loop of its own";
  EXPECT_EQ(loops[0].instructions, (std::vector<size_t>{1, 2, 3, 4, 5, 7, 8}));
  EXPECT_EQ(loops[0].multiplyAdds, 16);
}

TEST(Loops, ABackwardJumpIntoAnotherPathIsNoLoop) {
  auto code = listing({{"jne 3", 3}, {"vmulps zmm0, zmm0, zmm1", -1}, {"ret", -1}, {"nop", -1}, {"jmp 1", 1}});
  EXPECT_TRUE(productLoops(code).empty());
  EXPECT_TRUE(productLoops({}).empty());
}

TEST(Loops, ProductsOfAnInstruction) {
  auto adds = [](const char *text) { return multiplyAddsOf({.text = text}); };
  EXPECT_EQ(adds("tdpbsud tmm0, tmm1, tmm2"), 16 * 16 * 64);
  EXPECT_EQ(adds("vpdpbusd zmm3, zmm5, zmm4"), 64);
  EXPECT_EQ(adds("vpdpbusd ymm3, ymm5, ymm4"), 32);
  EXPECT_EQ(adds("vpmaddubsw ymm3, ymm5, ymm4"), 32);
  EXPECT_EQ(adds("vdpbf16ps zmm0, zmm1, zmm2"), 32);
  EXPECT_EQ(adds("vfmadd231ps zmm0, zmm1, zmm2"), 16);
  EXPECT_EQ(adds("vmulss xmm0, xmm1, xmm2"), 1);
  EXPECT_EQ(adds("vaddps zmm0, zmm1, zmm2"), 0);
}

} // namespace
} // namespace lathe
