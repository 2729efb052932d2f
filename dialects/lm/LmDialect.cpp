//===- LmDialect.cpp - types and attributes of the lm dialect --------------===//
#include "dialects/lm/LmDialect.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

#include <cmath>
#include <numbers>

using namespace mlir;
using namespace lathe::lm;

#include "dialects/lm/LmDialect.cpp.inc"
#include "dialects/lm/LmEnums.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "dialects/lm/LmAttributes.cpp.inc"

#define GET_TYPEDEF_CLASSES
#include "dialects/lm/LmTypes.cpp.inc"

#include "dialects/lm/LmInterfaces.cpp.inc"

void LmDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/lm/LmAttributes.cpp.inc"
      >();
  addTypes<
#define GET_TYPEDEF_LIST
#include "dialects/lm/LmTypes.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialects/lm/LmOps.cpp.inc"
      >();
}

/// Keeps products of sizes from an edited file far from overflow.
static constexpr int64_t sizeLimit = 65536;

LogicalResult KvType::verify(llvm::function_ref<InFlightDiagnostic()> emitError, int64_t heads, int64_t dim,
                             int64_t page, Type element) {
  if (heads < 1 || dim < 1 || heads > sizeLimit || dim > sizeLimit)
    return emitError() << "expected heads and dim from 1 to " << sizeLimit << ", found " << heads << " and " << dim;
  if (page < 16 || page % 16 != 0 || page > sizeLimit)
    return emitError() << "expected a page of a multiple of 16 positions up to " << sizeLimit << ", found " << page;
  if (!element.isF32() && !element.isBF16() && !element.isSignlessInteger(8))
    return emitError() << "expected element f32, bf16 or i8, found " << element;
  return success();
}

LogicalResult QuantAttr::verify(llvm::function_ref<InFlightDiagnostic()> emitError, int64_t group, Type scale,
                                int64_t bias, bool minimum, int64_t super, QuantMethod method) {
  if (group < 4 || group % 4 != 0 || group > sizeLimit)
    return emitError() << "expected a group of a positive multiple of 4 elements up to " << sizeLimit << ", found "
                       << group;
  if (!scale.isF32() && !scale.isBF16() && !scale.isF16())
    return emitError() << "expected scale f32, bf16 or f16, found " << scale;
  if (bias < 0 || bias > 128)
    return emitError() << "expected a bias from 0 to 128, found " << bias;
  if (super < 0 || super > sizeLimit || super % group != 0)
    return emitError() << "expected a super of whole groups of " << group << ", found " << super;
  if (method == QuantMethod::absmax && (bias != 0 || minimum || super != 0))
    return emitError() << "expected no bias, minimum or super with method absmax";
  return success();
}

static const std::pair<StringRef, std::vector<StringRef>> ropeTypes[] = {
    {"default", {}},
    {"linear", {"factor"}},
    {"llama3", {"factor", "high_freq_factor", "low_freq_factor", "original_max_position_embeddings"}},
    {"yarn", {"attention_factor", "beta_fast", "beta_slow", "factor", "original_max_position_embeddings", "truncate"}},
};

LogicalResult RopeAttr::verify(llvm::function_ref<InFlightDiagnostic()> emitError, RopeLayout layout, FloatAttr theta,
                               StringAttr type, DictionaryAttr params) {
  if (!theta.getType().isF64() || !(theta.getValueAsDouble() > 0))
    return emitError() << "expected a positive f64 theta, found " << theta;
  for (auto &[name, keys] : ropeTypes) {
    if (name != type.getValue())
      continue;
    if (params.size() != keys.size())
      return emitError() << "expected " << keys.size() << " params for rope type " << name << ", found "
                         << params.size();
    for (StringRef key : keys)
      if (auto value = dyn_cast_or_null<FloatAttr>(params.get(key)); !value || !value.getType().isF64())
        return emitError() << "expected an f64 param '" << key << "' for rope type " << name;
    return success();
  }
  return emitError() << "expected rope type default, linear, llama3 or yarn, found " << type;
}

bool lathe::lm::isStoredFloat(Type element) { return element.isF32() || element.isBF16() || element.isF16(); }

bool lathe::lm::isCode(Type element) { return element.isInteger(8) || element.isInteger(6) || element.isInteger(4); }

QuantAttr lathe::lm::quantOf(Type type) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  return tensor ? dyn_cast_or_null<QuantAttr>(tensor.getEncoding()) : QuantAttr();
}

RopeFrequencies lathe::lm::ropeFrequencies(RopeAttr rope, int64_t dim) {
  auto param = [&](StringRef name) { return cast<FloatAttr>(rope.getParams().get(name)).getValueAsDouble(); };
  double theta = rope.getTheta().getValueAsDouble();
  constexpr double pi = std::numbers::pi;
  RopeFrequencies result;
  int64_t pairs = dim / 2;
  for (int64_t j = 0; j < pairs; ++j)
    result.inverse.push_back(std::pow(theta, -2.0 * j / dim));

  StringRef type = rope.getType().getValue();
  if (type == "linear") {
    for (double &f : result.inverse)
      f /= param("factor");
  } else if (type == "llama3") {
    // Long wavelengths are stretched by `factor`, short ones kept, those between blended.
    double factor = param("factor"), low = param("low_freq_factor"), high = param("high_freq_factor");
    double original = param("original_max_position_embeddings");
    for (double &f : result.inverse) {
      double wavelength = 2 * pi / f;
      if (wavelength > original / low) {
        f /= factor;
      } else if (wavelength >= original / high) {
        double smooth = (original / wavelength - low) / (high - low);
        f = (1 - smooth) * f / factor + smooth * f;
      }
    }
  } else if (type == "yarn") {
    double factor = param("factor"), original = param("original_max_position_embeddings");
    auto correctionDim = [&](double rotations) {
      return dim * std::log(original / (rotations * 2 * pi)) / (2 * std::log(theta));
    };
    double low = correctionDim(param("beta_fast")), high = correctionDim(param("beta_slow"));
    if (param("truncate") != 0) {
      low = std::floor(low);
      high = std::ceil(high);
    }
    low = std::max(low, 0.0);
    high = std::min(high, double(dim - 1));
    if (low == high)
      high += 0.001;
    for (int64_t j = 0; j < pairs; ++j) {
      double ramp = std::clamp((j - low) / (high - low), 0.0, 1.0);
      double &f = result.inverse[j];
      f = f / factor * ramp + f * (1 - ramp);
    }
    result.attentionFactor = param("attention_factor");
  }
  return result;
}
