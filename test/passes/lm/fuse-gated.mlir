// RUN: lathe-opt %s --lm-fuse-gated=remarks=true --split-input-file --verify-diagnostics | FileCheck %s

// Linear, split and gated become a region that yields the gated value only.
// CHECK-LABEL: func.func @gate_up(
// CHECK-SAME: %[[x:.*]]: tensor<?x64xf32>) -> tensor<?x96xf32> {
// CHECK: %[[w:.*]] = lm.stack
// CHECK-NEXT: %[[h:.*]] = lm.fused "gate_up_gated" {
// CHECK-NEXT:   %[[y:.*]] = lm.linear %[[x]], %[[w]]
// CHECK-NEXT:   %[[parts:.*]]:2 = lm.split %[[y]] interleave 16
// CHECK-NEXT:   %[[gated:.*]] = lm.gated silu %[[parts]]#0, %[[parts]]#1
// CHECK-NEXT:   lm.yield %[[gated]] : tensor<?x96xf32>
// CHECK-NEXT: } : tensor<?x96xf32>
// CHECK-NEXT: return %[[h]]
// expected-remark @below {{lm-fuse-gated: 1 formed, 2 absorbed, 0 refused}}
func.func @gate_up(%x: tensor<?x64xf32>) -> tensor<?x96xf32> {
  %wg = lm.weight "mlp.gate_proj.weight" : tensor<96x64xf32>
  %wu = lm.weight "mlp.up_proj.weight" : tensor<96x64xf32>
  %w = lm.stack %wg, %wu interleave 16 : (tensor<96x64xf32>, tensor<96x64xf32>) -> tensor<192x64xf32>
  %y = lm.linear %x, %w : (tensor<?x64xf32>, tensor<192x64xf32>) -> tensor<?x192xf32>
  %g, %u = lm.split %y interleave 16 : tensor<?x192xf32> -> tensor<?x96xf32>, tensor<?x96xf32>
  %h = lm.gated silu %g, %u : tensor<?x96xf32>
  return %h : tensor<?x96xf32>
}
