//===- TierName.h - ISA tiers and features by name ------------------------===//
//
// What code needs of a CPU is written as a tier and features beyond it: "avx512vnni", "avx512vnni+bf16",
// "avx512vnni+bf16+gfni". Artifacts, plans, stage 20 and the command line all use this one string.
//
//===----------------------------------------------------------------------===//
#pragma once

#include <string_view>

namespace lathe {

/// "avx512vnni" of "avx512vnni+bf16".
inline std::string_view baseOfTier(std::string_view tier) { return tier.substr(0, tier.find('+')); }

/// "+bf16+gfni" of "avx512vnni+bf16+gfni"; empty without features.
inline std::string_view featuresOfTier(std::string_view tier) { return tier.substr(baseOfTier(tier).size()); }

/// Calls `visit(feature)` for each feature of a tier; false as soon as one of the calls is.
template <typename Visit> bool everyFeature(std::string_view tier, Visit visit) {
  for (std::string_view rest = featuresOfTier(tier); !rest.empty();) {
    rest.remove_prefix(1);
    std::string_view feature = rest.substr(0, rest.find('+'));
    if (!visit(feature))
      return false;
    rest.remove_prefix(feature.size());
  }
  return true;
}

/// Whether code of the tier may use a feature.
inline bool tierHas(std::string_view tier, std::string_view feature) {
  return !everyFeature(tier, [&](std::string_view has) { return has != feature; });
}

} // namespace lathe
