#include "compiler/KernelCheck.h"

#include "compiler/CudaCodegen.h"
#include "compiler/Half.h"
#include "dialects/kern/KernDialect.h"
#include "runtime/HostLaunches.h"
#include "runtime/Sampler.h"
#include "runtime/StepArrays.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

using namespace mlir;

namespace lathe {
namespace {

/// A sequence that takes part in a step: rows from a position on.
struct Part {
  int64_t position, rows;
};

/// Numbers of a buffer as they stand in memory.
struct Numbers {
  Type element;
  std::vector<uint64_t> memory; ///< aligned
  int64_t count = 0;
  /// Keys of int8: bytes of a head's page, and where the scales begin in it. 0: there are none.
  int64_t headBytes = 0, codeBytes = 0;

  bool isScale(int64_t i) const { return headBytes != 0 && i % headBytes >= codeBytes; }
  int64_t bytes() const { return count * element.getIntOrFloatBitWidth() / 8; }
  void *data() { return memory.data(); }
  const void *data() const { return memory.data(); }
  float at(int64_t i) const {
    if (element.isF32() || isScale(i))
      return static_cast<const float *>(data())[element.isF32() ? i : i / 4];
    if (element.isInteger(8))
      return static_cast<const int8_t *>(data())[i];
    if (element.isInteger(32)) // ids of tokens: exact below 2^24
      return static_cast<float>(static_cast<const int32_t *>(data())[i]);
    if (element.isF16())
      return halfToFloat(static_cast<const uint16_t *>(data())[i]);
    return bf16ToFloat(static_cast<const uint16_t *>(data())[i]);
  }
};

/// Sequences of a step, and how large the numbers are that its kernels get: large ones make a softmax one-sided.
struct Batch {
  std::vector<Part> parts;
  float magnitude = 1.0f;
};

/// One step with everything that a kernel may read of it.
class Trial {
public:
  Trial(const Plan &plan, const Batch &batch, uint64_t seed)
      : plan(plan), parts(batch.parts), magnitude(batch.magnitude), random(seed) {
    int64_t stride = 1;
    for (const Part &part : parts)
      stride = std::max(stride, kern::ceilDiv(part.position + part.rows, plan.pageTokens));
    pages = stride * static_cast<int64_t>(parts.size());
    for (int64_t page = 0; page < pages; ++page)
      pageTable.push_back(static_cast<int32_t>(page));
    std::ranges::shuffle(pageTable, random);
    records = AttentionItems::recordsFor(plan, plan.context, workers);
    arrays = StepArrays(AttentionItems(plan, workers, records));
    std::vector<std::vector<int32_t>> tokens(parts.size());
    std::vector<PagedRows> batched;
    for (size_t sequence = 0; sequence < parts.size(); ++sequence) {
      for (int64_t row = 0; row < parts[sequence].rows; ++row)
        tokens[sequence].push_back(static_cast<int32_t>(random() % plan.vocab));
      batched.push_back({.pages = std::span(pageTable).subspan(sequence * stride, stride),
                         .position = parts[sequence].position,
                         .tokens = tokens[sequence],
                         .draw = drawOf(ways[(seed + sequence) % std::size(ways)], random())});
    }
    step = arrays.layOut(batched);
  }

  /// Random numbers for one argument of a kernel.
  Numbers draw(MemRefType type, const Buffer &buffer, const Parameter &parameter) {
    int64_t first = type.isDynamicDim(0) ? 0 : type.getDimSize(0);
    if (buffer.kind == Buffer::Kind::key || buffer.kind == Buffer::Kind::value)
      first = pages;
    else if (parameter.unit)
      first = *parameter.unit == Unit::rows        ? step.rows
              : *parameter.unit == Unit::logitRows ? step.logitRows
                                                   : std::max<int64_t>(records, 1);
    Numbers numbers{.element = type.getElementType(), .memory = {}, .count = first};
    for (int64_t size : type.getShape().drop_front())
      numbers.count *= size;
    numbers.memory.resize(numbers.bytes() / 8 + 1);
    std::uniform_real_distribution<float> between(-magnitude, magnitude);
    for (int64_t i = 0; i < numbers.count; ++i) {
      float value = between(random);
      if (numbers.element.isF32())
        static_cast<float *>(numbers.data())[i] = value;
      else if (numbers.element.isInteger(8))
        static_cast<int8_t *>(numbers.data())[i] = static_cast<int8_t>(value / magnitude * 127.0f);
      else if (numbers.element.isInteger(32))
        static_cast<int32_t *>(numbers.data())[i] = 0;
      else if (numbers.element.isF16())
        static_cast<uint16_t *>(numbers.data())[i] = floatToHalf(value);
      else
        static_cast<uint16_t *>(numbers.data())[i] = floatToBf16(value);
    }
    bool paged = buffer.kind == Buffer::Kind::key || buffer.kind == Buffer::Kind::value;
    if (paged && numbers.element.isInteger(8)) {
      if (buffer.kind == Buffer::Kind::key)
        drawScales(numbers);
    } else if (paged) {
      forget(numbers, buffer.kind == Buffer::Kind::key);
    }
    return numbers;
  }

