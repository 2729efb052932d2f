// A decoder layer, embedding and head as native code. The pipeline behind stage 20 is that of compiler/CpuCodegen.cpp, spelled with MLIR's and LLVM's own tools.
// DEFINE: %{tier} =
// DEFINE: %{quant} =
// DEFINE: %{cpu} =
// DEFINE: %{kv} = bf16
// DEFINE: %{object} = sed 's/element = bf16/element = %{kv}/' %s | lathe-opt --lm-fuse-pipeline=quant=%{quant} --kern-select-schedule=tiers=%{tier} --convert-lm-to-kern --kern-plan-memory --canonicalize --cse \
// DEFINE:   | sed -n '/^  module @/,/^  }$/p' | lathe-opt --convert-kern-to-vector --canonicalize --cse \
// DEFINE:   | mlir-opt --allow-unregistered-dialect --loop-invariant-code-motion --convert-scf-to-cf --convert-vector-to-llvm --convert-math-to-llvm --convert-arith-to-llvm --convert-index-to-llvm \
// DEFINE:       --convert-func-to-llvm --convert-cf-to-llvm --reconcile-unrealized-casts \
// DEFINE:   | mlir-translate --allow-unregistered-dialect --mlir-to-llvmir | opt -O2 %{cpu} -vectorize-loops=false -vectorize-slp=false --disable-builtin=memcpy --disable-builtin=memset \
// DEFINE:   | llc -O3 %{cpu} --fp-contract=off -relocation-model=pic -filetype=obj -o %t.o
// DEFINE: %{assembly} = llvm-objdump -d --no-show-raw-insn %t.o

// avx512vnni: bytes are multiplied 64 at a time, the six rows of a register tile take each weight vector once.
// REDEFINE: %{tier} = avx512vnni
// REDEFINE: %{quant} = int8
// REDEFINE: %{cpu} = -mcpu=x86-64-v4 -mattr=+avx512vnni
// RUN: %{object}
// RUN: %{assembly} | FileCheck %s --check-prefix=VNNI --implicit-check-not=call
// RUN: llvm-nm --undefined-only %t.o | FileCheck %s --check-prefix=UNDEFINED --allow-empty
// VNNI-LABEL: <norm_qkv_rope_append>:
// VNNI: vpdpbusd %zmm
// VNNI-LABEL: <attention>:
// VNNI-NOT: vpdpbusd
// VNNI: vfmadd{{.*}} %zmm
// VNNI-LABEL: <o_residual>:
// VNNI: vpbroadcastd
// VNNI: vpdpbusd %zmm{{[0-9]+}}, %[[W:zmm[0-9]+]], %zmm{{[0-9]+}}
// VNNI: vpdpbusd %zmm{{[0-9]+}}, %[[W]], %zmm{{[0-9]+}}
// VNNI-LABEL: <head_linear>:
// VNNI: vpdpbusd %zmm

// An int8 KV: both products of attention multiply bytes.
// REDEFINE: %{kv} = i8
// RUN: %{object}
// RUN: %{assembly} | FileCheck %s --check-prefix=VNNIKV --implicit-check-not=call
// RUN: llvm-nm --undefined-only %t.o | FileCheck %s --check-prefix=UNDEFINED --allow-empty
// VNNIKV-LABEL: <attention>:
// VNNIKV: vpdpbusd {{.*}}%zmm
// VNNIKV: vpdpbusd {{.*}}%zmm
// VNNIKV-LABEL: <o_residual>:
// REDEFINE: %{kv} = bf16

// REDEFINE: %{quant} = f32
// RUN: %{object}
// RUN: %{assembly} | FileCheck %s --check-prefix=V4F32 --implicit-check-not=call --implicit-check-not=vpdpbusd
// RUN: llvm-nm --undefined-only %t.o | FileCheck %s --check-prefix=UNDEFINED --allow-empty
// V4F32-LABEL: <o_residual>:
// V4F32: vfmadd{{.*}} %zmm

