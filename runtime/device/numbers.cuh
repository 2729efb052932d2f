//===- numbers.cuh - bf16 and f16 -------------------------------------------===//
#pragma once

#include "lathe/primitives.cuh"

namespace lathe::device {

/// The upper 16 bits of a float.
struct bf16 {
  unsigned short bits;
};

LATHE_DEVICE float to_float(bf16 x) { return float_of(static_cast<unsigned>(x.bits) << 16); }
/// To nearest even; NaN becomes the NaN of PTX, 0x7fff.
LATHE_DEVICE bf16 to_bf16(float x) { return {static_cast<unsigned short>(pack_bf16(x, 0.0f))}; }

/// IEEE's half precision, which scales may have.
struct f16 {
  unsigned short bits;
};

LATHE_DEVICE float to_float(f16 x) { return widen_f16(x.bits); }

/// The two bf16 of a register.
LATHE_DEVICE float low_bf16(unsigned pair) { return float_of(pair << 16); }
LATHE_DEVICE float high_bf16(unsigned pair) { return float_of(pair & 0xffff0000u); }

} // namespace lathe::device