  const LatheStep &batch() const { return step; }

private:
  static constexpr int64_t workers = 16;
  /// How tokens are drawn.
  static inline const SamplerOptions ways[] = {{},
                                               {.temperature = 1, .topK = 5},
                                               {.temperature = 0.7, .topP = 0.9},
                                               {.temperature = 2, .topK = 40, .topP = 0.8, .minP = 0.02},
                                               {.temperature = 1}};

  /// Both scales of every slot, as attention.cuh orders them; NaN where no position has been.
  void drawScales(Numbers &keys) {
    int64_t page = plan.pageTokens;
    keys.codeBytes = page * plan.dimPadded, keys.headBytes = keys.codeBytes + page * kern::scaleBytes;
    std::uniform_real_distribution<float> between(magnitude / 256, magnitude / 127);
    for (size_t sequence = 0; sequence < parts.size(); ++sequence)
      for (int64_t slot = 0; slot < step.pageStride * page; ++slot) {
        bool holds = slot < parts[sequence].position + parts[sequence].rows;
        int64_t physical = pageTable[static_cast<int64_t>(sequence) * step.pageStride + slot / page], in = slot % page;
        for (int64_t head = physical * plan.kvHeads; head < (physical + 1) * plan.kvHeads; ++head) {
          float *scales = static_cast<float *>(keys.data()) + (head * keys.headBytes + keys.codeBytes) / 4;
          for (int64_t at : {in % 8 * (page / 8) + in / 8, page + in})
            scales[at] = holds ? between(random) : std::numeric_limits<float>::quiet_NaN();
        }
      }
  }

  /// Slots of pages that no position has reached hold nothing.
  void forget(Numbers &numbers, bool keys) {
    int64_t page = plan.pageTokens, dims = plan.dimPadded;
    for (size_t sequence = 0; sequence < parts.size(); ++sequence)
      for (int64_t slot = parts[sequence].position + parts[sequence].rows; slot < step.pageStride * page; ++slot) {
        int64_t physical = pageTable[static_cast<int64_t>(sequence) * step.pageStride + slot / page];
        for (int64_t i = 0; i < plan.kvHeads * dims; ++i) {
          int64_t head = physical * plan.kvHeads + i / dims, dim = i % dims;
          int64_t at = keys ? (head * page + slot % page) * dims + dim : (head * dims + dim) * page + slot % page;
          if (numbers.element.isF32())
            static_cast<float *>(numbers.data())[at] = std::numeric_limits<float>::quiet_NaN();
          else
            static_cast<uint16_t *>(numbers.data())[at] = floatToBf16(std::numeric_limits<float>::quiet_NaN());
        }
      }
  }

  const Plan &plan;
  const std::vector<Part> &parts;
  float magnitude;
  std::mt19937_64 random;
  std::vector<int32_t> pageTable;
  StepArrays arrays;
  LatheStep step = {};
  int64_t pages = 0, records = 0;
};

/// A plan of one launch, whose buffers are the kernel's arguments, by that form of it alone.
Plan alone(const Plan &plan, int64_t kernel, const std::string &form) {
  Plan single = plan;
  for (auto &[architecture, variant] : single.kernels[kernel].variants) {
    llvm::erase_if(variant.forms, [&](const KernelForm &other) { return other.symbol != form; });
    variant.forms.front().mostUnits = 0;
  }
  auto launch = llvm::find_if(plan.launches, [&](const Launch &launch) { return launch.kernel == kernel; });
  single.launches = {*launch};
  single.edges.clear();
  return single;
}

/// The types of a kernel's arguments: its function's, or of what is text of the library (compiler/SampleKernel.h) those
/// that its parameters say.
std::vector<MemRefType> argumentTypes(ModuleOp cuda, const Plan &plan, int64_t kernel) {
  std::vector<MemRefType> types;
  if (auto function = cuda.lookupSymbol<func::FuncOp>(plan.kernels[kernel].symbol)) {
    for (Type type : function.getArgumentTypes())
      types.push_back(cast<MemRefType>(type));
    return types;
  }
  Builder b(cuda.getContext());
  const Launch &launch = *llvm::find_if(plan.launches, [&](const Launch &launch) { return launch.kernel == kernel; });
  for (int64_t argument : launch.args)
    types.push_back(plan.buffers[argument].kind == Buffer::Kind::tokens
                        ? MemRefType::get({ShapedType::kDynamic}, b.getI32Type())
                        : MemRefType::get({ShapedType::kDynamic, plan.logitStride}, b.getF32Type()));
  return types;
}

/// Sums in another order differ by rounding, and so may the last bit of bf16 and a code; tokens do not.
bool near(const Numbers &numbers, int64_t i, float actual, float wanted) {
  if (std::isnan(wanted))
    return std::isnan(actual);
  float error = std::abs(actual - wanted), size = std::max(1.0f, std::abs(wanted));
  if (numbers.isScale(i))
    return error <= 1e-3f * std::abs(wanted);
  if (numbers.element.isInteger(32)) // a token
    return error == 0;
  return error <= (numbers.element.isF32() ? 1e-3f * size : numbers.element.isInteger(8) ? 1.0f : 0.02f * size);
}

struct Runner {
  const Plan &plan;
  const std::string &architecture;
  const CodeObject &printed, &edited;
  const std::string &form; ///< the symbol

