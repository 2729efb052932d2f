//===- StoredFormat.cpp - what a model's file stores, as types --------------===//
#include "passes/lm/StoredFormat.h"

using namespace mlir;
using namespace lathe::lm;

namespace {

struct Format {
  StringLiteral element;
  int64_t bits, group, bias;
  bool minimum;
  int64_t super;
};
/// Five bits are stored in six.
constexpr Format formats[] = {
    {"Q8_0", 8, 32, 0, false, 0},  {"Q4_0", 4, 32, 8, false, 0},    {"Q4_1", 4, 32, 0, true, 0},
    {"Q5_0", 6, 32, 16, false, 0}, {"Q5_1", 6, 32, 0, true, 0},     {"Q4_K", 4, 32, 0, true, 256},
    {"Q5_K", 6, 32, 0, true, 256}, {"Q6_K", 6, 16, 32, false, 256},
};

} // namespace

std::pair<int64_t, QuantAttr> lathe::lm::storedFormat(MLIRContext *context, StringRef element) {
  for (const Format &format : formats)
    if (format.element == element)
      return {format.bits, QuantAttr::get(context, format.group, Float16Type::get(context), format.bias, format.minimum,
                                          format.super, QuantMethod::kept)};
  return {};
}

FloatType lathe::lm::storedFloat(MLIRContext *context, StringRef element) {
  if (element == "BF16")
    return BFloat16Type::get(context);
  if (element == "F16")
    return Float16Type::get(context);
  return {};
}

QuantAttr lathe::lm::commonFormat(ArrayRef<RankedTensorType> types) {
  int64_t group = 0;
  bool minimum = false;
  for (RankedTensorType type : types) {
    QuantAttr quant = quantOf(type);
    if (!quant || quant.getMethod() != QuantMethod::kept)
      return {};
    group = group == 0 ? quant.getGroup() : std::min(group, quant.getGroup());
    minimum |= quant.getMinimum();
  }
  // Groups are powers of two times 16, so the smallest divides the others.
  MLIRContext *context = types.front().getContext();
  return QuantAttr::get(context, group, Float32Type::get(context), 0, minimum, 0, QuantMethod::kept);
}
