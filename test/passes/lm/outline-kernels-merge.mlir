// RUN: lathe-opt %s --lm-outline-kernels --split-input-file | FileCheck %s

!f = tensor<?x64xf32>
!w = tensor<64x64xf32>

// Names and places do not matter: both regions are one kernel, called like the first.
// CHECK-LABEL: func.func @equal(
// CHECK: %[[y:.*]] = call @o_residual(%[[a:.*]], %[[x:.*]], %[[w1:.*]]) :
// CHECK-NEXT: call @o_residual(%[[y]], %[[x]], %{{.*}})
// CHECK: func.func private @o_residual(
// CHECK-NOT: func.func
func.func @equal(%a: !f, %x: !f, %w1: !w, %w2: !w) -> !f {
  %y = lm.fused "o_residual" {
    %o = lm.linear %a, %w1 : (!f, !w) -> !f
    %s = arith.addf %x, %o : !f
    lm.yield %s : !f
  } : !f
  %z = lm.fused "down_residual" {
    %o = lm.linear %y, %w2 : (!f, !w) -> !f
    %s = arith.addf %x, %o : !f
    lm.yield %s : !f
  } : !f
  return %z : !f
}

// -----

!f = tensor<?x64xf32>
!w = tensor<64x64xf32>

// An attribute, the order of operands, or one value captured twice make another kernel, with a counted name.
// CHECK-LABEL: func.func @different(
// CHECK: call @norm(
// CHECK: call @norm_2(
// CHECK: call @add(
// CHECK: call @add_2(
// CHECK: call @add_3(
// CHECK-COUNT-5: func.func private
// CHECK-NOT: func.func
func.func @different(%x: !f, %y: !f, %g: tensor<64xf32>) -> (!f, !f, !f, !f, !f) {
  %a = lm.fused "norm" {
    %n = lm.norm rms %x, %g eps 1.0e-5 : !f, tensor<64xf32> -> !f
    lm.yield %n : !f
  } : !f
  %b = lm.fused "norm" {
    %n = lm.norm rms %x, %g eps 1.0e-6 : !f, tensor<64xf32> -> !f
    lm.yield %n : !f
  } : !f
  %c = lm.fused "add" {
    %m = arith.addf %x, %y : !f
    %n = arith.addf %m, %y : !f
    lm.yield %n : !f
  } : !f
  %d = lm.fused "add" {
    %m = arith.addf %x, %y : !f
    %n = arith.addf %m, %x : !f
    lm.yield %n : !f
  } : !f
  %e = lm.fused "add" {
    %m = arith.addf %x, %x : !f
    %n = arith.addf %m, %x : !f
    lm.yield %n : !f
  } : !f
  return %a, %b, %c, %d, %e : !f, !f, !f, !f, !f
}

// -----

!f = tensor<?x64xf32>

// A name that is taken is counted on; a region that nothing reads needs no kernel.
// CHECK-LABEL: func.func @norm(
// CHECK-NEXT: call @norm_2(
// CHECK-NEXT: return
func.func @norm(%x: !f, %g: tensor<64xf32>) -> !f {
  %a = lm.fused "norm" {
    %n = lm.norm rms %x, %g eps 1.0e-5 : !f, tensor<64xf32> -> !f
    lm.yield %n : !f
  } : !f
  %unread = lm.fused "norm" {
    %n = lm.norm rms %a, %g eps 1.0e-6 : !f, tensor<64xf32> -> !f
    lm.yield %n : !f
  } : !f
  return %a : !f
}
