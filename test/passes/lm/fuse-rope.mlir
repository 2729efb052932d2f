// RUN: lathe-opt %s --lm-fuse-rope=remarks=true --split-input-file --verify-diagnostics | FileCheck %s

!kv = !lm.kv<heads = 2, dim = 16, page = 32, element = f32>

// Split, norms over heads, rotations and the append follow the linear into one region, which yields query and KV.
// CHECK-LABEL: func.func @qkv(
// CHECK-SAME: %[[batch:[a-z0-9]*]]: !lm.batch, %[[kv:[a-z0-9]*]]: !lm.kv{{.*}}, %[[x:[a-z0-9]*]]: tensor<?x64xf32>
// CHECK: %[[w:.*]] = lm.stack
// CHECK: %[[gq:.*]] = lm.weight "q_norm"
// CHECK: %[[gk:.*]] = lm.weight "k_norm"
// CHECK: %[[out:.*]]:2 = lm.fused "qkv_norm_rope_append" {
// CHECK-NEXT:   %[[y:.*]] = lm.linear %[[x]], %[[w]]
// CHECK-NEXT:   %[[parts:.*]]:3 = lm.split %[[y]]
// CHECK-NEXT:   %[[qn:.*]] = lm.norm rms %[[parts]]#0, %[[gq]] eps {{.*}} per 16
// CHECK-NEXT:   %[[kn:.*]] = lm.norm rms %[[parts]]#1, %[[gk]] eps {{.*}} per 16
// CHECK-NEXT:   %[[qr:.*]] = lm.rope %[[qn]] at %[[batch]]
// CHECK-NEXT:   %[[kr:.*]] = lm.rope %[[kn]] at %[[batch]]
// CHECK-NEXT:   %[[kv1:.*]] = lm.kv_append %[[kr]], %[[parts]]#2 into %[[kv]]
// CHECK-NEXT:   lm.yield %[[qr]], %[[kv1]]
// CHECK-NEXT: }
// CHECK-NEXT: lm.attention %[[out]]#0 over %[[out]]#1
// expected-remark @below {{lm-fuse-rope: 1 formed, 6 absorbed, 0 refused}}
func.func @qkv(%batch: !lm.batch, %kv: !kv, %x: tensor<?x64xf32>) -> (tensor<?x64xf32>, !kv) {
  %wq = lm.weight "q" : tensor<64x64xf32>
  %wk = lm.weight "k" : tensor<32x64xf32>
  %wv = lm.weight "v" : tensor<32x64xf32>
  %w = lm.stack %wq, %wk, %wv : (tensor<64x64xf32>, tensor<32x64xf32>, tensor<32x64xf32>) -> tensor<128x64xf32>
  %y = lm.linear %x, %w : (tensor<?x64xf32>, tensor<128x64xf32>) -> tensor<?x128xf32>
  %q, %k, %v = lm.split %y : tensor<?x128xf32> -> tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>
  %gq = lm.weight "q_norm" : tensor<16xf32>
  %qn = lm.norm rms %q, %gq eps 1.0e-6 per 16 : tensor<?x64xf32>, tensor<16xf32> -> tensor<?x64xf32>
  %gk = lm.weight "k_norm" : tensor<16xf32>
  %kn = lm.norm rms %k, %gk eps 1.0e-6 per 16 : tensor<?x32xf32>, tensor<16xf32> -> tensor<?x32xf32>
  %qr = lm.rope %qn at %batch dim 16 by <layout = half, theta = 1.0e4, type = "default", params = {}> : tensor<?x64xf32>
  %kr = lm.rope %kn at %batch dim 16 by <layout = half, theta = 1.0e4, type = "default", params = {}> : tensor<?x32xf32>
  %kv1 = lm.kv_append %kr, %v into %kv at %batch : tensor<?x32xf32>, tensor<?x32xf32>, !kv
  %a = lm.attention %qr over %kv1 at %batch scale 2.5e-1 causal : tensor<?x64xf32>, !kv -> tensor<?x64xf32>
  return %a, %kv1 : tensor<?x64xf32>, !kv
}

// -----

!kv = !lm.kv<heads = 2, dim = 16, page = 32, element = f32>

// Linears that were not merged: each takes its own rotation, and the append joins the key's, with the value from outside.
// CHECK-LABEL: func.func @apart(
// CHECK: %[[q:.*]] = lm.fused "wq_rope" {
// CHECK-NEXT:   lm.linear
// CHECK: }
// CHECK: %[[v:[a-z0-9]*]] = lm.linear
// CHECK-NEXT: %[[kv1:.*]] = lm.fused "wk_rope_append" {
// CHECK-NEXT:   lm.linear
// CHECK-NEXT:   %[[kr:.*]] = lm.rope
// CHECK-NEXT:   lm.kv_append %[[kr]], %[[v]]
// CHECK: lm.attention %[[q]] over %[[kv1]]
// expected-remark @below {{lm-fuse-rope: 2 formed, 3 absorbed, 0 refused}}
func.func @apart(%batch: !lm.batch, %kv: !kv, %x: tensor<?x64xf32>) -> (tensor<?x64xf32>, !kv) {
  %wq = lm.weight "wq" : tensor<64x64xf32>
  %wk = lm.weight "wk" : tensor<32x64xf32>
  %wv = lm.weight "wv" : tensor<32x64xf32>
  %q = lm.linear %x, %wq : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  %k = lm.linear %x, %wk : (tensor<?x64xf32>, tensor<32x64xf32>) -> tensor<?x32xf32>
  %qr = lm.rope %q at %batch dim 16 by <layout = half, theta = 1.0e4, type = "default", params = {}> : tensor<?x64xf32>
  %kr = lm.rope %k at %batch dim 16 by <layout = half, theta = 1.0e4, type = "default", params = {}> : tensor<?x32xf32>
  %v = lm.linear %x, %wv : (tensor<?x64xf32>, tensor<32x64xf32>) -> tensor<?x32xf32>
  %kv1 = lm.kv_append %kr, %v into %kv at %batch : tensor<?x32xf32>, tensor<?x32xf32>, !kv
  %a = lm.attention %qr over %kv1 at %batch scale 2.5e-1 causal : tensor<?x64xf32>, !kv -> tensor<?x64xf32>
  return %a, %kv1 : tensor<?x64xf32>, !kv
}