// bf16 weights become f32 in registers: a shift and a mask for two vectors; no bf16 instruction, which no tier assumes.
// REDEFINE: %{quant} = bf16
// RUN: %{object}
// RUN: %{assembly} | FileCheck %s --check-prefix=V4BF16 --implicit-check-not=call --implicit-check-not=vpdpbusd --implicit-check-not=vdpbf16ps
// RUN: llvm-nm --undefined-only %t.o | FileCheck %s --check-prefix=UNDEFINED --allow-empty
// V4BF16-LABEL: <o_residual>:
// V4BF16: vpslld $0x10, {{.*}}, %zmm
// V4BF16: vfmadd{{.*}} %zmm

// With +bf16 both are bf16.
// REDEFINE: %{tier} = avx512vnni+bf16
// REDEFINE: %{cpu} = -mcpu=x86-64-v4 -mattr=+avx512vnni,+avx512bf16
// RUN: %{object}
// RUN: %{assembly} | FileCheck %s --check-prefix=BF16 --implicit-check-not=call --implicit-check-not=vpdpbusd
// RUN: llvm-nm --undefined-only %t.o | FileCheck %s --check-prefix=UNDEFINED --allow-empty
// BF16-LABEL: <o_residual>:
// BF16: vdpbf16ps %zmm{{[0-9]+}}, %[[X:zmm[0-9]+]], %zmm{{[0-9]+}}
// BF16-LABEL: <head_linear>:
// BF16: vdpbf16ps {{.*}}%zmm

// With +gfni the halves of bytes come down in one instruction.
// REDEFINE: %{tier} = avx512vnni+gfni
// REDEFINE: %{quant} = int4
// REDEFINE: %{cpu} = -mcpu=x86-64-v4 -mattr=+avx512vnni,+gfni
// RUN: %{object}
// RUN: %{assembly} | FileCheck %s --check-prefix=GFNI --implicit-check-not=call --implicit-check-not=vpsrlw
// RUN: llvm-nm --undefined-only %t.o | FileCheck %s --check-prefix=UNDEFINED --allow-empty
// GFNI-LABEL: <o_residual>:
// GFNI: vgf2p8affineqb $0x0, {{.*}}, %zmm
// GFNI: vpdpbusd
// avxvnni: bytes by vpdpbusd of VEX, weights and attention; nothing of AVX-512.
// REDEFINE: %{tier} = avxvnni
// REDEFINE: %{quant} = int8
// REDEFINE: %{kv} = i8
// REDEFINE: %{cpu} = -mcpu=x86-64-v3 -mattr=+avxvnni
// RUN: %{object}
// RUN: %{assembly} | FileCheck %s --check-prefix=VEX --implicit-check-not=call --implicit-check-not=zmm --implicit-check-not=vpmaddubsw
// RUN: llvm-nm --undefined-only %t.o | FileCheck %s --check-prefix=UNDEFINED --allow-empty
// VEX-LABEL: <attention>:
// VEX: {vex} vpdpbusd {{.*}}%ymm
// VEX-LABEL: <o_residual>:
// VEX: vpbroadcastd
// VEX: {vex} vpdpbusd %ymm{{[0-9]+}}, %[[W:ymm[0-9]+]], %ymm{{[0-9]+}}
// VEX: {vex} vpdpbusd {{.*}}%ymm
// VEX-LABEL: <head_linear>:
// VEX: {vex} vpdpbusd
// REDEFINE: %{kv} = bf16

