// What is read out of logs and cubins, which NVRTC need not be there for.
#include "compiler/Nvrtc.h"

#include <cstring>
#include <elf.h>
#include <gtest/gtest.h>

namespace lathe {
namespace {

// Of NVRTC 13.0 for sm_80, with a function that was not inlined and another kernel before it.
constexpr std::string_view kLog = R"(ptxas info    : 0 bytes gmem, 256 bytes cmem[3]
ptxas info    : Compiling entry function 'embed' for 'sm_80'
ptxas info    : Function properties for embed
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 10 registers, used 0 barriers, 368 bytes cmem[0]
ptxas info    : Compile time = 6.418 ms
ptxas info    : Compiling entry function 'spill' for 'sm_80'
ptxas info    : Function properties for spill
ptxas         .     128 bytes stack frame, 72 bytes spill stores, 96 bytes spill loads
ptxas info    : Used 32 registers, used 2 barriers, 192 bytes cumulative stack size, 80000 bytes smem, 368 bytes cmem[0]
ptxas info    : Compile time = 409.281 ms
ptxas info    : Function properties for _Z5otherPfi
ptxas         .     64 bytes stack frame, 4 bytes spill stores, 8 bytes spill loads
)";

TEST(NvrtcLog, UsageOfOneKernel) {
  auto usage = parseUsage(kLog, "spill");
  ASSERT_TRUE(usage) << usage.error().message;
  EXPECT_EQ(*usage, (KernelUsage{.registers = 32,
                                 .stackBytes = 192,
                                 .spillStores = 76,
                                 .spillLoads = 104,
                                 .sharedBytes = 80000,
                                 .barriers = 2}));
  usage = parseUsage(kLog, "embed");
  ASSERT_TRUE(usage) << usage.error().message;
  EXPECT_EQ(*usage, (KernelUsage{.registers = 10}));
}

TEST(NvrtcLog, NoUsageIsAnErrorAndNotZero) {
  auto usage = parseUsage(kLog, "pill"); // part of another name
  ASSERT_FALSE(usage);
  EXPECT_EQ(usage.error().message, "expected a function extern \"C\" __global__ pill, ptxas names none");
  std::string cut(kLog.substr(0, kLog.find("ptxas info    : Used 10")));
  EXPECT_EQ(parseUsage(cut, "embed").error().message, "ptxas -v does not say how many registers embed takes");
  EXPECT_FALSE(parseUsage("", "embed"));
}

/// An ELF file with one section and the table of names.
std::string cubinWith(const std::string &section, uint64_t size) {
  std::string names = std::string(1, '\0') + section + '\0';
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_shoff = sizeof header, header.e_shentsize = sizeof(Elf64_Shdr), header.e_shnum = 2, header.e_shstrndx = 1;
  Elf64_Shdr sections[2]{};
  sections[0].sh_name = 1, sections[0].sh_size = size;
  sections[1].sh_offset = sizeof header + sizeof sections, sections[1].sh_size = names.size();
  std::string file(sizeof header + sizeof sections, '\0');
  std::memcpy(file.data(), &header, sizeof header);
  std::memcpy(file.data() + sizeof header, sections, sizeof sections);
  return file + names;
}

TEST(NvrtcLog, ConstantBankOfACubin) {
  std::string cubin = cubinWith(".nv.constant0.embed", 944);
  EXPECT_EQ(*constantBytes(cubin, "embed"), 944);
  EXPECT_EQ(*constantBytes(cubin, "emb"), 0);
  EXPECT_EQ(*constantBytes(cubin, "embedding"), 0);
  EXPECT_FALSE(constantBytes("", "embed"));
  EXPECT_FALSE(constantBytes("#include <x>", "embed"));
}

TEST(NvrtcLog, DamagedCubinsAreRefusedOrReadWithinTheirBounds) {
  std::string cubin = cubinWith(".nv.constant0.embed", 944);
  for (size_t length = 0; length < cubin.size(); ++length)
    (void)constantBytes(std::string(cubin, 0, length), "embed"); // the sanitizers look on
  for (size_t i = 0; i < cubin.size(); ++i)
    for (char value : {'\0', '\x7f', '\xff'}) {
      std::string damaged = cubin;
      damaged[i] = value;
      auto found = constantBytes(damaged, "embed");
      EXPECT_TRUE(!found || *found >= INT64_MIN) << i;
    }
  std::string far = cubin;
  Elf64_Ehdr header;
  std::memcpy(&header, far.data(), sizeof header);
  header.e_shoff = UINT64_MAX - 8;
  std::memcpy(far.data(), &header, sizeof header);
  EXPECT_FALSE(constantBytes(far, "embed"));
}

} // namespace
} // namespace lathe
