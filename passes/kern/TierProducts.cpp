#include "passes/kern/TierProducts.h"

#include "runtime/TierName.h"

using namespace lathe;
using namespace lathe::kern;

namespace {

constexpr TierProducts tiers[] = {{"amx", ByteDot::vnni512, true},
                                  {"avx512vnni", ByteDot::vnni512, false},
                                  {"avxvnni", ByteDot::vnni256, false},
                                  {"x86-64-v3", ByteDot::sign256, false}};

/// The features are of 512 bits: AVX512-BF16, and GFNI on zmm.
bool hasFeatures(const TierProducts &tier) { return tier.byteDot == ByteDot::vnni512; }

} // namespace

std::optional<TierProducts> kern::findTierProducts(llvm::StringRef tier) {
  for (TierProducts found : tiers) {
    if (found.tier != llvm::StringRef(baseOfTier(tier)))
      continue;
    bool known = everyFeature(tier, [&](std::string_view feature) {
      found.gfni |= feature == "gfni";
      found.bf16 |= feature == "bf16";
      return hasFeatures(found) && (feature == "gfni" || feature == "bf16");
    });
    found.tier = tier;
    if (known)
      return found;
  }
  return std::nullopt;
}

std::string kern::tierNames() {
  std::string names;
  for (const TierProducts &known : tiers)
    names.append(&known == tiers                 ? ""
                 : &known == std::end(tiers) - 1 ? " or "
                                                 : ", ")
        .append(known.tier)
        .append(hasFeatures(known) ? " (with +bf16, +gfni)" : "");
  return names;
}
