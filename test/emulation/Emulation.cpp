//===- Emulation.cpp - instructions that this CPU lacks -----------------------===//
//
// The code of the tiers avxvnni and amx runs as it is on any CPU with AVX2 or AVX-512 VNNI: an instruction that the CPU
// lacks raises SIGILL, whose handler puts a jump in its place, to a thunk that saves all registers, calls emulate() and
// jumps back. What an instruction does and refuses is written from Intel's Software Developer's Manual, volume 2; what
// it refuses ends the program. A definition of emulatesTier (runtime/CpuFeatures.h) offers the tiers.
//
//===----------------------------------------------------------------------===//
#include "runtime/CpuFeatures.h"

#include <array>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <linux/membarrier.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

namespace {

enum class Op { vpdpbusd, ldtilecfg, tilerelease, tilezero, tileloadd, tilestored, tdpb };

/// An instruction of VEX map 0F38 and the thunk that stands for it. Registers by their numbers in machine code.
struct Site {
  Op op;
  bool signedA, signedB; ///< tdpb
  int reg, vvvv, rm;     ///< rm: -1 where it is memory
  int base, index;       ///< of a memory operand; base -2: the next instruction, -1: none
  int64_t scale, displacement;
  int64_t length;
  const uint8_t *next;
};

[[noreturn]] void refuse(const char *why) {
  std::fprintf(stderr, "emulation: %s\n", why);
  std::abort();
}

/// False for an instruction that is none of ours.
bool decode(const uint8_t *code, Site &site) {
  if (code[0] != 0xc4 || (code[1] & 0x1f) != 2 || (code[2] & 0x80))
    return false;
  auto extension = [&](int bit) { return code[1] >> bit & 1 ? 0 : 8; }; // stored inverted: R 7, X 6, B 5
  int prefix = code[2] & 3, opcode = code[3], modrm = code[4], mod = modrm >> 6;
  bool is256 = code[2] >> 2 & 1, memory = mod != 3;
  site = {.reg = (modrm >> 3 & 7) + extension(7), .vvvv = ~code[2] >> 3 & 15, .rm = -1, .base = -1, .index = -1};
  enum { none, p66, pF3, pF2 };
  if (opcode == 0x50 && prefix == p66 && is256)
    site.op = Op::vpdpbusd;
  else if (is256)
    return false;
  else if (opcode == 0x49 && prefix == none && memory && site.reg == 0)
    site.op = Op::ldtilecfg;
  else if (opcode == 0x49 && prefix == none && modrm == 0xc0)
    site.op = Op::tilerelease;
  else if (opcode == 0x49 && prefix == pF2 && (modrm & 0xc7) == 0xc0)
    site.op = Op::tilezero;
  else if (opcode == 0x4b && (prefix == pF2 || prefix == p66) && memory && (modrm & 7) == 4)
    site.op = Op::tileloadd;
  else if (opcode == 0x4b && prefix == pF3 && memory && (modrm & 7) == 4)
    site.op = Op::tilestored;
  else if (opcode == 0x5e && !memory)
    site.op = Op::tdpb, site.signedA = prefix == pF2 || prefix == pF3, site.signedB = prefix == pF2 || prefix == p66;
  else
    return false;
  const uint8_t *at = code + 5;
  if (!memory) {
    site.rm = (modrm & 7) + extension(5);
  } else {
    site.base = (modrm & 7) + extension(5), site.scale = 1;
    if ((modrm & 7) == 4) {
      int sib = *at++;
      site.base = (sib & 7) + extension(5), site.scale = int64_t(1) << (sib >> 6);
      site.index = (sib >> 3 & 7) + extension(6);
      if (site.index == 4)
        site.index = -1;
      if ((sib & 7) == 5 && mod == 0)
        site.base = -1;
    } else if ((modrm & 7) == 5 && mod == 0) {
      site.base = -2;
    }
    if (mod == 1) {
      site.displacement = static_cast<int8_t>(*at++);
    } else if (mod == 2 || site.base < 0) {
      int32_t value;
      std::memcpy(&value, at, 4);
      site.displacement = value;
      at += 4;
    }
  }
  site.next = at, site.length = at - code;
  return true;
}

/// The tile registers of a thread, rows and columns behind a tile's shape being zero.
struct Tiles {
  bool configured = false;
  uint8_t rows[8];
  uint16_t rowBytes[8];
  uint8_t bytes[8][16][64];
};
thread_local Tiles tiles;

int usable(int tile) {
  if (!tiles.configured)
    refuse("a tile instruction without ldtilecfg before it");
  if (tile > 7 || tiles.rows[tile] == 0)
    refuse("a tile that ldtilecfg gave no shape");
  return tile;
}

void configure(const uint8_t *memory) {
  if (memory[0] != 1)
    refuse("ldtilecfg: expected palette 1");
  for (int i = 1; i < 16; ++i)
    if (memory[i] != 0)
      refuse("ldtilecfg: expected bytes 1 to 15 to be zero");
  tiles = {.configured = true};
  for (int tile = 0; tile < 16; ++tile) {
    uint16_t rowBytes;
    std::memcpy(&rowBytes, memory + 16 + 2 * tile, 2);
    uint8_t rows = memory[48 + tile];
    if (rows > 16 || rowBytes > 64 || (rows == 0) != (rowBytes == 0) || (tile > 7 && rows != 0))
      refuse("ldtilecfg: a shape outside of palette 1");
    if (tile < 8)
      tiles.rows[tile] = rows, tiles.rowBytes[tile] = rowBytes;
  }
}

void multiply(const Site &site) {
  int c = usable(site.reg), a = usable(site.rm), b = usable(site.vvvv);
  if (c == a || c == b || a == b || tiles.rows[c] != tiles.rows[a] || tiles.rowBytes[c] != tiles.rowBytes[b] ||
      tiles.rowBytes[a] != 4 * tiles.rows[b] || tiles.rowBytes[c] % 4 != 0)
    refuse("tdpb: shapes that do not fit, or a tile twice");
  auto widen = [](uint8_t byte, bool isSigned) -> int32_t { return isSigned ? static_cast<int8_t>(byte) : byte; };
  for (int m = 0; m < tiles.rows[c]; ++m) {
    int32_t sums[16];
    std::memcpy(sums, tiles.bytes[c][m], 64);
    for (int k = 0; k < tiles.rows[b]; ++k)
      for (int n = 0; n < tiles.rowBytes[c] / 4; ++n)
        for (int j = 0; j < 4; ++j)
          sums[n] +=
              widen(tiles.bytes[a][m][4 * k + j], site.signedA) * widen(tiles.bytes[b][k][4 * n + j], site.signedB);
    std::memcpy(tiles.bytes[c][m], sums, 64);
  }
}

/// A ymm register in an XSAVE area of the standard format: its halves are apart.
void readYmm(const uint8_t *state, int number, uint8_t *to) {
  std::memcpy(to, state + 160 + 16 * number, 16);
  std::memcpy(to + 16, state + 576 + 16 * number, 16);
}

void addProducts(const Site &site, const uint8_t *memory, uint8_t *state) {
  uint8_t sums[32], a[32], b[32];
  readYmm(state, site.reg, sums);
  readYmm(state, site.vvvv, a);
  if (memory)
    std::memcpy(b, memory, 32);
  else
    readYmm(state, site.rm, b);
  for (int n = 0; n < 8; ++n) {
    int32_t sum;
    std::memcpy(&sum, sums + 4 * n, 4);
    for (int j = 0; j < 4; ++j)
      sum += int32_t(a[4 * n + j]) * static_cast<int8_t>(b[4 * n + j]);
    std::memcpy(sums + 4 * n, &sum, 4);
  }
  std::memcpy(state + 160 + 16 * site.reg, sums, 16);
  std::memcpy(state + 576 + 16 * site.reg, sums + 16, 16);
  state[512] |= 6; // XSTATE_BV: both halves are in use
}

constexpr size_t kThunks = 256 << 10;

std::atomic_flag busy;
std::atomic<const uint8_t *> patching;
uint8_t *thunk = nullptr, *thunkEnd = nullptr;

/// Memory that a jump from `code` reaches.
void makeThunks(uint8_t *code) {
  auto around = reinterpret_cast<uintptr_t>(code) & ~uintptr_t(0xfffff);
  for (uintptr_t step = 1; step < 1000; ++step)
    for (uintptr_t place : {around + (step << 20), around - (step << 20)}) {
      void *memory = mmap(reinterpret_cast<void *>(place), kThunks, PROT_READ | PROT_WRITE | PROT_EXEC,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
      if (memory == MAP_FAILED)
        continue;
      if (memory == reinterpret_cast<void *>(place)) {
        thunk = static_cast<uint8_t *>(memory), thunkEnd = thunk + kThunks;
        return;
      }
      munmap(memory, kThunks);
    }
  refuse("no memory for thunks near the code");
}

bool reaches(const uint8_t *from, const uint8_t *to) {
  return std::abs(to - from) < (int64_t(1) << 31) - int64_t(kThunks);
}

extern "C" void latheEmulationEntry();

uint8_t *writeThunk(const Site &site, uint8_t *code) {
  if (!thunk || !reaches(code, thunk) || thunkEnd - thunk < 256)
    makeThunks(code);
  auto *stored = reinterpret_cast<Site *>(thunk);
  *stored = site;
  uint8_t *begin = thunk + sizeof(Site), *at = begin;
  auto put = [&](const auto &bytes) {
    std::memcpy(at, &bytes, sizeof bytes);
    at += sizeof bytes;
  };
  put(std::to_array<uint8_t>({0x48, 0x8d, 0x64, 0x24, 0x80, 0x50, 0x48, 0xb8})); // lea rsp, [rsp - 128]; push rax
  put(stored);                                                                   // mov rax, stored
  put(std::to_array<uint8_t>({0xff, 0x15, 0x0f, 0, 0, 0, 0x58}));                // call [entry]; pop rax
  put(std::to_array<uint8_t>({0x48, 0x8d, 0xa4, 0x24, 0x80, 0, 0, 0, 0xe9}));    // lea rsp, [rsp + 128]; jmp next
  put(static_cast<int32_t>(site.next - (at + 4)));
  at += 1; // where call finds it: 15 bytes behind itself
  put(&latheEmulationEntry);
  thunk += 256;
  return begin;
}

/// All cores have seen what was written to code before it returns.
void synchronise() { syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0); }

void patch(uint8_t *code, const Site &site) {
  auto page = reinterpret_cast<uintptr_t>(code) & ~uintptr_t(4095);
  if (mprotect(reinterpret_cast<void *>(page), 8192, PROT_READ | PROT_WRITE | PROT_EXEC) != 0 &&
      mprotect(reinterpret_cast<void *>(page), 4096, PROT_READ | PROT_WRITE | PROT_EXEC) != 0)
    refuse("the code cannot be made writable");
  auto jump = static_cast<int32_t>(writeThunk(site, code) - (code + 5));
  // Another thread may be about to execute it: a breakpoint holds it back while the rest is written.
  std::atomic_ref<uint8_t> first(*code);
  patching = code;
  first = 0xcc;
  synchronise();
  std::memcpy(code + 1, &jump, 4);
  synchronise();
  first = 0xe9;
  synchronise();
  patching = nullptr;
}

uint8_t *instructionOf(void *context, bool behind) {
  auto &counter = static_cast<ucontext_t *>(context)->uc_mcontext.gregs[REG_RIP];
  counter -= behind;
  return reinterpret_cast<uint8_t *>(counter);
}

void onIllegal(int number, siginfo_t *, void *context) {
  uint8_t *code = instructionOf(context, false);
  while (busy.test_and_set(std::memory_order_acquire))
    ;
  Site site{};
  if (code[0] == 0xc4) {
    if (decode(code, site))
      patch(code, site);
    else
      std::signal(number, SIG_DFL); // somebody else's: it is raised again
  }
  busy.clear(std::memory_order_release);
}

/// A breakpoint of patch(): the instruction is tried again.
void onBreakpoint(int number, siginfo_t *, void *context) {
  uint8_t *code = instructionOf(context, true);
  if (patching != code && code[0] == 0xcc)
    std::signal(number, SIG_DFL);
}

bool install() {
  if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0) != 0)
    return false;
  struct sigaction action = {};
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  action.sa_sigaction = onIllegal;
  sigaction(SIGILL, &action, nullptr);
  action.sa_sigaction = onBreakpoint;
  sigaction(SIGTRAP, &action, nullptr);
  return true;
}

} // namespace

