// RUN: lathe-opt %s --lm-fuse-norm=remarks=true --split-input-file --verify-diagnostics | FileCheck %s

!f = tensor<?x64xf32>
!q = tensor<?x64xi8, #lm.quant<group = 64, scale = f32>>
!w = tensor<96x64xi8, #lm.quant<group = 64, scale = bf16>>

// A head: select_rows, norm and quantize are prologues, in that order.
// CHECK-LABEL: func.func @head(
// CHECK-SAME: %[[batch:[a-z0-9]*]]: !lm.batch, %[[x:[a-z0-9]*]]: tensor<?x64xf32>, %[[gain:[a-z0-9]*]]: tensor<64xf32>
// CHECK: %[[w:.*]] = lm.weight
// CHECK-NEXT: %[[logits:.*]] = lm.fused "norm_lm_head" {
// CHECK-NEXT:   %[[s:.*]] = lm.select_rows %[[x]] at %[[batch]]
// CHECK-NEXT:   %[[n:.*]] = lm.norm rms %[[s]], %[[gain]]
// CHECK-NEXT:   %[[codes:.*]] = lm.quantize %[[n]]
// CHECK-NEXT:   %[[y:.*]] = lm.linear %[[codes]], %[[w]]
// CHECK-NEXT:   lm.yield %[[y]]
// CHECK-NEXT: }
// CHECK-NEXT: return %[[logits]]
// expected-remark @below {{lm-fuse-norm: 1 formed, 3 absorbed, 0 refused}}
func.func @head(%batch: !lm.batch, %x: !f, %gain: tensor<64xf32>) -> tensor<?x96xf32> {
  %s = lm.select_rows %x at %batch : !f
  %n = lm.norm rms %s, %gain eps 1.0e-5 : !f, tensor<64xf32> -> !f
  %c = lm.quantize %n : !f -> !q
  %w = lm.weight "lm_head.weight" : !w
  %y = lm.linear %c, %w : (!q, !w) -> tensor<?x96xf32>
  return %y : tensor<?x96xf32>
}

// -----

!f = tensor<?x64xf32>
!q = tensor<?x64xi8, #lm.quant<group = 64, scale = f32>>
!w = tensor<96x64xi8, #lm.quant<group = 64, scale = bf16>>

// Two linears read one norm and one quantize: each region computes both for itself, and none is left outside.
// CHECK-LABEL: func.func @two_consumers(
// CHECK-SAME: %[[x:[a-z0-9]*]]: tensor<?x64xf32>
// CHECK-NOT: lm.norm
// CHECK: lm.fused "norm_w1" {
// CHECK-NEXT:   %[[n1:.*]] = lm.norm layer %[[x]]
// CHECK-NEXT:   %[[c1:.*]] = lm.quantize %[[n1]]
// CHECK-NEXT:   lm.linear %[[c1]]
// CHECK-NEXT:   lm.yield
// CHECK-NEXT: }
// CHECK-NEXT: lm.fused "norm_w2" {
// CHECK-NEXT:   %[[n2:.*]] = lm.norm layer %[[x]]
// CHECK-NEXT:   %[[c2:.*]] = lm.quantize %[[n2]]
// CHECK-NEXT:   lm.linear %[[c2]]
// CHECK-NEXT:   lm.yield
// CHECK-NEXT: }
// CHECK-NEXT: return
// expected-remark @below {{lm-fuse-norm: 2 formed, 4 absorbed, 0 refused}}
func.func @two_consumers(%x: !f, %gain: tensor<64xf32>, %bias: tensor<64xf32>) -> (tensor<?x96xf32>, tensor<?x96xf32>) {
  %n = lm.norm layer %x, %gain bias %bias eps 1.0e-5 : !f, tensor<64xf32>, tensor<64xf32> -> !f
  %c = lm.quantize %n : !f -> !q
  %w1 = lm.weight "w1" : !w
  %w2 = lm.weight "w2" : !w
  %y1 = lm.linear %c, %w1 : (!q, !w) -> tensor<?x96xf32>
  %y2 = lm.linear %c, %w2 : (!q, !w) -> tensor<?x96xf32>
  return %y1, %y2 : tensor<?x96xf32>, tensor<?x96xf32>
}

// -----

// A region that is there already takes the prologue in front of its anchor.
// CHECK-LABEL: func.func @existing_region(
// CHECK: lm.fused "norm_gate_up_gated" {
// CHECK-NEXT:   %[[n:.*]] = lm.norm
// CHECK-NEXT:   lm.linear %[[n]]
// CHECK-NEXT:   lm.split
// CHECK-NEXT:   lm.gated
// expected-remark @below {{lm-fuse-norm: 0 formed, 1 absorbed, 0 refused}}
func.func @existing_region(%x: tensor<?x64xf32>, %gain: tensor<64xf32>) -> tensor<?x96xf32> {
  %n = lm.norm rms %x, %gain eps 1.0e-5 : tensor<?x64xf32>, tensor<64xf32> -> tensor<?x64xf32>
  %w = lm.weight "gate_up" : tensor<192x64xf32>
  %h = lm.fused "gate_up_gated" {
    %y = lm.linear %n, %w : (tensor<?x64xf32>, tensor<192x64xf32>) -> tensor<?x192xf32>
    %g, %u = lm.split %y interleave 16 : tensor<?x192xf32> -> tensor<?x96xf32>, tensor<?x96xf32>
    %h = lm.gated silu %g, %u : tensor<?x96xf32>
    lm.yield %h : tensor<?x96xf32>
  } : tensor<?x96xf32>
  return %h : tensor<?x96xf32>
}
