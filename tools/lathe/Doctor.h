//===- Doctor.h - what lathe doctor finds ---------------------------------===//
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace lathe {

enum class Health {
  good,    ///< as it should be
  notice,  ///< works, and could be better; or is not there and not needed
  unusable ///< no compiled model runs here
};

/// One thing looked at: what it is, what it means for running models, and what to do about it.
struct Finding {
  std::string subject; ///< "cpu", "cores", "memory", "huge pages", "cuda"
  std::string name;    ///< "tiers"
  std::string value;
  Health health = Health::good;
  std::string meaning;
  std::string advice; ///< empty: nothing to do
};

/// The CUDA toolkit, the driver and its devices, found by loading their libraries.
std::vector<Finding> examineCuda();

} // namespace lathe