/// What a thunk calls: the registers in order of their numbers, and the vector registers as XSAVE lays them out.
extern "C" void latheEmulate(const Site *site, const uint64_t *registers, uint8_t *state) {
  uint64_t start = static_cast<uint64_t>(site->displacement);
  if (site->base == -2)
    start += reinterpret_cast<uint64_t>(site->next);
  else if (site->base >= 0)
    start += registers[site->base];
  uint64_t index = site->index < 0 ? 0 : registers[site->index] * static_cast<uint64_t>(site->scale);
  auto memory = [&](uint64_t address) { return reinterpret_cast<uint8_t *>(address); };
  switch (site->op) {
  case Op::vpdpbusd:
    return addProducts(*site, site->rm < 0 ? memory(start + index) : nullptr, state);
  case Op::ldtilecfg:
    return configure(memory(start + index));
  case Op::tilerelease:
    tiles = {};
    return;
  case Op::tilezero:
    std::memset(tiles.bytes[usable(site->reg)], 0, sizeof tiles.bytes[0]);
    return;
  case Op::tileloadd:
    std::memset(tiles.bytes[usable(site->reg)], 0, sizeof tiles.bytes[0]);
    for (int row = 0; row < tiles.rows[site->reg]; ++row)
      std::memcpy(tiles.bytes[site->reg][row], memory(start + row * index), tiles.rowBytes[site->reg]);
    return;
  case Op::tilestored:
    for (int row = 0; row < tiles.rows[usable(site->reg)]; ++row)
      std::memcpy(memory(start + row * index), tiles.bytes[site->reg][row], tiles.rowBytes[site->reg]);
    return;
  case Op::tdpb:
    return multiply(*site);
  }
}