// amx: shapes once a call, products of one row by vpdpbusd, of many in tiles: sums of two units are stored behind their four products, before anything loads
// them, and no tile moves to or from the stack. A sum is converted from where its tile was stored.
// REDEFINE: %{tier} = amx
// REDEFINE: %{cpu} = -mcpu=x86-64-v4 -mattr=+avx512vnni,+amx-tile,+amx-int8
// RUN: %{object}
// RUN: %{assembly} | FileCheck %s --check-prefix=AMX --implicit-check-not=call
// RUN: %{assembly} | FileCheck %s --check-prefix=NOSPILL
// RUN: llvm-nm --undefined-only %t.o | FileCheck %s --check-prefix=UNDEFINED --allow-empty
// AMX-LABEL: <attention>:
// AMX-NOT: tile
// AMX-LABEL: <o_residual>:
// AMX: ldtilecfg (%r{{[a-z0-9]+}})
// AMX-NOT: ldtilecfg
// AMX: vpdpbusd %zmm
// AMX: tilezero %tmm0
// AMX: tilezero %tmm1
// AMX: tileloadd {{.*}}, %tmm4
// AMX: tileloadd {{.*}}, %tmm6
// AMX: tdpbssd %tmm6, %tmm4, %tmm0
// AMX: tileloadd {{.*}}, %tmm7
// AMX: tdpbssd %tmm7, %tmm4, %tmm1
// AMX: tilezero %tmm2
// AMX: tilezero %tmm3
// AMX: tileloadd {{.*}}, %tmm5
// AMX: tileloadd {{.*}}, %tmm6
// AMX: tdpbssd %tmm6, %tmm5, %tmm2
// AMX: tileloadd {{.*}}, %tmm7
// AMX: tdpbssd %tmm7, %tmm5, %tmm3
// AMX: tilestored %tmm0
// AMX: tilestored %tmm1
// AMX: tilestored %tmm2
// AMX: tilestored %tmm3
// AMX: vcvtdq2ps {{.*}}(%r{{.*}}), %[[SUM:zmm[0-9]+]]
// AMX: vfmadd{{.*}} %[[SUM]]
// AMX: tilerelease
// AMX-LABEL: <norm_gate_up_gated>:
// NOSPILL-NOT: tile{{loadd|stored}} {{.*}}(%rsp
// NOSPILL: <o_residual>:
// NOSPILL-NOT: tile{{loadd|stored}} {{.*}}(%rsp
// NOSPILL: tilerelease

// x86-64-v3: no instruction of a newer machine; bytes by the sign trick.
// REDEFINE: %{tier} = x86-64-v3
// REDEFINE: %{quant} = int8
// REDEFINE: %{cpu} = -mcpu=x86-64-v3
// RUN: %{object}
// RUN: %{assembly} | FileCheck %s --check-prefix=V3 --implicit-check-not=call --implicit-check-not=zmm --implicit-check-not=vpdpbusd
// RUN: llvm-nm --undefined-only %t.o | FileCheck %s --check-prefix=UNDEFINED --allow-empty
// V3-LABEL: <norm_qkv_rope_append>:
// V3: vpmaddubsw %ymm
// V3-LABEL: <attention>:
// V3: vfmadd{{.*}} %ymm
// V3-LABEL: <o_residual>:
// V3: vpabsb {{.*}}%ymm
// V3: vpsignb {{.*}}%ymm
// V3: vpmaddubsw {{.*}}%ymm
// V3: vpmaddwd {{.*}}%ymm
// V3: vpaddd {{.*}}%ymm

// REDEFINE: %{kv} = i8
// RUN: %{object}
// RUN: %{assembly} | FileCheck %s --check-prefix=V3KV --implicit-check-not=call --implicit-check-not=zmm --implicit-check-not=vpdpbusd
// RUN: llvm-nm --undefined-only %t.o | FileCheck %s --check-prefix=UNDEFINED --allow-empty
// V3KV-LABEL: <attention>:
// V3KV: vpmaddubsw {{.*}}%ymm
// V3KV: vpmaddwd {{.*}}%ymm
// V3KV-LABEL: <o_residual>:
// REDEFINE: %{kv} = bf16

// REDEFINE: %{quant} = f32
// RUN: %{object}
// RUN: %{assembly} | FileCheck %s --check-prefix=V3F32 --implicit-check-not=call --implicit-check-not=zmm --implicit-check-not=vpmaddubsw
// RUN: llvm-nm --undefined-only %t.o | FileCheck %s --check-prefix=UNDEFINED --allow-empty
// V3F32-LABEL: <o_residual>:
// V3F32: vfmadd{{.*}} %ymm

