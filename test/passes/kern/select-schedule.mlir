// RUN: lathe-opt %s --kern-select-schedule | FileCheck %s
// RUN: lathe-opt %s --kern-select-schedule=tiers=x86-64-v3 | FileCheck %s --check-prefix=ONE
// RUN: not lathe-opt %s --kern-select-schedule=tiers=x86-64-v3,avx1 2>&1 | FileCheck %s --check-prefix=UNKNOWN

// Features do not change the schedule: the tier's own is taken.
// RUN: lathe-opt %s --kern-select-schedule=tiers=avx512vnni+bf16+gfni | FileCheck %s --check-prefix=FEATURES
// FEATURES-LABEL: func.func private @linear_i8(
// FEATURES-SAME: kern.schedules = [#kern.schedule<target = "avx512vnni+bf16+gfni", unit_block = 48, rows = 8, columns = 32, origin = "default, cpu.toml:{{[0-9]+}}">]

// RUN: lathe-opt %s --kern-select-schedule=table=%S/Inputs/measured.toml | FileCheck %s --check-prefix=TABLE
// RUN: not lathe-opt %s --kern-select-schedule=table=%S/Inputs/wrong.toml 2>&1 | FileCheck %s --check-prefix=WRONG

// A table that is given goes before the built-in one: a measured schedule for one shape, taken as it stands, and defaults.
// TABLE-LABEL: func.func private @linear_i8(
// TABLE-SAME: kern.schedules = [#kern.schedule<target = "amx", unit_block = 192, rows = 12, columns = 32, amx_rows = 5, origin = "default, cpu.toml:{{[0-9]+}}">, #kern.schedule<target = "avx512vnni", unit_block = 24, rows = 12, columns = 16, origin = "measured, measured.toml:3">, #kern.schedule<target = "avxvnni", unit_block = 24, rows = 3, columns = 16, origin = "default, cpu.toml:{{[0-9]+}}">, #kern.schedule<target = "x86-64-v3", unit_block = 16, rows = 2, columns = 16, origin = "default, cpu.toml:{{[0-9]+}}">]
// Its group is another.
// TABLE-LABEL: func.func private @wide_i8(
// TABLE-SAME: <target = "avx512vnni", unit_block = 8, rows = 8, columns = 32, origin = "default, cpu.toml:{{[0-9]+}}">
// A default's rows of a call still shrink with the width.
// TABLE-LABEL: func.func private @widest_f32(
// TABLE-SAME: <target = "avx512vnni", unit_block = 2, rows = 2, columns = 16, origin = "default, measured.toml:24">
// WRONG: error: {{.*}}wrong.toml:5:1: unknown key 'row' of kind "linear"; did you mean 'rows'? known: tier, kind, quant, library, group, n, k, rows, columns, amx_rows, unit_block, library_rows

// A library is part of a linear's schedule where it reads the weight as it is packed. Its rows shrink with those of a call.
// RUN: lathe-opt %s --kern-select-schedule=table=%S/Inputs/library.toml | FileCheck %s --check-prefix=LIBRARY
// LIBRARY-LABEL: func.func private @linear_i8(
// LIBRARY-SAME: <target = "avx512vnni", unit_block = 48, rows = 6, columns = 32, library = "onednn", library_rows = 16, origin = "default, library.toml:1">, #kern.schedule<target = "avxvnni", unit_block = 24, rows = 3, columns = 16, origin = "default, cpu.toml:{{[0-9]+}}">
// LIBRARY-LABEL: func.func private @biased_i8(
// LIBRARY-SAME: <target = "avx512vnni", unit_block = 48, rows = 6, columns = 32, origin = "default, library.toml:1">
// LIBRARY-LABEL: func.func private @wide_i8(
// LIBRARY-SAME: <target = "avx512vnni", unit_block = 12, rows = 6, columns = 32, library = "onednn", library_rows = 12, origin = "default, library.toml:1">

