// RUN: lathe-opt %s --lm-form-kernels=remarks=true --split-input-file --verify-diagnostics | FileCheck %s

!f = tensor<?x64xf32>

// The second norm reads a value that is made outside from the first: it cannot join, or there would be a cycle.
// CHECK-LABEL: func.func @cycle(
// CHECK: lm.fused "norm" {
// CHECK: lm.fused "linear_linear" {
// CHECK: lm.fused "add" {
// expected-remark @below {{lm-form-kernels: 3 formed, 0 absorbed, 1 refused}}
func.func @cycle(%x: !f, %w: tensor<64x64xf32>, %gain: tensor<64xf32>) -> !f {
  %n = lm.norm rms %x, %gain eps 1.0e-5 : !f, tensor<64xf32> -> !f
  %y = lm.linear %n, %w : (!f, tensor<64x64xf32>) -> !f
  // expected-remark @below {{not grouped: an operand of arith.addf is computed outside from a result of the region}}
  %z = arith.addf %n, %y : !f
  return %z : !f
}

// -----

func.func private @other(tensor<?x64xf32>) -> tensor<?x64xf32>

// What lm does not know stays where it is.
// CHECK-LABEL: func.func @unknown(
// CHECK-NOT: lm.fused
// expected-remark @below {{lm-form-kernels: 0 formed, 0 absorbed, 1 refused}}
func.func @unknown(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  // expected-remark @below {{no kernel formed: func.call cannot be fused}}
  %y = call @other(%x) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}