// rax: the Site. On the stack: the return address, rax of the code, 128 bytes that are its own.
__asm__(R"(
.text
.globl latheEmulationEntry
.type latheEmulationEntry, @function
latheEmulationEntry:
  pushfq
  push %r15; push %r14; push %r13; push %r12; push %r11; push %r10; push %r9; push %r8
  push %rdi; push %rsi; push %rbp; push %rsp; push %rbx; push %rdx; push %rcx
  push 136(%rsp)
  lea 280(%rsp), %rcx
  mov %rcx, 32(%rsp)
  mov %rax, %rdi
  mov %rsp, %rsi
  mov %rsp, %rbp
  sub $4096, %rsp
  and $-64, %rsp
  xor %eax, %eax
  .irp word, 512, 520, 528, 536, 544, 552, 560, 568
  mov %rax, \word(%rsp)
  .endr
  xor %edx, %edx
  mov $0xe7, %eax
  xsave (%rsp)
  mov %rsp, %rdx
  cld
  call latheEmulate
  xor %edx, %edx
  mov $0xe7, %eax
  xrstor (%rsp)
  mov %rbp, %rsp
  add $8, %rsp
  pop %rcx; pop %rdx; pop %rbx; add $8, %rsp; pop %rbp; pop %rsi; pop %rdi
  pop %r8; pop %r9; pop %r10; pop %r11; pop %r12; pop %r13; pop %r14; pop %r15
  popfq
  ret
.size latheEmulationEntry, . - latheEmulationEntry
)");

bool lathe::emulatesTier(std::string_view) {
  static const bool installed = install();
  return installed;
}