  Result<void> trial(int64_t number, const std::vector<MemRefType> &types, const Batch &batch, uint64_t seed) {
    Trial trial(plan, batch, seed);
    Plan single = alone(plan, number, form);
    const Kernel &kernel = plan.kernels[number];
    const std::vector<int64_t> &args = single.launches.front().args;
    std::vector<Numbers> inputs;
    for (auto [type, parameter, buffer] : llvm::zip(types, kernel.parameters, args))
      inputs.push_back(trial.draw(type, plan.buffers[buffer], parameter));
    std::vector<Numbers> results[2] = {inputs, inputs};
    for (int side : {0, 1}) {
      std::vector<BufferExtent> extents(plan.buffers.size());
      for (size_t i = 0; i < args.size(); ++i)
        extents[args[i]] = {results[side][i].data(), static_cast<uint64_t>(results[side][i].bytes())};
      // The same order on both sides does not matter: results do not depend on it.
      auto launches = HostLaunches::create(single, side ? edited : printed, architecture, std::move(extents),
                                           {.seed = seed, .strict = true});
      if (!launches)
        return propagate(launches);
      if (auto ran = (*launches)->run(trial.batch()); !ran)
        return ran;
    }
    for (size_t i = 0; i < args.size(); ++i) {
      if (kernel.parameters[i].access == Access::read)
        continue;
      MemRefType type = types[i];
      for (int64_t j = 0; j < results[0][i].count; ++j)
        if (float wanted = results[0][i].at(j), actual = results[1][i].at(j); !near(results[0][i], j, actual, wanted))
          return fail(ExitCode::checkFailed,
                      "{}.cu: {}{} of {} rows is {}, the printed kernel gives {}; nothing was written", form,
                      kernel.parameters[i].name, place(type, j), trial.batch().rows, actual, wanted);
    }
    return {};
  }

  static std::string place(MemRefType type, int64_t element) {
    std::string text;
    for (int64_t size : llvm::reverse(type.getShape().drop_front())) {
      text = fmt::format(", {}{}", element % size, text);
      element /= size;
    }
    return fmt::format("({}{})", element, text);
  }
};

} // namespace

Result<void> checkEditedKernels(ModuleOp cuda, const Plan &plan, const std::string &architecture,
                                const std::vector<CudaText> &printed, const std::vector<CudaText> &edited) {
  std::vector<CudaText> before, after;
  for (auto [old, text] : llvm::zip(printed, edited))
    if (old.text != text.text)
      before.push_back(old), after.push_back(text);
  if (before.empty())
    return {};
  std::unique_ptr<CodeObject> objects[2];
  for (auto [texts, object] : {std::pair(&before, &objects[0]), std::pair(&after, &objects[1])}) {
    auto image = compileForHost(*texts);
    if (!image)
      return propagate(image);
    auto loaded = CodeObject::load(std::as_bytes(std::span(*image)), "edited kernels");
    if (!loaded)
      return propagate(loaded);
    *object = std::move(*loaded);
  }
  // Attention knows no end of the context: all of it is tried on any model, that is, several chunks, split and joined.
  constexpr int64_t kFar = 700;
  Plan longer = plan;
  longer.context = std::max(plan.context, kFar + 1);
  for (const CudaText &text : after)
    for (size_t number = 0; number < plan.kernels.size(); ++number) {
      const std::vector<KernelForm> &forms = plan.kernels[number].variants.at(architecture).forms;
      auto form = llvm::find_if(forms, [&](const KernelForm &other) { return other.symbol == text.name; });
      if (form == forms.end())
        continue;
      const Plan &tried = plan.kernels[number].unit == Unit::items ? longer : plan;
      Runner runner{tried, architecture, *objects[0], *objects[1], text.name};
      int64_t far = std::min(tried.context - 1, kFar);
      std::vector<Batch> batches = {{{{0, 1}}},
                                    {{{far, 1}, {far / 3, 7}}},
                                    {{{0, std::min<int64_t>(tried.context, 41)}, {far / 2, 1}, {3, 5}}},
                                    {{{0, 1}, {0, 1}, {0, 1}}, 40.0f}};
      // A whole block of rows and a few of another.
      if (form != forms.begin())
        batches.push_back({{{0, std::min(tried.context, form->unitsPerBlock)}, {far / 2, 7}}});
      for (uint64_t seed = 1; const Batch &batch : batches)
        if (auto same = runner.trial(static_cast<int64_t>(number),
                                     argumentTypes(cuda, plan, static_cast<int64_t>(number)), batch, seed++);
            !same)
          return same;
    }
  return {};
}

} // namespace lathe