// REDEFINE: %{quant} = bf16
// RUN: %{object}
// RUN: %{assembly} | FileCheck %s --check-prefix=V3BF16 --implicit-check-not=call --implicit-check-not=zmm --implicit-check-not=vpmaddubsw
// RUN: llvm-nm --undefined-only %t.o | FileCheck %s --check-prefix=UNDEFINED --allow-empty
// V3BF16-LABEL: <o_residual>:
// V3BF16: vpslld $0x10, {{.*}}, %ymm
// V3BF16: vfmadd{{.*}} %ymm

// UNDEFINED-NOT: {{.}}

!kv = !lm.kv<heads = 1, dim = 24, page = 32, element = bf16>
#rope = #lm.rope<layout = half, theta = 1.0e4, type = "default", params = {}>

func.func @step(%batch: !lm.batch, %kv0: !kv) -> (tensor<?x100xf32>, !kv) {
  %table = lm.weight "embed" : tensor<100x72xf32>
  %x = lm.embed %table at %batch : tensor<100x72xf32> -> tensor<?x72xf32>
  %g = lm.weight "input_norm" : tensor<72xf32>
  %n = lm.norm rms %x, %g eps 1.0e-5 : tensor<?x72xf32>, tensor<72xf32> -> tensor<?x72xf32>
  %wq = lm.weight "q" : tensor<72x72xf32>
  %wk = lm.weight "k" : tensor<24x72xf32>
  %wv = lm.weight "v" : tensor<24x72xf32>
  %q = lm.linear %n, %wq : (tensor<?x72xf32>, tensor<72x72xf32>) -> tensor<?x72xf32>
  %k = lm.linear %n, %wk : (tensor<?x72xf32>, tensor<24x72xf32>) -> tensor<?x24xf32>
  %v = lm.linear %n, %wv : (tensor<?x72xf32>, tensor<24x72xf32>) -> tensor<?x24xf32>
  %qr = lm.rope %q at %batch dim 24 by #rope : tensor<?x72xf32>
  %kr = lm.rope %k at %batch dim 24 by #rope : tensor<?x24xf32>
  %kv1 = lm.kv_append %kr, %v into %kv0 at %batch : tensor<?x24xf32>, tensor<?x24xf32>, !kv
  %a = lm.attention %qr over %kv1 at %batch scale 2.0e-1 causal : tensor<?x72xf32>, !kv -> tensor<?x72xf32>
  %wo = lm.weight "o" : tensor<72x72xf32>
  %o = lm.linear %a, %wo : (tensor<?x72xf32>, tensor<72x72xf32>) -> tensor<?x72xf32>
  %x1 = arith.addf %x, %o : tensor<?x72xf32>
  %g1 = lm.weight "post_norm" : tensor<72xf32>
  %n1 = lm.norm rms %x1, %g1 eps 1.0e-5 : tensor<?x72xf32>, tensor<72xf32> -> tensor<?x72xf32>
  %wg = lm.weight "gate" : tensor<136x72xf32>
  %wu = lm.weight "up" : tensor<136x72xf32>
  %gate = lm.linear %n1, %wg : (tensor<?x72xf32>, tensor<136x72xf32>) -> tensor<?x136xf32>
  %up = lm.linear %n1, %wu : (tensor<?x72xf32>, tensor<136x72xf32>) -> tensor<?x136xf32>
  %h = lm.gated silu %gate, %up : tensor<?x136xf32>
  %wd = lm.weight "down" : tensor<72x136xf32>
  %d = lm.linear %h, %wd : (tensor<?x136xf32>, tensor<72x136xf32>) -> tensor<?x72xf32>
  %x2 = arith.addf %x1, %d : tensor<?x72xf32>
  %s = lm.select_rows %x2 at %batch : tensor<?x72xf32>
  %y = lm.linear %s, %table : (tensor<?x72xf32>, tensor<100x72xf32>) -> tensor<?x100xf32>
  return %y, %kv1 : tensor<?x100xf32>, !kv
}
