// RUN: lathe-opt %s --lm-fuse-residual=remarks=true --split-input-file --verify-diagnostics | FileCheck %s

!f = tensor<?x64xf32>

// CHECK-LABEL: func.func @residual(
// CHECK-SAME: %[[x:[a-z0-9]*]]: tensor<?x64xf32>, %[[a:[a-z0-9]*]]: tensor<?x64xf32>
// CHECK: %[[w:.*]] = lm.weight
// CHECK-NEXT: %[[x1:.*]] = lm.fused "o_residual" {
// CHECK-NEXT:   %[[o:.*]] = lm.linear %[[a]], %[[w]]
// CHECK-NEXT:   %[[sum:.*]] = arith.addf %[[x]], %[[o]]
// CHECK-NEXT:   lm.yield %[[sum]]
// CHECK-NEXT: }
// CHECK-NEXT: return %[[x1]]
// expected-remark @below {{lm-fuse-residual: 1 formed, 1 absorbed, 0 refused}}
func.func @residual(%x: !f, %a: !f) -> !f {
  %w = lm.weight "self_attn.o_proj.weight" : tensor<64x64xf32>
  %o = lm.linear %a, %w : (!f, tensor<64x64xf32>) -> !f
  %x1 = arith.addf %x, %o : !f
  return %x1 : !f
}

// -----

!f = tensor<?x64xf32>

// x + attention + mlp of one input: the first region takes both adds and moves behind what it needs.
// CHECK-LABEL: func.func @parallel(
// CHECK-SAME: %[[x:[a-z0-9]*]]: tensor<?x64xf32>
// CHECK: %[[m:.*]] = lm.linear
// CHECK: %[[y:.*]] = lm.fused "o_residual" {
// CHECK-NEXT:   %[[o:.*]] = lm.linear
// CHECK-NEXT:   %[[x1:.*]] = arith.addf %[[x]], %[[o]]
// CHECK-NEXT:   %[[x2:.*]] = arith.addf %[[x1]], %[[m]]
// CHECK-NEXT:   lm.yield %[[x2]]
// CHECK: return %[[y]]
// expected-remark @below {{lm-fuse-residual: 1 formed, 2 absorbed, 0 refused}}
func.func @parallel(%x: !f, %a: !f, %h: !f, %wo: tensor<64x64xf32>) -> !f {
  %o = lm.linear %a, %wo : (!f, tensor<64x64xf32>) -> !f loc("o")
  %x1 = arith.addf %x, %o : !f
  %wm = lm.weight "m" : tensor<64x64xf32>
  %m = lm.linear %h, %wm : (!f, tensor<64x64xf32>) -> !f
  %x2 = arith.addf %x1, %m : !f
  return %x2 : !f
}

// -----

!f = tensor<?x64xf32>

// The region moves down to the other operand, and what reads the region moves behind it.
// CHECK-LABEL: func.func @late_operand(
// CHECK: %[[n:.*]] = lm.norm
// CHECK-NEXT: %[[y:.*]] = lm.fused "o_residual" {
// CHECK-NEXT:   %[[o:.*]] = lm.linear
// CHECK-NEXT:   arith.addf %[[o]], %[[n]]
// expected-remark @below {{lm-fuse-residual: 1 formed, 1 absorbed, 0 refused}}
func.func @late_operand(%x: !f, %a: !f, %wo: tensor<64x64xf32>, %gain: tensor<64xf32>) -> !f {
  %o = lm.linear %a, %wo : (!f, tensor<64x64xf32>) -> !f loc("o")
  %n = lm.norm rms %x, %gain eps 1.0e-5 : !f, tensor<64xf32> -> !f
  %y = arith.addf %o, %n : !f
  return %y : !f
}
