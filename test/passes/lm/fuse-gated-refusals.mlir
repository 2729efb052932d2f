// RUN: lathe-opt %s --lm-fuse-gated=remarks=true --split-input-file --verify-diagnostics | FileCheck %s

// CHECK-NOT: lm.fused
// expected-remark @below {{lm-fuse-gated: 0 formed, 0 absorbed, 1 refused}}
func.func @two_linears(%x: tensor<?x64xf32>, %wg: tensor<96x64xf32>, %wu: tensor<96x64xf32>) -> tensor<?x96xf32> {
  %g = lm.linear %x, %wg : (tensor<?x64xf32>, tensor<96x64xf32>) -> tensor<?x96xf32>
  %u = lm.linear %x, %wu : (tensor<?x64xf32>, tensor<96x64xf32>) -> tensor<?x96xf32>
  // expected-remark @below {{not fused: gate and up do not come from one linear}}
  %h = lm.gated silu %g, %u : tensor<?x96xf32>
  return %h : tensor<?x96xf32>
}

// -----

// A checkpoint whose gate and up are one matrix, gate first: a tile of columns does not hold both.
// CHECK-NOT: lm.fused
// expected-remark @below {{lm-fuse-gated: 0 formed, 0 absorbed, 1 refused}}
func.func @not_interleaved(%x: tensor<?x64xf32>, %w: tensor<192x64xf32>) -> tensor<?x96xf32> {
  %y = lm.linear %x, %w : (tensor<?x64xf32>, tensor<192x64xf32>) -> tensor<?x192xf32>
  %g, %u = lm.split %y : tensor<?x192xf32> -> tensor<?x96xf32>, tensor<?x96xf32>
  // expected-remark @below {{not fused: gate and up are not interleaved, a tile of columns does not hold both}}
  %h = lm.gated silu %g, %u : tensor<?x96xf32>
  return %h : tensor<?x96xf32>
}

// -----

// CHECK-NOT: lm.fused
// expected-remark @below {{lm-fuse-gated: 0 formed, 0 absorbed, 1 refused}}
func.func @used_elsewhere(%x: tensor<?x64xf32>, %w: tensor<192x64xf32>) -> (tensor<?x96xf32>, tensor<?x96xf32>) {
  %y = lm.linear %x, %w : (tensor<?x64xf32>, tensor<192x64xf32>) -> tensor<?x192xf32>
  %g, %u = lm.split %y interleave 16 : tensor<?x192xf32> -> tensor<?x96xf32>, tensor<?x96xf32>
  // expected-remark @below {{not fused: gate or up is used elsewhere}}
  %h = lm.gated silu %g, %u : tensor<?x96xf32>
  return %h, %u : tensor<?x96xf32>, tensor<?x96xf32>
}