// UNKNOWN: error: expected a tier of amx, avx512vnni, avxvnni, x86-64-v3, found 'avx1'

// The step is no kernel.
// CHECK: func.func @step(%{{.*}}: !lm.batch) {
func.func @step(%batch: !lm.batch) {
  return
}

// Bytes: the sums of a register tile of 8 x 32 take 32 registers, of 12 x 32 with one sum each 24, of 2 x 16 on AVX2 8 of 16, of 3 x 16 on avxvnni 12; a call takes some register tiles of rows.
// CHECK-LABEL: func.func private @linear_i8(
// CHECK-SAME: kern.schedules = [#kern.schedule<target = "amx", unit_block = 192, rows = 12, columns = 32, amx_rows = 5, origin = "default, cpu.toml:{{[0-9]+}}">, #kern.schedule<target = "avx512vnni", unit_block = 48, rows = 8, columns = 32, origin = "default, cpu.toml:{{[0-9]+}}">, #kern.schedule<target = "avxvnni", unit_block = 24, rows = 3, columns = 16, origin = "default, cpu.toml:{{[0-9]+}}">, #kern.schedule<target = "x86-64-v3", unit_block = 16, rows = 2, columns = 16, origin = "default, cpu.toml:{{[0-9]+}}">]
// ONE-LABEL: func.func private @linear_i8(
// ONE-SAME: kern.schedules = [#kern.schedule<target = "x86-64-v3", unit_block = 16, rows = 2, columns = 16, origin = "default, cpu.toml:{{[0-9]+}}">]
func.func private @linear_i8(%x: tensor<?x576xf32>, %w: tensor<192x576xi8, #lm.quant<group = 64, scale = bf16>>) -> tensor<?x192xf32> {
  %r = lm.fused "linear_i8" {
    %x8 = lm.quantize %x : tensor<?x576xf32> -> tensor<?x576xi8, #lm.quant<group = 64, scale = f32>>
    %y = lm.linear %x8, %w : (tensor<?x576xi8, #lm.quant<group = 64, scale = f32>>, tensor<192x576xi8, #lm.quant<group = 64, scale = bf16>>) -> tensor<?x192xf32>
    lm.yield %y : tensor<?x192xf32>
  } : tensor<?x192xf32>
  return %r : tensor<?x192xf32>
}

// Codes with a bias of their own.
func.func private @biased_i8(%x: tensor<?x64xf32>, %w: tensor<64x64xi8, #lm.quant<group = 32, scale = f32, bias = 1, method = kept>>) -> tensor<?x64xf32> {
  %r = lm.fused "biased_i8" {
    %x8 = lm.quantize %x : tensor<?x64xf32> -> tensor<?x64xi8, #lm.quant<group = 32, scale = f32>>
    %y = lm.linear %x8, %w : (tensor<?x64xi8, #lm.quant<group = 32, scale = f32>>, tensor<64x64xi8, #lm.quant<group = 32, scale = f32, bias = 1, method = kept>>) -> tensor<?x64xf32>
    lm.yield %y : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return %r : tensor<?x64xf32>
}

// The rows of a call shrink as they get wider, so that their codes stay in the cache, but never below one register tile.
// CHECK-LABEL: func.func private @wide_i8(
// CHECK-SAME: <target = "amx", unit_block = 12, rows = 12, columns = 32, amx_rows = 5, origin = "default, cpu.toml:{{[0-9]+}}">, #kern.schedule<target = "avx512vnni", unit_block = 8, rows = 8, columns = 32, origin = "default, cpu.toml:{{[0-9]+}}">, #kern.schedule<target = "avxvnni", unit_block = 12, rows = 3, columns = 16, origin = "default, cpu.toml:{{[0-9]+}}">, #kern.schedule<target = "x86-64-v3", unit_block = 14, rows = 2, columns = 16, origin = "default, cpu.toml:{{[0-9]+}}">
func.func private @wide_i8(%x: tensor<?x18432xf32>, %w: tensor<64x18432xi8, #lm.quant<group = 64, scale = bf16>>) -> tensor<?x64xf32> {
  %r = lm.fused "wide_i8" {
    %x8 = lm.quantize %x : tensor<?x18432xf32> -> tensor<?x18432xi8, #lm.quant<group = 64, scale = f32>>
    %y = lm.linear %x8, %w : (tensor<?x18432xi8, #lm.quant<group = 64, scale = f32>>, tensor<64x18432xi8, #lm.quant<group = 64, scale = bf16>>) -> tensor<?x64xf32>
    lm.yield %y : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return %r : tensor<?x64xf32>
}

// CHECK-LABEL: func.func private @widest_f32(
// CHECK-SAME: <target = "avx512vnni", unit_block = 8, rows = 8, columns = 32, origin = "default, cpu.toml:{{[0-9]+}}">, #kern.schedule<target = "avxvnni", unit_block = 4, rows = 4, columns = 16, origin = "default, cpu.toml:{{[0-9]+}}">, #kern.schedule<target = "x86-64-v3", unit_block = 4, rows = 4, columns = 16, origin = "default, cpu.toml:{{[0-9]+}}">
func.func private @widest_f32(%x: tensor<?x65536xf32>, %w: tensor<64x65536xf32>) -> tensor<?x64xf32> {
  %r = lm.fused "widest_f32" {
    %y = lm.linear %x, %w : (tensor<?x65536xf32>, tensor<64x65536xf32>) -> tensor<?x64xf32>
    lm.yield %y : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return %r : tensor<?x64xf32>
}

// One accumulator for floats: more rows.
// CHECK-LABEL: func.func private @linear_f32(
// CHECK-SAME: <target = "amx", unit_block = 64, rows = 8, columns = 32, origin = "default, cpu.toml:{{[0-9]+}}">, #kern.schedule<target = "avx512vnni", unit_block = 64, rows = 8, columns = 32, origin = "default, cpu.toml:{{[0-9]+}}">, #kern.schedule<target = "avxvnni", unit_block = 32, rows = 4, columns = 16, origin = "default, cpu.toml:{{[0-9]+}}">, #kern.schedule<target = "x86-64-v3", unit_block = 32, rows = 4, columns = 16, origin = "default, cpu.toml:{{[0-9]+}}">
func.func private @linear_f32(%x: tensor<?x64xf32>, %w: tensor<192x64xf32>) -> tensor<?x192xf32> {
  %r = lm.fused "linear_f32" {
    %y = lm.linear %x, %w : (tensor<?x64xf32>, tensor<192x64xf32>) -> tensor<?x192xf32>
    lm.yield %y : tensor<?x192xf32>
  } : tensor<?x192xf32>
  return %r : tensor<?x192xf32>
}

// A register tile of attention holds whole groups of the 3 query heads of a KV head where it can.
// CHECK-LABEL: func.func private @attention_3(
// CHECK-SAME: <target = "avx512vnni", unit_block = 16, rows = 6, columns = 32, origin = "default, cpu.toml:{{[0-9]+}}">, #kern.schedule<target = "avxvnni", unit_block = 16, rows = 2, columns = 16, origin = "default, cpu.toml:{{[0-9]+}}">, #kern.schedule<target = "x86-64-v3", unit_block = 16, rows = 2, columns = 16, origin = "default, cpu.toml:{{[0-9]+}}">
func.func private @attention_3(%batch: !lm.batch, %q: tensor<?x576xf32>, %kv: !lm.kv<heads = 3, dim = 64, page = 32, element = f32>) -> tensor<?x576xf32> {
  %r = lm.fused "attention_3" {
    %a = lm.attention %q over %kv at %batch scale 1.25e-1 causal : tensor<?x576xf32>, !lm.kv<heads = 3, dim = 64, page = 32, element = f32> -> tensor<?x576xf32>
    lm.yield %a : tensor<?x576xf32>
  } : tensor<?x576xf32>
  return %r : tensor<?x576xf32>
}

// As many query heads as KV heads: the tile takes rows instead.
// CHECK-LABEL: func.func private @attention_1(
// CHECK-SAME: <target = "avx512vnni", unit_block = 16, rows = 8, columns = 32, origin = "default, cpu.toml:{{[0-9]+}}">, #kern.schedule<target = "avxvnni", unit_block = 16, rows = 2, columns = 16, origin = "default, cpu.toml:{{[0-9]+}}">, #kern.schedule<target = "x86-64-v3", unit_block = 16, rows = 2, columns = 16, origin = "default, cpu.toml:{{[0-9]+}}">
func.func private @attention_1(%batch: !lm.batch, %q: tensor<?x64xf32>, %kv: !lm.kv<heads = 1, dim = 64, page = 32, element = f32>) -> tensor<?x64xf32> {
  %r = lm.fused "attention_1" {
    %a = lm.attention %q over %kv at %batch scale 1.25e-1 causal : tensor<?x64xf32>, !lm.kv<heads = 1, dim = 64, page = 32, element = f32> -> tensor<?x64xf32>
    lm.yield %a : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return %r : tensor<?x64xf32>
}

// An embedding has no register tile.
// CHECK-LABEL: func.func private @embed(
// CHECK-SAME: <target = "avx512vnni", unit_block = 16, rows = 1, columns = 32, origin = "default, cpu.toml:{{[0-9]+}}">, #kern.schedule<target = "avxvnni", unit_block = 16, rows = 1, columns = 16, origin = "default, cpu.toml:{{[0-9]+}}">, #kern.schedule<target = "x86-64-v3", unit_block = 16, rows = 1, columns = 16, origin = "default, cpu.toml:{{[0-9]+}}">
func.func private @embed(%batch: !lm.batch, %table: tensor<100x64xf32>) -> tensor<?x64xf32> {
  %r = lm.fused "embed" {
    %x = lm.embed %table at %batch : tensor<100x64xf32> -> tensor<?x64xf32>
    lm.yield %x : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return %r : tensor<?x64xf32>
}

// Floats of 16 bits have defaults of their own.
// CHECK-LABEL: func.func private @linear_bf16(
// CHECK-SAME: <target = "avx512vnni", unit_block = {{[0-9]+}}, rows = {{[0-9]+}}, columns = 32, origin = "default, cpu.toml:[[BF16:[0-9]+]]">, #kern.schedule<target = "avxvnni"
func.func private @linear_bf16(%x: tensor<?x64xf32>, %w: tensor<192x64xbf16>) -> tensor<?x192xf32> {
  %r = lm.fused "linear_bf16" {
    %y = lm.linear %x, %w : (tensor<?x64xf32>, tensor<192x64xbf16>) -> tensor<?x192xf32>
    lm.yield %y : tensor<?x192xf32>
  } : tensor<?x192xf32>
  return %r : tensor<?x192xf32>
}

// CHECK-LABEL: func.func private @linear_f16(
// CHECK-NOT: cpu.toml:[[BF16]]"
// CHECK-SAME: <target = "avx512vnni", {{.*}} origin = "default, cpu.toml:{{[0-9]+}}">, #kern.schedule<target = "avxvnni"
func.func private @linear_f16(%x: tensor<?x64xf32>, %w: tensor<192x64xf16>) -> tensor<?x192xf32> {
  %r = lm.fused "linear_f16" {
    %y = lm.linear %x, %w : (tensor<?x64xf32>, tensor<192x64xf16>) -> tensor<?x192xf32>
    lm.yield %y : tensor<?x192xf32>
  } : tensor<?x192xf32>
  return %r : tensor<?x192xf32>
}
