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
