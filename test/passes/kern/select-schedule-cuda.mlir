// What a block of a GPU takes: as many rows as the table says and shared memory has room for, whatever the weight is stored as.
// RUN: lathe-opt %s --kern-select-schedule=tiers=cuda | FileCheck %s

// CHECK-LABEL: func.func private @narrow(
// CHECK-SAME: <target = "cuda", unit_block = 32, rows = 32, columns = 32, origin = "default, cuda.toml:{{[0-9]+}}">
func.func private @narrow(%x: tensor<?x576xf32>, %w: tensor<192x576xi8, #lm.quant<group = 64, scale = bf16>>) -> tensor<?x192xf32> {
  %r = lm.fused "narrow" {
    %y = lm.linear %x, %w : (tensor<?x576xf32>, tensor<192x576xi8, #lm.quant<group = 64, scale = bf16>>) -> tensor<?x192xf32>
    lm.yield %y : tensor<?x192xf32>
  } : tensor<?x192xf32>
  return %r : tensor<?x192xf32>
}

// CHECK-LABEL: func.func private @eight(
// CHECK-SAME: unit_block = 8, rows = 8,
func.func private @eight(%x: tensor<?x3072xf32>, %w: tensor<192x3072xbf16>) -> tensor<?x192xf32> {
  %r = lm.fused "eight" {
    %y = lm.linear %x, %w : (tensor<?x3072xf32>, tensor<192x3072xbf16>) -> tensor<?x192xf32>
    lm.yield %y : tensor<?x192xf32>
  } : tensor<?x192xf32>
  return %r : tensor<?x192xf32>
}

// Three rows fit: activations are read where they are, eight rows at a time.
// CHECK-LABEL: func.func private @wide(
// CHECK-SAME: unit_block = 8, rows = 8,
func.func private @wide(%x: tensor<?x8192xf32>, %w: tensor<192x8192xi8, #lm.quant<group = 32, scale = f16, method = kept>>) -> tensor<?x192xf32> {
  %r = lm.fused "wide" {
    %y = lm.linear %x, %w : (tensor<?x8192xf32>, tensor<192x8192xi8, #lm.quant<group = 32, scale = f16, method = kept>>) -> tensor<?x192xf32>
    lm.yield %y : tensor<?x192xf32>
  } : tensor<?x192xf32>
  return %r : tensor<?x192xf32>
}

// What a prologue makes must fit, and so must rows with padding.
// CHECK-LABEL: func.func private @norm_wide(
// CHECK-SAME: unit_block = 3, rows = 3,
func.func private @norm_wide(%x: tensor<?x8192xf32>, %g: tensor<8192xf32>, %w: tensor<192x8192xbf16>) -> tensor<?x192xf32> {
  %r = lm.fused "norm_wide" {
    %n = lm.norm rms %x, %g eps 1.0e-5 : tensor<?x8192xf32>, tensor<8192xf32> -> tensor<?x8192xf32>
    %y = lm.linear %n, %w : (tensor<?x8192xf32>, tensor<192x8192xbf16>) -> tensor<?x192xf32>
    lm.yield %y : tensor<?x192xf32>
  } : tensor<?x192xf32>
  return %r : tensor<?x192xf32>
}
// CHECK-LABEL: func.func private @odd_wide(
// CHECK-SAME: unit_block = 2, rows = 2,
func.func private @odd_wide(%x: tensor<?x8200xf32>, %w: tensor<192x8200xbf16>) -> tensor<?x192xf32> {
  %r = lm.fused "odd_wide" {
    %y = lm.linear %x, %w : (tensor<?x8200xf32>, tensor<192x8200xbf16>) -> tensor<?x192xf32>
    lm.yield %y : tensor<?x192xf32>
  } : tensor<?x192xf32>
  return %r : tensor<?x192xf32>
}

// A block of attention: 16 queries, of however many rows; wide heads leave room for fewer.
// CHECK-LABEL: func.func private @attention(
// CHECK-SAME: unit_block = 5, rows = 15,
func.func private @attention(%batch: !lm.batch, %q: tensor<?x576xf32>, %kv: !lm.kv<heads = 3, dim = 64, page = 32, element = i8>) -> tensor<?x576xf32> {
  %r = lm.fused "attention" {
    %a = lm.attention %q over %kv at %batch scale 1.25e-1 causal : tensor<?x576xf32>, !lm.kv<heads = 3, dim = 64, page = 32, element = i8> -> tensor<?x576xf32>
    lm.yield %a : tensor<?x576xf32>
  } : tensor<?x576xf32>
  return %r : tensor<?x576xf32>
}

// CHECK-LABEL: func.func private @attention_wide(
// CHECK-SAME: unit_block = 4, rows = 8,
func.func private @attention_wide(%batch: !lm.batch, %q: tensor<?x1024xf32>, %kv: !lm.kv<heads = 1, dim = 512, page = 32, element = f32>) -> tensor<?x1024xf32> {
  %r = lm.fused "attention" {
    %a = lm.attention %q over %kv at %batch scale 1.25e-1 causal : tensor<?x1024xf32>, !lm.kv<heads = 1, dim = 512, page = 32, element = f32> -> tensor<?x1024xf32>
    lm.yield %a : tensor<?x1024xf32>
  } : tensor<?x1024xf32>
  return %r : tensor<?x1024xf32>
}

// Many rows: as many columns as the table says, fewer where that would make fewer than 16 blocks of them.
// CHECK-LABEL: func.func private @many(
// CHECK-SAME: columns = 128, least_rows = 97, depth = 64, origin
func.func private @many(%x: tensor<?x576xf32>, %w: tensor<2048x576xbf16>) -> tensor<?x2048xf32> {
  %r = lm.fused "many" {
    %y = lm.linear %x, %w : (tensor<?x576xf32>, tensor<2048x576xbf16>) -> tensor<?x2048xf32>
    lm.yield %y : tensor<?x2048xf32>
  } : tensor<?x2048xf32>
  return %r : tensor<?x2048xf32>
}
// CHECK-LABEL: func.func private @fewer_columns(
// CHECK-SAME: columns = 96, least_rows = 97, depth = 64, origin
func.func private @fewer_columns(%x: tensor<?x576xf32>, %w: tensor<2016x576xbf16>) -> tensor<?x2016xf32> {
  %r = lm.fused "fewer_columns" {
    %y = lm.linear %x, %w : (tensor<?x576xf32>, tensor<2016x576xbf16>) -> tensor<?x2016xf32>
    lm.yield %y : tensor<?x2016xf32>
  } : tensor<?x2016xf32>
  return %r : tensor<?x2016xf32>
}

// Floats, by which others are checked, have one kernel for any number of rows.
// CHECK-LABEL: func.func private @floats(
// CHECK-NOT: least_rows
// CHECK: lm.fused
func.func private @floats(%x: tensor<?x576xf32>, %w: tensor<2048x576xf32>) -> tensor<?x2048xf32> {
  %r = lm.fused "floats" {
    %y = lm.linear %x, %w : (tensor<?x576xf32>, tensor<2048x576xf32>) -> tensor<?x2048xf32>
    lm.yield %y : tensor<?x2048xf32>
  } : tensor<?x2048xf32>
  return %r : tensor<?x2048xf32>
}
