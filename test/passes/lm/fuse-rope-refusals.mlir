// RUN: lathe-opt %s --lm-fuse-rope=remarks=true --split-input-file --verify-diagnostics | FileCheck %s

!kv = !lm.kv<heads = 2, dim = 16, page = 32, element = f32>

// A norm over the whole width of the key needs a row: it stays outside, and with it what depends on it.
// CHECK-LABEL: func.func @whole_width(
// CHECK: %[[qkv:.*]]:3 = lm.fused "qkv_rope" {
// CHECK-NEXT:   %[[y:.*]] = lm.linear
// CHECK-NEXT:   %[[parts:.*]]:3 = lm.split %[[y]]
// CHECK-NEXT:   %[[qr:.*]] = lm.rope %[[parts]]#0
// CHECK-NEXT:   lm.yield %[[parts]]#1, %[[parts]]#2, %[[qr]]
// CHECK: %[[kn:.*]] = lm.norm rms %[[qkv]]#0
// CHECK: %[[kr:.*]] = lm.rope %[[kn]]
// CHECK: lm.kv_append %[[kr]], %[[qkv]]#1
// expected-remark @below {{lm-fuse-rope: 1 formed, 2 absorbed, 2 refused}}
func.func @whole_width(%batch: !lm.batch, %kv: !kv, %x: tensor<?x64xf32>, %gain: tensor<32xf32>) -> (tensor<?x64xf32>, !kv) {
  %wq = lm.weight "q" : tensor<64x64xf32>
  %wk = lm.weight "k" : tensor<32x64xf32>
  %wv = lm.weight "v" : tensor<32x64xf32>
  %w = lm.stack %wq, %wk, %wv : (tensor<64x64xf32>, tensor<32x64xf32>, tensor<32x64xf32>) -> tensor<128x64xf32>
  %y = lm.linear %x, %w : (tensor<?x64xf32>, tensor<128x64xf32>) -> tensor<?x128xf32>
  %q, %k, %v = lm.split %y : tensor<?x128xf32> -> tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>
  // expected-remark @below {{not fused: lm.norm needs a whole row, an epilogue sees a tile of columns}}
  %kn = lm.norm rms %k, %gain eps 1.0e-6 : tensor<?x32xf32>, tensor<32xf32> -> tensor<?x32xf32>
  %qr = lm.rope %q at %batch dim 16 by <layout = half, theta = 1.0e4, type = "default", params = {}> : tensor<?x64xf32>
  %kr = lm.rope %kn at %batch dim 16 by <layout = half, theta = 1.0e4, type = "default", params = {}> : tensor<?x32xf32>
  // expected-remark @below {{not fused: an operand of lm.kv_append is computed outside from a result of the region}}
  %kv1 = lm.kv_append %kr, %v into %kv at %batch : tensor<?x32xf32>, tensor<?x32xf32>, !kv
  %a = lm.attention %qr over %kv1 at %batch scale 2.5e-1 causal : tensor<?x64xf32>, !kv -> tensor<?x64xf32>
  return %a, %kv1 : tensor<?x64xf32>, !kv
}
