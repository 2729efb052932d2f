#include "compiler/SampleKernel.h"

namespace lathe {

/// More threads than other kernels have: one block works alone where one sequence is decoded.
static constexpr int64_t kThreads = 512, kWarps = kThreads / 32;
/// Of DrawScratch: sums of each warp, sums of all, and where something was found.
static constexpr int64_t kSharedBytes = kWarps * 16 * 8 + 16 * 8 + 16;

Result<CudaText> printSampleKernel(int64_t vocab, int64_t stride) {
  if (stride % 4 != 0 || stride < vocab)
    return fail(ExitCode::internal, "kernel {}: expected rows of at least {} logits, a multiple of 4, found {}",
                sampleKernel, vocab, stride);
  constexpr const char *text = R"(// {0}
//   draws a token of each logit row, as the sampler of the host does (runtime/device/sample.cuh)
// a block: one row of {1} logits, {2} bytes of shared memory
#include "lathe/kernel.cuh"
#include "lathe/sample.cuh"

using namespace lathe::device;

namespace {{
constexpr int kThreads = {3};
struct Memory {{
  DrawScratch<{4}> scratch;
}};
static_assert(sizeof(Memory) == {2});
}} // namespace

extern "C" __global__ __launch_bounds__(kThreads, 1) void {0}(Batch batch, Global<const float, {5}> logits,
    Global<int> tokens) {{
  Memory &memory = shared_memory<Memory>();
  dependency_wait();
  dependency_trigger();
  const int row = block_y();
  if (row >= batch.logit_rows()) return;
  const int token = draw_token(batch, logits, row, {1}, memory.scratch);
  if (thread() == 0) tokens(row) = token;
}}
)";
  return CudaText{.name = std::string(sampleKernel),
                  .text = fmt::format(text, sampleKernel, vocab, kSharedBytes, kThreads, kWarps, stride),
                  .sharedBytes = kSharedBytes};
}

void addSampleLaunch(Plan &plan, const std::vector<std::string> &architectures, int64_t sharedBytes) {
  std::string symbol(sampleKernel);
  Kernel kernel{.symbol = symbol, .unit = Unit::logitRows, .variants = {}, .provenance = "the step: sample"};
  for (const std::string &architecture : architectures)
    kernel.variants[architecture].forms = {
        {.symbol = symbol, .threads = kThreads, .sharedBytes = sharedBytes, .waits = true, .triggers = true}};
  kernel.parameters = {
      {.name = "logits", .access = Access::read, .unit = Unit::logitRows, .bytes = plan.logitStride * 4},
      {.name = "tokens", .access = Access::write, .unit = Unit::logitRows, .bytes = 4}};
  int64_t logits = 0;
  while (plan.buffers[logits].kind != Buffer::Kind::logits)
    ++logits;
  plan.launches.push_back({.kernel = static_cast<int64_t>(plan.kernels.size()),
                           .args = {logits, static_cast<int64_t>(plan.buffers.size())}});
  plan.kernels.push_back(std::move(kernel));
  plan.buffers.push_back({.name = "tokens", .kind = Buffer::Kind::tokens});
}

} // namespace lathe
