//===- fibers.cpp - threads as fibers that meet -----------------------------===//
#include "lathe/host/fibers.h"

#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <sys/mman.h>
#if !defined(__x86_64__) || defined(LATHE_HOST_UCONTEXT)
#define LATHE_UCONTEXT
#include <ucontext.h>
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

namespace lathe::device::host {

Executor executor;
Order order;

namespace {

constexpr size_t kStackBytes = 64 * 1024, kGuardBytes = 4096;
/// Stacks that all began at the same place of a page would share the same few lines of the cache.
constexpr size_t kStackColour = 192, kColours = 16;

/// Where the threads of one scope come together.
struct Meeting {
  int arrived = 0;
  const char *name = nullptr;
  Complete complete = nullptr;
  Where where{}, call{};
  void *operands[kMaxThreads];
};

struct Fiber {
#ifdef LATHE_UCONTEXT
  ucontext_t context;
#else
  void *stack;
#endif
  const Meeting *waits; ///< null where it runs or may run
  Where at;             ///< where it waits
  bool ended;
};

struct Fibers {
  char *stacks = nullptr;
  Fiber fiber[kMaxThreads];
  Fiber outside; ///< who called runBlock
  Meeting groups[kMaxThreads / 16], warps[kMaxThreads / 32], block;
  unsigned short queue[kMaxThreads]; ///< threads that may run, from `head` on
  unsigned head, queued;
  int ended;
  void (*body)();
  std::string *report;
  bool reported;
} state;

#ifdef LATHE_UCONTEXT
void change(Fiber &from, Fiber &to) { swapcontext(&from.context, &to.context); }
#else
// Saves what a function must not change, and goes on where `to` left off.
asm(R"(
.text
.p2align 4
.local lathe_change_stack
.type lathe_change_stack, @function
lathe_change_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size lathe_change_stack, .-lathe_change_stack
)");
extern "C" void lathe_change_stack(void **from, void *to) __asm__("lathe_change_stack");
void change(Fiber &from, Fiber &to) { lathe_change_stack(&from.stack, to.stack); }
#endif

void put(unsigned thread, bool first) {
  if (first) {
    state.head = (state.head + kMaxThreads - 1) % kMaxThreads;
    state.queue[state.head] = static_cast<unsigned short>(thread);
  } else {
    state.queue[(state.head + state.queued) % kMaxThreads] = static_cast<unsigned short>(thread);
  }
  ++state.queued;
}

/// Leaves `from` for a thread that may run, or for outside where there is none.
void leave(Fiber &from) {
  if (state.queued == 0)
    return change(from, state.outside);
  const unsigned next = state.queue[state.head];
  state.head = (state.head + 1) % kMaxThreads;
  --state.queued;
  executor.thread = static_cast<int>(next);
  change(from, state.fiber[next]);
}

void threadBegin() {
  state.body();
  if (executor.check && !executor.ready[executor.thread])
    report({"", 0}, "ends without dependency_wait, though its launch overlaps with the kernels before it");
  Fiber &mine = state.fiber[executor.thread];
  mine.ended = true;
  ++state.ended;
  leave(mine);
  __builtin_unreachable();
}

void prepare(int thread) {
  Fiber &fiber = state.fiber[thread];
  fiber.waits = nullptr;
  fiber.ended = false;
  executor.call[thread] = {nullptr, 0};
  executor.ready[thread] = !executor.dependent;
  char *stack = state.stacks + thread * (kStackBytes + kGuardBytes) + kGuardBytes;
#ifdef __SANITIZE_ADDRESS__
  __asan_unpoison_memory_region(stack, kStackBytes); // of frames that a report left behind
#endif
#ifdef LATHE_UCONTEXT
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = stack;
  fiber.context.uc_stack.ss_size = kStackBytes;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, threadBegin, 0);
#else
  // As if threadBegin had been called: six registers, where to go on, and a return address that is never used.
  void **top = reinterpret_cast<void **>(stack + kStackBytes - thread % kColours * kStackColour);
  *--top = nullptr;
  *--top = reinterpret_cast<void *>(&threadBegin);
  for (int i = 0; i < 6; ++i)
    *--top = nullptr;
  fiber.stack = top;
#endif
}

bool makeStacks() {
  if (state.stacks)
    return true;
  const size_t each = kStackBytes + kGuardBytes;
  void *memory =
      mmap(nullptr, each * kMaxThreads, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED)
    return false;
  state.stacks = static_cast<char *>(memory);
  for (int i = 0; i < kMaxThreads; ++i)
    mprotect(state.stacks + i * each, kGuardBytes, PROT_NONE);
  return true;
}

const char *baseName(const char *file) {
  const char *slash = strrchr(file, '/');
  return slash ? slash + 1 : file;
}

/// "line 12", or "line 12 (in dot.cuh:80)" of a library function's inside.
std::string place(int thread, Where where) {
  char text[256];
  if (where.line == 0)
    return "at its end";
  if (const Where &call = executor.call[thread]; call.line)
    snprintf(text, sizeof text, "line %d (in %s:%d)", call.line, baseName(where.file), where.line);
  else
    snprintf(text, sizeof text, "line %d", where.line);
  return text;
}

void writeReport(int thread, Where where, const char *message) {
  char head[96];
  snprintf(head, sizeof head, ", thread %d of block (%d, %d): ", thread, executor.blockX, executor.blockY);
  *state.report = std::string("kernel ") + executor.launch->kernel + ", " + place(thread, where) + head + message;
  state.reported = true;
}

/// Nobody can run and not all have ended.
void reportStanding() {
  int first = 0;
  while (state.fiber[first].ended)
    ++first;
  const Fiber &waiting = state.fiber[first];
  int other = -1;
  const int size = waiting.waits == &state.block                                                    ? executor.threads
                   : waiting.waits >= state.warps && waiting.waits < state.warps + kMaxThreads / 32 ? 32
                                                                                                    : 16;
  const int base = first / size * size;
  for (int thread = base; thread < base + size && other < 0; ++thread)
    if (state.fiber[thread].ended || state.fiber[thread].waits != waiting.waits)
      other = thread;
  std::string message = std::string(waiting.waits->name) + " waits for ever: thread " + std::to_string(other);
  if (state.fiber[other].ended)
    message += " has ended without it";
  else
    message +=
        std::string(" waits at ") + place(other, state.fiber[other].at) + " in " + state.fiber[other].waits->name;
  writeReport(first, waiting.at, message.c_str());
}

} // namespace

