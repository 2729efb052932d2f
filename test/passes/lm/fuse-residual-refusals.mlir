// RUN: lathe-opt %s --lm-fuse-residual=remarks=true --split-input-file --verify-diagnostics | FileCheck %s

!f = tensor<?x64xf32>

// CHECK-LABEL: func.func @elsewhere(
// CHECK-NOT: lm.fused
// expected-remark @below {{lm-fuse-residual: 0 formed, 0 absorbed, 1 refused}}
func.func @elsewhere(%x: !f, %w: tensor<64x64xf32>) -> (!f, !f) {
  %o = lm.linear %x, %w : (!f, tensor<64x64xf32>) -> !f
  // expected-remark @below {{not fused: the linear's result is used elsewhere}}
  %y = arith.addf %x, %o : !f
  return %y, %o : !f, !f
}

// -----

!f = tensor<?x64xf32>

// CHECK-LABEL: func.func @doubled(
// CHECK-NOT: lm.fused
// expected-remark @below {{lm-fuse-residual: 0 formed, 0 absorbed, 1 refused}}
func.func @doubled(%x: !f, %w: tensor<64x64xf32>) -> !f {
  %o = lm.linear %x, %w : (!f, tensor<64x64xf32>) -> !f
  // expected-remark @below {{not fused: both operands come from one linear}}
  %y = arith.addf %o, %o : !f
  return %y : !f
}

// -----

!f = tensor<?x64xf32>

// A part of the linear's columns is not its result.
// CHECK-LABEL: func.func @part(
// CHECK: lm.fused
// CHECK: lm.yield
// CHECK: arith.addf
// expected-remark @below {{lm-fuse-residual: 0 formed, 0 absorbed, 1 refused}}
func.func @part(%x: !f, %w: tensor<128x64xf32>) -> !f {
  %h = lm.fused "gated" {
    %y = lm.linear %x, %w : (!f, tensor<128x64xf32>) -> tensor<?x128xf32>
    %g, %u = lm.split %y interleave 16 : tensor<?x128xf32> -> !f, !f
    %h = lm.gated silu %g, %u : !f
    lm.yield %h : !f
  } : !f
  // expected-remark @below {{not fused: the operand is not the linear's whole result}}
  %z = arith.addf %x, %h : !f
  return %z : !f
}
