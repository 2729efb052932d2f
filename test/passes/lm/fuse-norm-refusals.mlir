// RUN: lathe-opt %s --lm-fuse-norm=remarks=true --split-input-file --verify-diagnostics | FileCheck %s

// A norm whose value is also added somewhere must exist outside anyway.
// CHECK-LABEL: func.func @post_norm(
// CHECK: %[[n:.*]] = lm.norm
// CHECK-NEXT: lm.linear %[[n]]
// CHECK-NEXT: arith.addf %[[n]]
// expected-remark @below {{lm-fuse-norm: 0 formed, 0 absorbed, 1 refused}}
func.func @post_norm(%x: tensor<?x64xf32>, %gain: tensor<64xf32>, %w: tensor<64x64xf32>) -> tensor<?x64xf32> {
  // expected-remark @below {{not fused: its value is needed by arith.addf as well, not by linears only}}
  %n = lm.norm rms %x, %gain eps 1.0e-5 : tensor<?x64xf32>, tensor<64xf32> -> tensor<?x64xf32>
  %y = lm.linear %n, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  %z = arith.addf %n, %y : tensor<?x64xf32>
  return %z : tensor<?x64xf32>
}

// -----

// Quantize goes along, the norm behind it stays.
// CHECK-LABEL: func.func @norm_stays(
// CHECK: %[[n:.*]] = lm.norm
// CHECK-NEXT: lm.fused "linear_linear" {
// CHECK-NEXT:   %[[c:.*]] = lm.quantize %[[n]]
// CHECK-NEXT:   lm.linear %[[c]]
// expected-remark @below {{lm-fuse-norm: 1 formed, 1 absorbed, 1 refused}}
func.func @norm_stays(%x: tensor<?x64xf32>, %gain: tensor<64xf32>, %w: tensor<64x64xi8, #lm.quant<group = 64, scale = bf16>>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  // expected-remark @below {{not fused: its value is needed by func.return as well, not by linears only}}
  %n = lm.norm rms %x, %gain eps 1.0e-5 : tensor<?x64xf32>, tensor<64xf32> -> tensor<?x64xf32>
  %c = lm.quantize %n : tensor<?x64xf32> -> tensor<?x64xi8, #lm.quant<group = 64, scale = f32>>
  %y = lm.linear %c, %w : (tensor<?x64xi8, #lm.quant<group = 64, scale = f32>>, tensor<64x64xi8, #lm.quant<group = 64, scale = bf16>>) -> tensor<?x64xf32>
  return %n, %y : tensor<?x64xf32>, tensor<?x64xf32>
}

// -----

// CHECK-LABEL: func.func @norm_of_heads(
// CHECK-NOT: lm.fused
// expected-remark @below {{lm-fuse-norm: 0 formed, 0 absorbed, 1 refused}}
func.func @norm_of_heads(%x: tensor<?x64xf32>, %gain: tensor<16xf32>, %w: tensor<64x64xf32>) -> tensor<?x64xf32> {
  // expected-remark @below {{not fused: lm.norm cannot be a prologue}}
  %n = lm.norm rms %x, %gain eps 1.0e-5 per 16 : tensor<?x64xf32>, tensor<16xf32> -> tensor<?x64xf32>
  %y = lm.linear %n, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}