void report(Where where, const char *format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  writeReport(executor.thread, where, text);
  change(state.fiber[executor.thread], state.outside);
  __builtin_unreachable();
}

void meet(Scope scope, const char *name, bool orders, Complete complete, void *operand, Where where) {
  const int thread = executor.thread;
  const int size = scope == Scope::group ? 16 : scope == Scope::warp ? 32 : executor.threads;
  const int number = thread / size, base = number * size;
  Meeting &meeting = scope == Scope::group  ? state.groups[number]
                     : scope == Scope::warp ? state.warps[number]
                                            : state.block;
  const Where &call = executor.call[thread];
  if (meeting.arrived == 0) {
    meeting.name = name;
    meeting.complete = complete;
    meeting.where = where;
    meeting.call = call;
  } else if (meeting.where.line != where.line || meeting.where.file != where.file || meeting.call.line != call.line) {
    report(where, "%s while others of the %s are at %s of line %d: threads that diverged cannot meet", name,
           scope == Scope::group  ? "group"
           : scope == Scope::warp ? "warp"
                                  : "block",
           meeting.name, meeting.call.line ? meeting.call.line : meeting.where.line);
  }
  meeting.operands[thread - base] = operand;
  Fiber &mine = state.fiber[thread];
  if (++meeting.arrived < size) {
    mine.waits = &meeting;
    mine.at = where;
    leave(mine);
    return;
  }
  if (complete)
    complete(meeting.operands, size);
  meeting.arrived = 0;
  if (orders) {
    ++executor.clock;
    (scope == Scope::group  ? executor.groupSync[number]
     : scope == Scope::warp ? executor.warpSync[number]
                            : executor.blockSync) = executor.clock;
  }
  // The others may go on: before all others, so that few stacks are in use at a time, or by the seed from any of them
  // on and also behind those that can run already.
  const unsigned long long random = order.next();
  const unsigned start = static_cast<unsigned>(random >> 8) % static_cast<unsigned>(size);
  const bool first = !executor.shuffles || random & 1;
  for (unsigned i = 0; i < static_cast<unsigned>(size); ++i) {
    unsigned other = static_cast<unsigned>(base) + (i + start) % static_cast<unsigned>(size);
    if (other == static_cast<unsigned>(thread))
      continue;
    state.fiber[other].waits = nullptr;
    put(other, first);
  }
}

bool runBlock(void (*thread)(), std::string &report) {
  state.report = &report;
  state.reported = false;
  if (!makeStacks()) {
    report = "no memory for the stacks of a block's threads (64 MiB of addresses)";
    return false;
  }
  state.body = thread;
  state.head = state.queued = 0;
  state.ended = 0;
  const int threads = executor.threads;
  for (Meeting &meeting : state.groups)
    meeting.arrived = 0;
  for (Meeting &meeting : state.warps)
    meeting.arrived = 0;
  state.block.arrived = 0;
  for (int i = 0; i < threads; ++i) {
    prepare(i);
    put(static_cast<unsigned>(i), false);
  }
  // Fisher and Yates.
  if (executor.shuffles)
    for (unsigned i = static_cast<unsigned>(threads) - 1; i > 0; --i)
      std::swap(state.queue[i], state.queue[order.below(i + 1)]);
  leave(state.outside);
  if (!state.reported && state.ended < threads)
    reportStanding();
  return !state.reported;
}

} // namespace lathe::device::host
